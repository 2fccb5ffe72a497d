"""Weights in shards, on real processes: the numbers of one process, and a share of its bytes."""

from __future__ import annotations

import json
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from shard_work import (
    METHODS,
    OTHERS,
    all_gradients,
    first_steps,
    going_on,
    gradients,
    held,
    networks,
    small_lab,
    text_gradients,
)
from test_processes import environment

from bench.distributed.layout import Layout
from bench.errors import BenchError
from bench.lab import Lab
from bench.meter import ALONE
from bench.store import read_json
from bench.suite import load_suite
from bench.training import Training

pytestmark = pytest.mark.usefixtures("one_thread")
WORK = Path(__file__).with_name("shard_work.py")
CLOSE: dict[str, float] = {"rel": 1e-5, "abs": 1e-5}


def on_processes(size: int, folder: Path, *tasks: str) -> list[dict[str, Any]]:
    """What each rank's tasks returned."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    ranks = []
    for rank in range(size):
        place = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        words = [sys.executable, str(WORK), str(folder), *tasks]
        paths = ":".join(
            map(str, [environment()["PYTHONPATH"], WORK.parent, WORK.parents[1] / "text_to_image"])
        )
        ranks.append(subprocess.Popen(words, env={**environment(), **place, "PYTHONPATH": paths}))
    assert [rank.wait(400) for rank in ranks] == [0] * size
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(size)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Two processes that do everything the fast tests look at; starting them takes most of the time."""
    folder = tmp_path_factory.mktemp("pair")
    alone = folder / "training"  # one process begins, two go on
    alone.mkdir()
    going_on(alone, small_lab(), ALONE, Training)
    return folder, on_processes(
        2, folder, "gradients", "wrong", "methods", "go_on", "bytes", "kept", "clocks", "refusals"
    )


# ------------------------------------------------------------------ arithmetic


def test_gradients_are_those_of_one_process(pair: tuple[Path, Any]) -> None:
    """To rounding in fp64, for every kind of network: clipped, through frozen weights, after Adam."""
    found = torch.load(pair[0] / "gradients.pt", weights_only=True)
    expected = all_gradients(ALONE)
    assert set(found) == set(expected)
    for name, tensors in expected.items():
        for one, other in zip(found[name], tensors, strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_gradients_of_a_text_network_are_those_of_one_process(tmp_path: Path) -> None:
    on_processes(2, tmp_path, "text")
    found = torch.load(tmp_path / "text.pt", weights_only=True)
    for name, tensors in text_gradients(ALONE).items():
        for one, other in zip(found[name], tensors, strict=True):
            torch.testing.assert_close(one, other.detach(), rtol=1e-8, atol=1e-8)


def test_a_gradient_that_is_averaged_or_not_reduced_would_be_seen(pair: tuple[Path, Any]) -> None:
    wrong = torch.load(pair[0] / "wrong.pt", weights_only=True)
    right = gradients(networks()["mlp"], ALONE, (2,), None)
    for kind, tensors in wrong.items():
        assert max(float((a - b).abs().max()) for a, b in zip(tensors, right, strict=True)) > 1e-3, kind


def assert_same_steps(
    label: str, found: list[dict[str, Any]], expected: dict[str, Any], weights: float = 1e-5
) -> None:
    for rank in found:
        for one, other in zip(rank[label]["scalars"], expected["scalars"], strict=True):
            assert one == pytest.approx(other, **CLOSE)
        assert rank[label]["work"] == expected["work"]  # every rank counts the work of all
    assert found[0][label]["scalars"] == found[1][label]["scalars"]  # to the bit
    assert found[0][label]["sums"] == pytest.approx(expected["sums"], rel=weights)
    assert found[1][label]["sums"] == []  # whole weights are rank 0's, on their way to a file


@pytest.mark.parametrize("label", METHODS)
def test_first_losses_are_those_of_one_process(label: str, pair: tuple[Path, Any]) -> None:
    found = [rank["methods"] for rank in pair[1]]
    assert_same_steps(label, found, first_steps(label, small_lab(), ALONE))


@pytest.mark.slow
def test_first_losses_of_the_other_methods(tmp_path: Path) -> None:
    found = [rank["others"] for rank in on_processes(2, tmp_path, "others")]
    for label in OTHERS:
        assert_same_steps(label, found, first_steps(label, small_lab(), ALONE))


@pytest.mark.slow
def test_first_losses_of_a_convolutional_network(tmp_path: Path) -> None:
    found = [rank["digits"] for rank in on_processes(2, tmp_path, "digits")]
    for label in found[0]:
        expected = first_steps(label, Lab.open(load_suite("digits")), ALONE, 4)
        # Adam's first steps make +-lr of gradients that are rounding alone
        assert_same_steps(label, found, expected, weights=1e-3)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (5, 3), (4, 2, 3, 3), (2, 0)])
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_rows_of_any_number_of_ranks_make_the_whole(shape: tuple[int, ...], size: int) -> None:
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for tensor in (whole, whole.to(memory_format=torch.channels_last)) if whole.ndim == 4 else (whole,):
        layout = Layout.of(tensor)
        own = [layout.own(tensor, rank, size) for rank in range(size)]
        dealt = layout.dealt(tensor, size)
        for rank in range(size):
            assert torch.equal(layout.shard(dealt[rank], rank, size), own[rank])
        if shape:
            assert sum(map(len, own)) == len(tensor)
            lines = torch.stack([layout.padded(one, size) for one in own])
            joined = layout.joined(lines)
            assert torch.equal(joined, tensor) and joined.stride() == layout.stride == tensor.stride()


# ------------------------------------------------------------------ memory


def test_each_rank_holds_its_share_of_bytes(pair: tuple[Path, Any]) -> None:
    """Of parameters, averages and optimiser states; 2 divides the rows of every layer there."""
    whole = held(small_lab(), ALONE)
    assert [rank["bytes"] / whole for rank in pair[1]] == [0.5, 0.5]


def test_whole_weights_are_there_for_one_layer_at_a_time(pair: tuple[Path, Any]) -> None:
    """Of 19 layers; autograd keeps none of them."""
    for rank in pair[1]:
        peak, left = rank["kept"]
        assert left < 0.02 and peak < 0.4


# ------------------------------------------------------------------ checkpoints


@pytest.fixture(scope="module")
def twelve() -> list[list[float]]:
    """The first steps of a training that is never stopped."""
    return list(first_steps("dmd2[steps=1]", small_lab(), ALONE, 12)["scalars"])


def assert_follows(found: list[list[float]], expected: list[list[float]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, **CLOSE)


def test_two_go_on_with_what_one_began_and_one_with_what_two_began(
    pair: tuple[Path, Any], twelve: list[list[float]], tmp_path: Path
) -> None:
    folder = tmp_path / "training"
    shutil.copytree(pair[0] / "training", folder)
    assert sorted(p.name for p in folder.glob("*checkpoint*")) == ["checkpoint-8"]  # nothing else is left
    assert {p.name for p in (folder / "checkpoint-8").iterdir()} >= {".metadata", "rest.pt", "__1_0.distcp"}
    for rank in pair[1]:
        assert_follows(rank["go_on"], twelve[4:8])
    assert_follows(going_on(folder, small_lab(), ALONE, Training, last=True), twelve[8:])
    made = read_json(folder / "training.json")
    assert made["processes"] == [1, 2, 1] and made["cost"]["iterations"] == 12 and not made["sharded"]
    assert not list(folder.glob("*checkpoint*"))


def test_snapshots_are_whole_files(pair: tuple[Path, Any], tmp_path: Path) -> None:
    """As one process writes them: same names, shapes and metadata."""
    going_on(tmp_path, small_lab(), ALONE, Training)
    (one,) = tmp_path.glob("snapshot-*.safetensors")
    with safe_open(pair[0] / "training" / one.name, "pt") as made, safe_open(one, "pt") as plain:
        assert set(made.keys()) == set(plain.keys()) and set(made.metadata()) == set(plain.metadata())
        for name in plain.keys():  # noqa: SIM118
            assert made.get_tensor(name).shape == plain.get_tensor(name).shape
            assert made.get_tensor(name).isfinite().all()


def test_one_clock_decides_when_all_ranks_write(pair: tuple[Path, Any]) -> None:
    """If each went by its own, one would write while another iterates, and both wait for ever."""
    first, second = (rank["clocks"] for rank in pair[1])
    assert first == second and first["iterations"] > 5
    assert first["saves"] >= first["iterations"]


@pytest.mark.slow
def test_three_go_on_with_what_two_began(
    pair: tuple[Path, Any], twelve: list[list[float]], tmp_path: Path
) -> None:
    shutil.copytree(pair[0] / "training", tmp_path / "training")
    for rank in on_processes(3, tmp_path, "end"):
        assert_follows(rank["end"], twelve[8:])
    made = read_json(tmp_path / "training" / "training.json")
    assert made["processes"] == [1, 2, 3] and made["sharded"]
    assert made["notes"] == ["trained by 1, then by 2, then by 3 processes"]


def test_half_a_checkpoint_is_never_read(
    pair: tuple[Path, Any], twelve: list[list[float]], tmp_path: Path
) -> None:
    """Who is killed while writing leaves the partial folder, and older checkpoints beside the new one."""
    folder = tmp_path / "training"
    shutil.copytree(pair[0] / "training", folder)
    shutil.copytree(folder / "checkpoint-8", folder / ".checkpoint.partial")
    (folder / ".checkpoint.partial" / "rest.pt").unlink()
    (folder / "checkpoint-4").mkdir()
    assert_follows(going_on(folder, small_lab(), ALONE, Training), twelve[8:])
    assert sorted(p.name for p in folder.glob("*checkpoint*")) == ["checkpoint.pt"]


@pytest.mark.parametrize("name", ["__1_0.distcp", ".metadata", "rest.pt"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_a_lost_shard_is_named(name: str, how: str, pair: tuple[Path, Any], tmp_path: Path) -> None:
    folder = tmp_path / "training"
    shutil.copytree(pair[0] / "training", folder)
    file = folder / "checkpoint-8" / name
    file.unlink() if how == "missing" else file.write_bytes(b"no such thing" * 3)
    with pytest.raises(BenchError, match="missing or damaged") as caught:
        going_on(folder, small_lab(), ALONE, Training)
    said = str(caught.value)
    assert said.startswith(f"{folder / 'checkpoint-8'}: damaged checkpoint") and "\n" not in said
    assert said.endswith(f"delete {folder} to start over")


# ------------------------------------------------------------------ refusals


def test_what_cannot_be_done_in_shards_is_refused(pair: tuple[Path, Any]) -> None:
    assert pair[1][0]["refusals"] == pair[1][1]["refusals"]
    forward, changed, tied, old = pair[1][0]["refusals"]
    assert "--shard: this method differentiates a network in forward mode" in forward
    assert "was changed between a forward pass and its backward pass" in changed
    assert "--shard: a weight of shape (2, 2) belongs to two layers of Sequential" in tied
    assert "cannot train tensors in shards (TypeError: " in old and "install a newer one" in old


def test_metadata_make_nothing_but_metadata(pair: tuple[Path, Any], tmp_path: Path) -> None:
    """A pickle in their place is not executed."""
    folder, flag = tmp_path / "training", tmp_path / "executed"
    shutil.copytree(pair[0] / "training", folder)

    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (flag,)

    (folder / "checkpoint-8" / ".metadata").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(BenchError, match=r"the metadata ask for .*touch"):
        going_on(folder, small_lab(), ALONE, Training)
    assert not flag.exists()
