"""Scores whose samples were shared out over processes equal those of one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from sample_files import noise
from test_measure import Corners, corners, protocol
from thread_group import ThreadGroup, on_ranks

from bench.distributed.ending import Part
from bench.distributed.following import LeaderStages, follow, looked_at
from bench.distributed.group import sendable
from bench.errors import BenchError
from bench.image_evaluation import ImageEvaluator
from bench.store import Store
from metrics.measure import Seen
from metrics.moments import Moments
from metrics.protocols.record import Protocol
from metrics.reference import Reference

REAL, COUNT = noise(60, seed=1), 210  # four batches, the last one short
ALL = ["fid", "sfid", "inception_score", "precision", "recall"]


class Watched(ImageEvaluator):
    """Notes which samples it was shown."""

    def seen(self, samples: np.ndarray, start: int) -> list[Seen]:
        self.__dict__.setdefault("shown", []).append((start, len(samples)))
        return super().seen(samples, start)


def law() -> Protocol:
    splits = {"splits": 10}
    return protocol(metrics=ALL, manifold={"k": 2, "real": 30, "fake": COUNT}, inception_score=splits)


def evaluator() -> Watched:
    moments = {"pool": Moments.of(corners(REAL)), "spatial": Moments.of(REAL[:, 1, 0, :3].astype(float))}
    unopened: Any = None
    made = Watched(law(), unopened, unopened)
    made.__dict__ |= {"extractor": Corners(), "reference": Reference("", moments, corners(REAL[:30]))}
    return made


@pytest.fixture
def block(tmp_path: Path) -> Path:
    save_file({"samples": noise(COUNT, seed=2) // 2}, tmp_path / "samples.safetensors")
    return tmp_path / "samples.safetensors"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_metrics_do_not_depend_on_the_number_of_processes(size: int, block: Path) -> None:
    expected = evaluator().score(noise(COUNT, seed=2) // 2, 0)
    assert list(expected) == ALL and expected["fid"] > 100 and 0 < expected["precision"] < 1

    def scored(group: ThreadGroup) -> tuple[dict[str, float], list[tuple[int, int]]]:
        own = evaluator()
        return own.scores(looked_at(group, own, block)), own.__dict__.get("shown", [])

    ranks = on_ranks(size, scored)
    assert sorted(part for _, shown in ranks for part in shown) == {
        1: [(0, 210)],
        2: [(0, 128), (128, 82)],
        3: [(0, 128), (128, 64), (192, 18)],
    }.get(size, [(0, 64), (64, 64), (128, 64), (192, 18)])
    for found, _ in ranks:
        assert found == ranks[0][0] == pytest.approx(expected, rel=1e-12)
        assert {key: found[key] for key in ALL[2:]} == {key: expected[key] for key in ALL[2:]}
    assert size > 1 or ranks[0][0] == expected


def test_rank_0_orders_and_the_others_take_part(block: Path) -> None:
    """Through the stages: an evaluator that cannot share scores on rank 0 alone, and nobody waits."""
    expected = evaluator().score(noise(COUNT, seed=2) // 2, 0)
    whole = SimpleNamespace(score=lambda samples, seed: {"of": float(len(samples))})

    def run(group: ThreadGroup) -> list[dict[str, float]]:
        found, lab = [], SimpleNamespace(evaluator=evaluator())
        lab.of = lambda suite: lab
        cell: Any = SimpleNamespace(id="c", suite=SimpleNamespace(id="s"))
        bench: Any = SimpleNamespace(lab=lab, store=Store(block.parent))
        if not group.leads:
            follow(group, bench, {"c": cell})
            assert lab.evaluator.__dict__["shown"] == [(128, 82)]
            return []
        stages = object.__new__(LeaderStages)
        stages.group, stages.cell, stages.lab = group, cell, lab  # type: ignore[assignment]
        stages.part = Part(group, cell.suite, block.parent)
        found.append(stages._score(block, 0))
        stages.lab = SimpleNamespace(evaluator=whole)  # type: ignore[assignment]
        found.append(stages._score(block, 0))
        group.tell(None)
        return found

    shared, alone = on_ranks(2, run)[0]
    assert shared == pytest.approx(expected, rel=1e-12) and alone == {"of": COUNT}


def test_what_fails_on_one_rank_fails_on_all(block: Path) -> None:
    """Otherwise the others would wait for it."""

    class Broken(Corners):
        def _forward(self, images: Any, extras: Any) -> Any:
            found = super()._forward(images, extras)
            return found if len(images) == 64 else type(found)(found.pool * float("nan"))

    def scored(group: ThreadGroup) -> str:
        own = evaluator()
        own.__dict__["extractor"] = Broken()
        with pytest.raises(ValueError, match="18 of 18 images hold NaN") as caught:
            looked_at(group, own, block)
        return str(caught.value)

    first, second = on_ranks(2, scored)
    assert first == second


def test_errors_that_cannot_be_sent_become_what_they_say() -> None:
    class Local(Exception):
        """Another process does not know it."""

    assert isinstance(sendable(ValueError("no")), ValueError)
    assert isinstance(sent := sendable(Local("why")), BenchError) and str(sent) == "Local: why"
