"""Cells beside each other: the same records as one after the other, and a dead process costs its own cell."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from record_factory import record
from tiny import MISBEHAVING, tiny_suite

from bench.cli import main
from bench.launchers.crew import Crew, device_of
from bench.launchers.lane import Lane
from bench.progress import PlainReporter
from bench.record import Record, read_record, write_record
from bench.request import Request
from bench.store import Store
from bench.suite import load_suite

DIES = """

class Dies(Base):
    name = "dies"

    def trouble(self, loss):
        import os
        os.kill(os.getpid(), 9)
"""
METHODS = ("good", "dies")


@pytest.fixture(scope="module")
def alone_and_beside(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A run in one process, and with two jobs the same and one that dies; the exit status of the second."""
    folder = tmp_path_factory.mktemp("crew")
    plugin = folder / "misbehaving.py"
    plugin.write_text(MISBEHAVING + DIES)
    common = ["run", "--suite", str(tiny_suite(folder)), "--plugin", str(plugin), "--no-isolate"]
    common += ["--threads", "1", "--device", "cpu", "--no-references"]
    assert main([*common, "--method", "good", "--out", str(folder / "alone")]) == 0
    words = [word for name in METHODS for word in ("--method", name)]
    status = main([*common, *words, "--jobs", "2", "--out", str(folder / "beside")])
    return folder / "alone", folder / "beside", status


def by_label(runs: Path) -> dict[str, Record]:
    return {one.label: one for one in map(read_record, runs.glob("*/*/record.json"))}


def test_the_numbers_are_those_of_one_process(alone_and_beside: tuple[Path, Path, int]) -> None:
    one, two = (by_label(runs) for runs in alone_and_beside[:2])
    assert set(one) == {"good"} and set(two) == {"good", "dies"}
    for label, expected in one.items():
        found = two[label]
        assert [row.metrics for row in found.rows] == [row.metrics for row in expected.rows]
        assert [row.samples_sha256 for row in found.rows] == [row.samples_sha256 for row in expected.rows]
        assert [row.student_sha256 for row in found.rows] == [row.student_sha256 for row in expected.rows]
        assert found.curve == expected.curve and found.cell == expected.cell
        assert found.status == "ok"


def test_a_process_that_dies_costs_its_own_cell(alone_and_beside: tuple[Path, Path, int]) -> None:
    _, beside, status = alone_and_beside
    found = by_label(beside)
    assert status == 1
    failure = found["dies"].failure
    assert found["dies"].status == "lost" and failure is not None
    assert (failure.stage, failure.kind) == ("distil", "killed")
    assert failure.message == "its process died of signal 9"


WORKER = """
import json, os, shutil, sys, time
pipe = int(sys.argv[-1])
for line in sys.stdin:
    cell = json.loads(line)["cell"]
    kind, source, folder = open({orders!r} + "/" + cell).read().split("\\n")
    os.write(pipe, b'{{"stage": "distil"}}\\n' * 3)
    if kind == "dies":
        print("last words")
        sys.stdout.flush()
        os.kill(os.getpid(), 9)
    if kind == "leaves":
        sys.exit(3)
    if kind == "hangs":
        time.sleep(60)
    shutil.copy(source, folder + "/record.json")
    os.write(pipe, json.dumps({{"done": cell, "cached": False}}).encode() + b"\\n")
"""


class Bench:
    """What a crew needs of a runner, with workers that hold no torch and do what is written for a cell."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.predicted = folder, Store(folder / "runs"), {}
        self.orders = folder / "orders"
        self.orders.mkdir()
        (folder / "worker.py").write_text(WORKER.format(orders=str(self.orders)))
        self.lanes: list[Lane] = []
        monkeypatch.setattr(Crew, "_lane", lambda crew, n, place, runner, reporter: self.lane(reporter))

    def lane(self, reporter: PlainReporter) -> Lane:
        words = [sys.executable, "-S", str(self.folder / "worker.py")]
        printed = self.folder / f"{len(self.lanes)}.txt"
        self.lanes.append(Lane(words, printed, self.store, reporter))
        return self.lanes[-1]

    def cells(self, *kinds: str) -> list[object]:
        """Cells of a seed each, whose worker does as its kind says."""
        from bench.cell import student_cells
        from bench.methods import MethodRegistry

        suite = load_suite("gmm2d")
        found, _ = student_cells(suite, MethodRegistry(), ("sid",), "quick", (1,), len(kinds))
        for cell, kind in zip(found, kinds, strict=True):
            folder = self.store.cell_folder(cell.suite.id, cell.id)
            write_record(record("sid", seed=cell.seed), self.folder / f"{cell.seed}.json")
            source = self.folder / f"{cell.seed}.json"
            (self.orders / cell.id).write_text(f"{kind}\n{source}\n{folder}")
        return list(found)

    def finished(self, cell: object) -> None:
        return None

    def record_of(self, cell) -> Record:  # type: ignore[no-untyped-def]
        return read_record(self.store.cell_folder(cell.suite.id, cell.id) / "record.json")

    def lost(self, cell, failure) -> Record:  # type: ignore[no-untyped-def]
        made = record("sid", [], seed=cell.seed, status="lost").model_copy(update={"failure": failure})
        write_record(made, self.store.cell_folder(cell.suite.id, cell.id) / "record.json")
        return made


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def crew(bench: Bench, cells: list[object], jobs: int, **more: bool) -> tuple[list[Record], list[str]]:
    said: list[str] = []
    request = Request(suite="gmm2d", jobs=jobs, threads=1, memory_mib=100, out=bench.store.root, **more)  # type: ignore[arg-type]
    records = Crew(request).run(bench, cells, [PlainReporter(said.append) for _ in range(jobs)])  # type: ignore[arg-type]
    return records, said


def test_records_come_in_the_order_of_the_cells(bench: Bench) -> None:
    records, said = crew(bench, bench.cells(*["works"] * 5), 3)
    assert [one.seed for one in records] == [0, 1, 2, 3, 4]
    assert sorted(line[:5] for line in said) == [f"[{n}/5]" for n in range(1, 6)]


def test_a_lane_starts_again_after_a_death(bench: Bench) -> None:
    records, said = crew(bench, bench.cells("works", "dies", "leaves", "works"), 1)
    assert [one.status for one in records] == ["ok", "lost", "lost", "ok"]
    first, second = records[1].failure, records[2].failure
    assert first is not None and (first.kind, first.stage) == ("killed", "distil")
    assert first.traceback == "last words\n" and "signal 9" in first.message
    assert second is not None and second.message == "its process left with status 3"
    assert any("lost in distil: its process died of signal 9" in line for line in said)


def test_fail_fast_hands_out_no_more(bench: Bench) -> None:
    records, _ = crew(bench, bench.cells("works", "dies", "works", "works"), 1, fail_fast=True)
    assert [one.status for one in records] == ["ok", "lost"]


def test_an_interrupt_reaches_the_workers_and_ends_the_run(bench: Bench) -> None:
    cells = bench.cells("hangs", "hangs", "works")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it

    def interrupt() -> None:
        while sum(lane.process is not None for lane in bench.lanes) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            crew(bench, cells, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert all(lane.process is None for lane in bench.lanes)
    assert not list(bench.store.root.rglob("record.json"))  # nothing is called lost that can be resumed


def test_gpus_are_dealt_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert [device_of("cuda", lane) for lane in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert [device_of(name, 1) for name in ("cpu", "cuda:3")] == ["cpu", "cuda:3"]


def test_threads_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert Crew(Request(suite="gmm2d", jobs=3)).request.threads == 2
    assert Crew(Request(suite="gmm2d", jobs=20)).request.threads == 1
    assert Crew(Request(suite="gmm2d", jobs=3, threads=5)).request.threads == 5
