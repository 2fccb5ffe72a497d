"""The package that ``bench new method NAME`` writes; it passes ``bench check`` as it is. No numerics."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from bench.catalog import METHODS, aliases
from bench.errors import UsageError

METHOD = '''"""$words: reach in one evaluation what the teacher's solver reaches in several."""

import torch
from pydantic import Field

from baselines.diffusion.samplers import heun
from baselines.distiller import Distiller, Settings, descend
from baselines.generators import OneStep


class Options(Settings):
    lr: float = Field(1e-3, gt=0, description="Adam rate")
    solver_steps: int = Field(4, gt=0, description="Heun steps of the target; n steps are 2n - 1 evaluations")


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

TEST = '''"""The method keeps every rule of the contract (bench check --rules)."""

from pathlib import Path

from bench.check.run import check

METHOD = Path(__file__).parents[1] / "src" / "$name" / "method.py"


def test_it_keeps_every_rule():
    for verdict in check(METHOD)["$name"]:
        assert verdict.state == "passed", f"{verdict.rule.id}: {verdict.note}"
'''

PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "$dashed"
version = "0.1.0"
description = "$words, a method for distillbench"
requires-python = ">=3.11"
dependencies = ["distillbench"]

[project.entry-points."distillbench.methods"]
$name = "$name.method:$cls"
"""

README = """# $words

A method for distillbench. Edit `src/$name/method.py`.

    bench check $name
    bench run --suite gmm2d --budget quick --plugin $name --method $name
    bench leaderboard gmm2d --records runs

(from the folder that holds this one). Once installed, `pip install ./$name`, it needs no `--plugin`.
"""

FILES = {
    "pyproject.toml": PYPROJECT,
    "README.md": README,
    "src/{name}/__init__.py": '"""$words."""\n',
    "src/{name}/method.py": METHOD,
    "tests/test_{name}.py": TEST,
}
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def write_method(name: str, out: Path) -> list[Path]:
    """Write the package ``out/name`` and return its files.

    Raises:
        UsageError: a name that is no Python name in small letters, is taken, or whose folder is there.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            f"method name {name!r}: expected small letters, digits and single _, such as my_method"
        )
    if name in {*METHODS, *aliases(), "bench", "baselines", "metrics", "torch", "numpy"}:
        raise UsageError(f"method name {name!r} is taken; choose another one")
    folder = out / name
    if folder.exists():
        raise UsageError(f"{folder}: is there already; choose another name or --out")
    words = name.replace("_", " ")
    values = {
        "name": name,
        "dashed": name.replace("_", "-"),
        "words": words[:1].upper() + words[1:],
        "cls": "".join(part.capitalize() for part in name.split("_")),
    }
    for place, text in FILES.items():
        path = folder / place.format(name=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8")
    return [folder / place.format(name=name) for place in FILES]
