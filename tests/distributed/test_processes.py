"""Real processes: torch.distributed's exchanges, torchrun from both sides, a rank that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import tiny_suite

from bench.cli import main
from bench.record import Record, read_record

ROOT = Path(__file__).resolve().parent.parent.parent
EXCHANGES = """
import json, sys
import torch
from bench.distributed.group import Group
assert Group.asked_for()
group = Group.join("cpu")
rows = group.rows(5)
mine = torch.arange(10.0).reshape(5, 2)[rows]
found = {
    "told": group.tell(["from", group.rank]),
    "everyone": group.everyone(group.rank),
    "gathered": group.gathered(mine, 5).tolist(),
    "none": group.gathered(mine[:0], 0).tolist(),
    "summed": [t.tolist() for t in group.summed([torch.ones(2) * (group.rank + 1), torch.ones(1, 1)])],
    "collected": [t.item() for t in group.collected([lambda n=n: torch.tensor(n) for n in range(5)])],
}
try:
    group.collected([lambda: torch.ones(1), lambda: 1 // 0])
except ZeroDivisionError as error:  # of rank 1; without word of it rank 0 would wait for ever
    found["failed"] = str(error)
open(f"{sys.argv[1]}/{group.rank}.json", "w").write(json.dumps(found))
group.leave()
"""


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def test_exchanges_between_processes(tmp_path: Path) -> None:
    ranks = []
    for rank in range(2):
        place = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
        words = [sys.executable, "-c", EXCHANGES, str(tmp_path)]
        ranks.append(subprocess.Popen(words, env={**environment(), **place}))
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second == {
        "told": ["from", 0],
        "everyone": [0, 1],
        "gathered": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0], [6.0, 7.0], [8.0, 9.0]],
        "none": [],
        "summed": [[3.0, 3.0], [[2.0]]],
        "collected": [0, 1, 2, 3, 4],
        "failed": "integer division or modulo by zero",
    }  # fmt: skip


BAD = {
    ("--processes", "2"): "--processes 2: give it with --launcher torchrun",
    ("--launcher", "torchrun", "--jobs", "2"): "--jobs 2: packs cells on this machine",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--suite", "gmm2d", "--out", str(tmp_path / "runs"), *words]) == 2
    assert BAD[words] in capsys.readouterr().err


def test_a_launcher_inside_torchrun_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["run", "--suite", "gmm2d", "--launcher", "torchrun", "--out", str(tmp_path / "runs")]) == 2
    assert "torchrun started this process; leave it away" in capsys.readouterr().err


Alone = tuple[Path, dict[str, Record]]
INSTANT = "moment_matching[steps=4,variant=instant]"


def words_of(folder: Path, *more: str) -> list[str]:
    words = ["run", "--suite", str(tiny_suite(folder)), "--method", "sid", "--method", INSTANT]
    return [*words, "--no-references", "--threads", "1", *more]


def by_label(runs: Path) -> dict[str, Record]:
    return {one.label: one for one in map(read_record, runs.glob("*/*/record.json"))}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Record]]:
    folder = tmp_path_factory.mktemp("alone")
    assert main(words_of(folder, "--out", str(folder / "runs"), "--device", "cpu")) == 0
    return folder, by_label(folder / "runs")


def assert_same_results(runs: Path, expected: dict[str, Record]) -> None:
    records = by_label(runs)
    assert set(records) == set(expected) == {"sid", INSTANT}
    for label, whole in expected.items():
        found = records[label]
        assert found.status == "ok" and found.cell == whole.cell and found.provenance.processes == 2
        assert found.cost is not None and whole.cost is not None
        assert found.cost == whole.cost.model_copy(update={"seconds": found.cost.seconds})
        for one, other in zip(found.rows, whole.rows, strict=True):
            assert one.nfe_by_role == other.nfe_by_role
            for key, value in other.metrics.items():
                assert one.metrics[key].mean == pytest.approx(value.mean, rel=1e-3, abs=1e-3)


@pytest.mark.slow
def test_torchrun_around_the_command(alone: Alone, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    words += ["bench", *words_of(alone[0], "--out", str(tmp_path / "runs"))]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SWD x1000") == 2  # one table: its title and what ranks; only rank 0 speaks
    assert_same_results(tmp_path / "runs", alone[1])


@pytest.mark.slow
def test_the_launcher_goes_on_after_the_loss_of_a_rank(
    alone: tuple[Path, dict[str, Record]], tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    words = [sys.executable, "-m", "bench", *words_of(alone[0], "--out", str(runs), "--launcher", "torchrun")]
    run = subprocess.Popen(
        words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not list(runs.glob("stages/distil/*/snapshot-0.safetensors")):
        assert run.poll() is None
        time.sleep(0.05)
    os.kill(max(ranks_of(str(runs))), signal.SIGKILL)
    said, _ = run.communicate(timeout=400)
    assert run.returncode == 0, said
    assert_same_results(runs, alone[1])


@pytest.mark.slow
def test_one_process_goes_on_with_what_two_began(alone: Alone, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    words = words_of(alone[0], "--out", str(runs))
    two = subprocess.Popen(
        [sys.executable, "-m", "bench", *words, "--launcher", "torchrun"],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    while not list(runs.glob("stages/distil/*/checkpoint.pt")):
        assert two.poll() is None
        time.sleep(0.05)
    os.killpg(two.pid, signal.SIGKILL)
    two.wait()
    for rank in ranks_of(str(runs), atleast=0):  # torchrun gives each a session of its own
        os.kill(rank, signal.SIGKILL)
    assert main([*words, "--device", "cpu"]) == 0
    records = by_label(runs)
    assert records["sid"].notes == ["trained by 2, then by 1 processes"] and not records[INSTANT].notes
    for label, whole in alone[1].items():
        assert records[label].status == "ok" and records[label].provenance.processes == 1
        for one, other in zip(records[label].rows, whole.rows, strict=True):
            for key, value in other.metrics.items():
                assert one.metrics[key].mean == pytest.approx(value.mean, rel=1e-3, abs=1e-3)


def ranks_of(runs: str, atleast: int = 2) -> list[int]:
    """Processes that take part, by ``/proc``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_text()
        except OSError:
            continue
        if "bench.launchers.ranks" in command and "torch.distributed.run" not in command:
            found.append(int(place.name))
    assert len(found) >= atleast, runs
    return found
