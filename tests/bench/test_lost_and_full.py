"""Memory that runs out and folders that vanish cost one cell, with a sentence that says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import tiny_suite

from baselines.sid import SiD
from bench.cli import main
from bench.failures import failure_of
from bench.record import Record, read_record
from bench.stages import CellStages
from bench.suite import load_suite, suite_names

pytestmark = pytest.mark.usefixtures("one_thread")
FULL = "CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation of memory management"


def run(folder: Path, *methods: str) -> int:
    words = [word for name in methods for word in ("--method", name)]
    place = ["--suite", str(tiny_suite(folder)), "--out", str(folder / "runs"), "--device", "cpu"]
    return main(["run", *place, *words, "--no-references", "--nfe", "1"])


def records(folder: Path) -> dict[str, Record]:
    return {one.label: one for one in map(read_record, (folder / "runs").glob("*/*/record.json"))}


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> Callable[[type, str, Callable[..., None]], None]:
    """Do something before the fourth call of a method, of a first run only."""

    def patch(owner: type, name: str, trouble: Callable[..., None], at: int = 4) -> None:
        original, calls = getattr(owner, name), 0

        def call(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == at:
                trouble()
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    return patch


def test_out_of_memory_is_a_failed_row_with_advice(tmp_path: Path, capsys, once) -> None:
    def trouble() -> None:
        raise torch.OutOfMemoryError(FULL)

    once(SiD, "step", trouble)
    assert run(tmp_path, "sid", "sid[alpha=1.0]") == 1
    found, said = records(tmp_path), capsys.readouterr()
    failure = found["sid"].failure
    assert failure is not None and found["sid"].status == "failed" and found["sid[alpha=1.0]"].status == "ok"
    assert (failure.stage, failure.kind) == ("distil", "out of memory")
    for word in ("Tried to allocate 2.00 GiB", "--checkpointing", "batch"):
        assert word in failure.message and word in said.out
    assert "\n" not in failure.message and "Traceback" not in said.out + said.err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: 9")])
def test_memory_of_the_host_too(error: Exception) -> None:
    status, failure = failure_of("sample", error, load_suite("gmm2d"))
    assert (status, failure.kind) == ("failed", "out of memory") and "--checkpointing" in failure.message


@pytest.mark.parametrize("name", suite_names())
def test_advice_fits_the_suite(name: str) -> None:
    """A suite file takes [model] and its precision only where it names a network, and no pipeline."""
    suite = load_suite(name)
    message = failure_of("distil", torch.OutOfMemoryError(FULL), suite)[1].message
    assert ("under [model]" in message) is (suite.model is not None) and "a smaller batch" in message
    assert "--checkpointing" in message and message.endswith("see docs/scale.md")


def same_results(a: Record, b: Record) -> bool:
    return (a.status, a.rows[0].metrics, a.curve) == (b.status, b.rows[0].metrics, b.curve)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("undisturbed")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert run(folder, "sid") == 0
    torch.set_num_threads(before)
    return records(folder)["sid"]


@pytest.mark.parametrize("lost", ["runs", pytest.param("runs/stages", marks=pytest.mark.slow)])
def test_a_folder_lost_while_training(tmp_path: Path, capsys, once, lost: str, undisturbed: Record) -> None:
    """Later snapshots alone are no training, although they could be written."""
    once(SiD, "step", lambda: shutil.rmtree(tmp_path / lost))
    assert run(tmp_path, "sid") == 1
    failure = records(tmp_path)["sid"].failure
    assert failure is not None and (failure.stage, failure.kind) == ("distil", "Vanished")
    assert "vanished" in failure.message and "the same command makes it again" in capsys.readouterr().out
    assert not list((tmp_path / "runs" / "stages").glob("distil/*/*"))
    assert run(tmp_path, "sid") == 0 and same_results(records(tmp_path)["sid"], undisturbed)


@pytest.mark.parametrize(
    "stage", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("sample", "metrics")), "curve"]
)
def test_a_folder_lost_between_two_stages(
    tmp_path: Path, monkeypatch, stage: str, undisturbed: Record
) -> None:
    enter = CellStages.enter

    def entered(self: CellStages, name: str) -> None:
        enter(self, name)
        if name == stage:
            shutil.rmtree(tmp_path / "runs" / "stages")

    monkeypatch.setattr(CellStages, "enter", entered)
    assert run(tmp_path, "sid") == 1
    monkeypatch.setattr(CellStages, "enter", enter)
    failure = records(tmp_path)["sid"].failure
    assert failure is not None and (failure.stage, failure.kind) == (stage, "Vanished")
    assert str(Path("runs", "stages", "distil")) in failure.message
    assert run(tmp_path, "sid") == 0 and same_results(records(tmp_path)["sid"], undisturbed)
