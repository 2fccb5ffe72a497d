"""``--jobs N``: several cells beside each other, each lane with a device and its share of the threads.

The cells are those of a run in one process, and so are their bytes at the same number of threads: a cell
knows nothing of its neighbours. Only measured times suffer from them.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from bench.cell import Cell
from bench.launchers.lane import Lane
from bench.launchers.launcher import Launcher
from bench.plugins.apart import MEMORY_SHARE
from bench.plugins.supervise import free_bytes
from bench.plugins.words import python
from bench.progress import Reporter
from bench.record import Record
from bench.request import Request
from bench.runner import Runner


class Crew(Launcher):
    """Worker processes, each handed the next cell when it is done with one."""

    def __init__(self, request: Request) -> None:
        self.lanes = request.jobs
        threads = request.threads or max(1, torch.get_num_threads() // self.lanes)
        memory = request.memory_mib or int(MEMORY_SHARE * free_bytes() / self.lanes / 2**20)
        super().__init__(replace(request, threads=threads, memory_mib=memory))

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        self.found: dict[str, Record] = {}
        self.stopped = False
        for cell in cells:
            if (record := runner.finished(cell)) is not None:
                self.found[cell.id] = record
                watchers[0].finished(cell.label, record, cached=True)
        left = {cell.id: (number, cell) for number, cell in enumerate(cells) if cell.id not in self.found}
        # trainings first: the short cells fill the end
        self.todo = iter(sorted(left.values(), key=lambda one: one[1].kind != "student"))
        self.turn, self.total = threading.Lock(), len(cells)
        with tempfile.TemporaryDirectory(prefix="bench-jobs-") as place:
            self._work(runner, [self._lane(n, Path(place), runner, w) for n, w in enumerate(watchers)])
        return [self.found[cell.id] for cell in cells if cell.id in self.found]

    def _lane(self, number: int, place: Path, runner: Runner, reporter: Reporter) -> Lane:
        request = replace(self.request, jobs=1, device=device_of(str(runner.bench.lab.device), number))
        job = place / f"{number}.json"
        job.write_text(request.to_json(), encoding="utf-8")
        return Lane(
            python("bench.launchers.worker", str(job)), place / f"{number}.txt", runner.store, reporter
        )

    def _work(self, runner: Runner, lanes: Sequence[Lane]) -> None:
        with ThreadPoolExecutor(len(lanes)) as pool:
            working = [pool.submit(self._follow, lane, runner) for lane in lanes]
            try:
                for one in working:
                    one.result()
            except BaseException:
                self.stopped = True
                for lane in lanes:
                    lane.interrupt()
                raise

    def _follow(self, lane: Lane, runner: Runner) -> None:
        """Hand cells to a lane until none is left."""
        try:
            for number, cell in self._cells():
                lane.reporter.started(cell.label, number, self.total)
                failure = lane.run(cell, runner.predicted.get(cell.id))
                if self.stopped:
                    return
                if failure is not None:
                    lane.reporter.finished(cell.label, runner.lost(cell, failure))
                self.found[cell.id] = runner.record_of(cell)
                if self.request.fail_fast and self.found[cell.id].status not in ("ok", "truncated"):
                    self.todo = iter(())
        finally:
            lane.close()

    def _cells(self) -> Iterator[tuple[int, Cell]]:
        while True:
            with self.turn:
                one = next(self.todo, None)
            if one is None:
                return
            yield one


def device_of(device: str, lane: int) -> str:
    """A device for a lane: GPUs in turn where none is named, else the one that is."""
    return f"cuda:{lane % torch.cuda.device_count()}" if device == "cuda" else device
