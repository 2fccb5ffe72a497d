"""A rank that fails where the others do not: all end soon, its cell gets a record, and the others go on."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from test_processes import ROOT, by_label
from tiny import tiny_suite
from torch.distributed import HashStore, TCPStore  # type: ignore[attr-defined]

from bench.cli import main
from bench.distributed import group
from bench.distributed.ending import RESTARTS, Part, forget
from bench.distributed.group import Group
from bench.launchers import torchrun
from bench.suite import load_suite

Stand = Callable[[Group], bool]


def met(*stands: Stand) -> list[bool]:
    """What each rank is told of the others, where each stands as a function of its group says."""
    store, told = HashStore(), [True] * len(stands)

    def run(rank: int) -> None:
        told[rank] = stands[rank](Group(rank, len(stands), store))

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(stands))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return told


def after(
    exchanges: int, *, failed: bool = False, broken: bool = False, what: str = "training", late: float = 0
) -> Stand:
    def stand(group: Group) -> bool:
        group.log.exchanges, group.log.broken = exchanges, broken
        time.sleep(late)
        return group.in_step(what, failed=failed)

    return stand


def test_ranks_that_end_at_the_same_place_go_on() -> None:
    assert met(after(7), after(7)) == [True, True]
    assert met(after(7, failed=True), after(7, failed=True), after(7)) == [True] * 3


@pytest.mark.parametrize(
    "other",
    [after(8, failed=True), after(7, broken=True), after(7, what="train")],
    ids=["later", "broken", "else"],
)
def test_ranks_that_end_elsewhere_do_not(other: Stand) -> None:
    assert met(after(7, failed=True), other) == [False, False]
    assert met(after(7), after(7), other) == [False] * 3


def test_a_rank_that_fails_does_not_wait_long_for_one_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes later hears that it is too late."""
    monkeypatch.setattr(group, "GRACE", timedelta(seconds=0.2))
    assert met(after(7, failed=True), after(7, failed=True, late=1.0)) == [False, False]
    assert met(after(7), after(7, late=1.0)) == [True, True]  # nothing failed: there is time


def test_without_the_process_that_holds_the_store_nobody_goes_on() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=5))
    client = TCPStore("127.0.0.1", server.port, is_master=False, timeout=timedelta(seconds=5))
    del server
    assert not Group(1, 2, client).in_step("training", failed=True)


def test_a_cell_is_not_begun_for_ever(tmp_path: Path) -> None:
    part = Part(Group(0, 2), load_suite("gmm2d"), tmp_path)
    assert [part.begin() for _ in range(RESTARTS + 1)] == [None] * (RESTARTS + 1)
    found = part.begin()
    assert found is not None and found[0] == "lost"
    assert found[1].message == "a process was lost each of the 4 times that the cell was begun"
    forget(tmp_path)  # as another run does
    assert part.begin() is None


# ------------------------------------------------------------------ real processes

Ended = tuple[int, list[str], list[float]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """A run of two methods with trouble on one of two ranks: its exit status; who was started, and when."""

    def run(kind: str, rank: int, *more: str) -> Ended:
        file = tmp_path / "starts"
        monkeypatch.setattr(torchrun, "RANKS", "ranks_in_trouble")
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{Path(__file__).parent}")
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        monkeypatch.setenv("TROUBLE", f"{kind} {rank} {file}")
        words = ["run", "--suite", str(tiny_suite(tmp_path)), "--method", "sid", "--method", "lcm"]
        words += ["--nfe", "1", "--no-references", "--threads", "1", "--out", str(tmp_path / "runs"), *more]
        status = main([*words, "--launcher", "torchrun", "--processes", "2"])
        lines = [line.split() for line in file.read_text().splitlines()]
        return status, [who for who, _ in lines], [float(when) for _, when in lines]

    return run


SLOW = [
    pytest.param(*case, marks=pytest.mark.slow) for case in ((0, ()), (0, ("--shard",)), (1, ("--shard",)))
]


@pytest.mark.parametrize(("rank", "more"), [(1, ()), *SLOW])
def test_a_rank_that_fails_alone_costs_its_cell_and_no_other(
    rank: int, more: tuple[str, ...], run: Callable[..., Ended], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    status, who, when = run("out_of_memory", rank, *more)
    said = capfd.readouterr().err
    assert status == 1 and who[2] == "trouble" and sorted(who[:2]) == sorted(who[3:]) == ["0", "1"], said
    assert when[3] - when[2] < 40  # it took this long until all were started again; an exchange waits 1800
    records = by_label(tmp_path / "runs")
    assert records["lcm"].status == "ok" and records["lcm"].provenance.processes == 2
    failure = records["sid"].failure
    assert records["sid"].status == "failed" and failure is not None
    assert (failure.stage, failure.kind) == ("distil", "out of memory")
    assert failure.message.startswith(f"rank {rank} on ") and "it takes less with --check" in failure.message
    assert "failed and others did not: memory ran out (all of it is taken)" in failure.message
    assert "MemoryError" in failure.traceback and f"error: {failure.message}\n" in said
    assert not list((tmp_path / "runs").glob("*/*/ranks.json"))


@pytest.mark.slow
def test_a_cell_whose_process_is_always_lost_costs_no_other(
    run: Callable[..., Ended], tmp_path: Path
) -> None:
    status, who, _ = run("killed", 1)
    records = by_label(tmp_path / "runs")
    assert status == 1 and who.count("trouble") == RESTARTS + 1
    assert records["sid"].status == "lost" and records["lcm"].status == "ok"


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("of_another_version", 1, "rank 1 on .*: distillbench is 0.0.1, expected .* as on rank 0"),
        pytest.param("without_the_teacher", 3, "teacher.bin: no such file", marks=pytest.mark.slow),
    ],
)
def test_what_keeps_ranks_from_starting_is_one_sentence(
    kind: str, status: int, words: str, run: Callable[..., Ended], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    found, who, _ = run(kind, 1)
    said = capfd.readouterr().err
    assert found == status and sorted(who) == ["0", "1"]  # they are not started again
    assert "Traceback" not in said and len(re.findall(f"^error: {words}", said, re.MULTILINE)) == 1, said
    assert not by_label(tmp_path / "runs")
