"""The packages that ``bench new`` writes for a method or metric; they pass ``bench check``. No numerics."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from bench.catalog import METHODS as METHODS_THAT_SHIP
from bench.catalog import aliases
from bench.errors import UsageError
from bench.plugins.groups import METHODS, METRICS
from bench.suite import load_suite, suite_names

METHOD = '''"""$words: reach in one evaluation what the teacher's solver reaches in several."""

import torch
from pydantic import Field

from baselines.diffusion.samplers import heun
from baselines.distiller import Distiller, Settings, descend
from baselines.generators import OneStep


class Options(Settings):
    lr: float = Field(1e-3, gt=0, description="Adam rate")
    solver_steps: int = Field(8, gt=0, description="Heun steps of the target; n steps are 2n - 1 evaluations")


class $cls(Distiller):
    name = "$name"
    paper = "karras2022edm"  # a BibTeX key: replace it by yours
    summary = "one-step regression onto the teacher's Heun samples"
    Config = Options

    def __init__(self, teacher, config, context):
        super().__init__(teacher, config, context)
        self.student = context.network("student", teacher.net)
        self.optimizer = context.optimizer("student", self.student, lr=config.lr)

    def step(self, batch):
        x = self.context.draws().normal(batch.size, *self.space.shape) * self.space.sigma_max
        sigmas = self.space.grid.solver(self.config.solver_steps)
        with torch.no_grad():
            target = heun(self.teacher.denoiser, x, sigmas, batch.cond)
        loss = (self.student(x, self.space.sigma_max, batch.cond) - target).square().mean()
        descend(loss, self.optimizer)
        return {"loss": loss.detach()}

    def students(self):
        return {1: self.student}

    @classmethod
    def generator(cls, students, config, space):
        return OneStep(students, space.sigma_max)
'''

METRIC = '''"""$words: how far the mean radius of samples is from that of real data."""

import numpy as np

from metrics.plugin import Metric, Needs


class $cls(Metric):
    name = "$name"
    title = "$lower"
    about = "distance between the mean radius of samples and of real data, in units of the data"
    better = "lower"
    needs = Needs(real=True)

    def __init__(self, real, rng):
        super().__init__(real, rng)
        self.total, self.count = 0.0, 0

    def update(self, batch):
        self.total += float(radii(batch.samples).sum())
        self.count += len(batch.samples)

    def value(self):
        return abs(self.total / self.count - float(radii(self.real.data.samples).mean()))


def radii(samples):
    return np.linalg.norm(samples.reshape(len(samples), -1).astype(float), axis=1)
'''

TEST = '''"""The $kind keeps every rule of the contract (bench check --rules)."""

from pathlib import Path

from bench.check.run import check

SOURCE = Path(__file__).parents[1] / "src" / "$name" / "$kind.py"


def test_it_keeps_every_rule():
    for verdict in check(SOURCE)["$name"]:
        assert verdict.state == "passed", f"{verdict.rule.id}: {verdict.note}"
'''

PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$dashed"
version = "0.1.0"
description = "$words, a $kind for distillbench"
requires-python = ">=3.11"
dependencies = ["distillbench"]

[project.entry-points."$group"]
$name = "$name.$kind:$cls"
"""

README = """# $words

A $kind for distillbench. Edit `src/$name/$kind.py`.

    bench check $name
    $run
    bench leaderboard gmm2d --records runs

(from the folder that holds this one). Once installed, `pip install ./$name`, $instead.
"""

FILES = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "src/{name}/__init__.py": '"""$words."""\n',
    "src/{name}/{kind}.py": "",
    "tests/test_{name}.py": TEST,
}


@dataclass(frozen=True)
class Skeleton:
    """What differs between kinds of packages; ``run`` and ``instead`` end the commands in its README."""

    kind: str
    group: str
    source: str
    run: str
    instead: str


SKELETONS = {
    "method": Skeleton("method", METHODS, METHOD, "--method $name", "it needs no `--plugin`"),
    "metric": Skeleton(
        "metric", METRICS, METRIC, "--method sid", "say `--metric $name` instead of `--plugin`"
    ),
}
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def write_package(kind: str, name: str, out: Path) -> list[Path]:
    """Write the package ``out/name`` of a kind and return its files.

    Raises:
        UsageError: a name that is no Python name in small letters, is taken, or whose folder is there.
    """
    check_name(kind, name)
    folder = out / name
    if folder.exists():
        raise UsageError(f"{folder}: is there already; choose another name or --out")
    words, skeleton = name.replace("_", " "), SKELETONS[kind]
    values = {
        "name": name,
        "kind": kind,
        "group": skeleton.group,
        "dashed": name.replace("_", "-"),
        "lower": words,
        "words": words[:1].upper() + words[1:],
        "cls": "".join(part.capitalize() for part in name.split("_")),
        "run": run_command(kind, name, name),
        "instead": Template(skeleton.instead).substitute(name=name),
    }
    files = {place: text or skeleton.source for place, text in FILES.items()}
    for place, text in files.items():
        path = folder / place.format(name=name, kind=kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8")
    return [folder / place.format(name=name, kind=kind) for place in files]


def run_command(kind: str, name: str, plugin: str) -> str:
    """The command that makes a row with it."""
    ends = Template(SKELETONS[kind].run).substitute(name=name)
    return f"bench run --suite gmm2d --budget quick --plugin {plugin} {ends}"


def check_name(kind: str, name: str) -> None:
    """Raise UsageError for a name that cannot be a package's, or is taken."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{kind} name {name!r}: expected small letters, digits and single _, such as my_{kind}"
        )
    metrics = {column.key for suite in suite_names() for column in load_suite(suite).metrics}
    if name in {*METHODS_THAT_SHIP, *aliases(), *metrics, "bench", "baselines", "metrics", "torch", "numpy"}:
        raise UsageError(f"{kind} name {name!r} is taken; choose another one")
