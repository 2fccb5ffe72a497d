"""What a launcher does: it takes cells to their records, and says how many are worked on at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.cell import Cell
from bench.progress import Reporter, reporters
from bench.record import Record
from bench.request import Request
from bench.runner import Runner, run_cells
from bench.tracking import Opener, tracked


class Launcher(ABC):
    """Takes the cells of a request to their records.

    Attributes:
        request: as this process is to open its lab for it.
        lanes: cells worked on at the same time; each has a reporter of its own.
        here: whether cells run in this process, so that its speed says how long they take.
        speaks: whether this process tells the person what came out.
    """

    lanes, here, speaks = 1, True, True

    def __init__(self, request: Request) -> None:
        self.request = request

    def watchers(self, opener: Opener | None, cells: Sequence[Cell]) -> list[Reporter]:
        """A reporter for every lane."""
        primary = cells[0].suite.primary if cells else None
        return [tracked(one, opener, cells, self.request.out) for one in reporters(self.lanes, primary)]

    @abstractmethod
    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        """Records in the order of the cells; a failure is a failed record, an interrupt propagates."""

    def interrupted(self) -> str:
        """What to say after an interrupt."""
        place, command = self.request.out, self.request.command
        return f"interrupted; the state is saved in {place}. The same command resumes: {command}"


class InThisProcess(Launcher):
    """One cell after the other."""

    def run(self, runner: Runner, cells: list[Cell], watchers: Sequence[Reporter]) -> list[Record]:
        return run_cells(runner, cells, fail_fast=self.request.fail_fast)
