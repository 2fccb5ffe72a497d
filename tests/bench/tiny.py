"""A suite file like gmm2d, shrunk until a whole run takes seconds; and plugins that misbehave."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

SHRUNK = {
    "samples = 5000": "samples = 200",
    "curve_samples = 2000": "curve_samples = 100",
    "batch = 5000": "batch = 64",
    "batch = 128": "batch = 32",
    "batch = 256": "batch = 32",
    "batch = 512": "batch = 32",
    "repeats = 3": "repeats = 2",
    "pairs = 5000": "pairs = 64",
    "work = 16_000_000": "work = 9_000",
    "nfe = [7, 15, 35, 79]": "nfe = [7]",
    "nfe = [1, 2, 4, 8]\n\n[[solver_rows]]": "nfe = [1, 2]\n\n[[solver_rows]]",
}


def tiny_suite(folder: Path, **edits: str) -> Path:
    """Write the tiny suite; ``edits`` replaces further text (underscores of keys are kept)."""
    text = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()
    for old, new in {**SHRUNK, **edits}.items():
        text = text.replace(old, new)
    tomllib.loads(text)
    path = folder / "tiny.toml"
    path.write_text(text)
    return path


MISBEHAVING = """
import time
import torch
from baselines.distiller import Distiller, Needs, descend
from baselines.generators import OneStep


class Base(Distiller):
    paper = "none"
    summary = "a method for tests"
    needs = Needs(data=True)

    def __init__(self, teacher, config, context):
        super().__init__(teacher, config, context)
        self.student = context.network("student", teacher.net)
        self.optimizer = context.optimizer("student", self.student, lr=1e-4)

    def step(self, batch):
        z = self.context.draws().normal(batch.size, 2)
        loss = (self.student(z * 2.5, 2.5, batch.cond) - batch.x0).square().mean()
        descend(loss, self.optimizer)
        return self.trouble(loss)

    def students(self):
        return {1: self.student}

    @classmethod
    def generator(cls, students, config, space):
        return OneStep(students, 2.5)

    def trouble(self, loss):
        return {"loss": loss.detach()}


class Good(Base):
    name = "good"


class Raises(Base):
    name = "raises"

    def trouble(self, loss):
        raise RuntimeError("no such luck")


class Nan(Base):
    name = "nan"

    def trouble(self, loss):
        return {"loss": loss.detach() if self.context.iteration < 3 else float("nan")}


class NanWeight(Base):
    name = "nanweight"

    def trouble(self, loss):
        if self.context.iteration == 4:
            with torch.no_grad():
                next(self.student.plain.parameters())[0] = float("inf")
        return {"loss": 0.0}


class Hangs(Base):
    name = "hangs"

    def trouble(self, loss):
        while self.context.iteration == 2:
            time.sleep(0.01)
        return {"loss": loss.detach()}


class Interrupts(Base):
    name = "interrupts"

    def trouble(self, loss):
        import os
        if self.context.iteration == 5 and not os.path.exists(os.environ["BENCH_TEST_FLAG"]):
            open(os.environ["BENCH_TEST_FLAG"], "w").close()
            raise KeyboardInterrupt
        return {"loss": loss.detach()}
"""
