"""Sources of small plugins that tests write to disk."""

from __future__ import annotations

from pathlib import Path

METHOD = '''"""A method for tests."""

from baselines.distiller import Distiller, descend
from baselines.generators import OneStep
{imports}

class Small(Distiller):
    name = "small"
    paper = "karras2022edm"
    summary = "a method for tests"

    def __init__(self, teacher, config, context):
        super().__init__(teacher, config, context)
        self.student = context.network("student", teacher.net)
        self.optimizer = context.optimizer("student", self.student, lr=1e-4)

    def step(self, batch):
        z = self.context.draws().normal(batch.size, *self.space.shape)
        loss = self.student(z, 1.0, batch.cond).square().mean()
        descend(loss, self.optimizer)
{trouble}
        return {{"loss": loss.detach()}}

    def students(self):
        return {{1: self.student}}

    @classmethod
    def generator(cls, students, config, space):
        return OneStep(students, 1.0)
'''

PYPROJECT = """[project]
name = "small-package"
version = "2.1"

[project.entry-points."distillbench.methods"]
small = "small_package.method:Small"
"""


def method(imports: str = "", trouble: str = "", name: str = "small") -> str:
    """Source of a method; ``trouble`` are lines at the end of its step."""
    body = "".join(f"        {line}\n" for line in trouble.splitlines())
    text = METHOD.format(imports=imports + "\n" if imports else "", trouble=body.rstrip("\n"))
    return text.replace('"small"', f'"{name}"')


def package(folder: Path, source: str | None = None, init: str = '"""A package."""\n') -> Path:
    """A package's folder with a method in it, in the source layout."""
    code = folder / "src" / "small_package"
    code.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (code / "__init__.py").write_text(init)
    (code / "method.py").write_text(source or method())
    return folder


def install(package_folder: Path, site: Path) -> None:
    """What an editable installation leaves in a folder of packages: metadata and a line with the path.

    ``site`` must be given to ``site.addsitedir`` or to the child's environment.
    """
    metadata = site / "small_package-2.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: small-package\nVersion: 2.1\n")
    points = "[distillbench.methods]\nsmall = small_package.method:Small\n"
    (metadata / "entry_points.txt").write_text(points)
    (site / "small_package.pth").write_text(f"{package_folder / 'src'}\n")


METRIC = '''"""A metric for tests."""

import numpy as np

from metrics.plugin import Metric, Needs


class Spread(Metric):
    name = "spread"
    title = "spread x10"
    about = "ten times the standard deviation of samples over that of real data"
    better = "higher"
    digits = 2
    version = "3"
    needs = Needs(real=True)

    def __init__(self, real, rng):
        super().__init__(real, rng)
        self.parts = []

    def update(self, batch):
        self.parts.append(batch.samples.astype(float))

    def value(self):
        return 10 * float(np.concatenate(self.parts).std() / self.real.data.samples.std())
'''

METRIC_PYPROJECT = """[project]
name = "metric-package"
version = "1.4"

[project.entry-points."distillbench.metrics"]
spread = "metric_package.metric:Spread"
"""


def metric_package(folder: Path) -> Path:
    """A package's folder with a metric in it."""
    code = folder / "src" / "metric_package"
    code.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(METRIC_PYPROJECT)
    (code / "__init__.py").write_text('"""A package."""\n')
    (code / "metric.py").write_text(METRIC)
    return folder


def install_metric(folder: Path, site: Path) -> None:
    """What an editable installation of that package leaves; ``site`` and ``folder/src`` go on the path."""
    metadata = site / "metric_package-1.4.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: metric-package\nVersion: 1.4\n")
    points = "[distillbench.metrics]\nspread = metric_package.metric:Spread\n"
    (metadata / "entry_points.txt").write_text(points)
    (site / "metric_package.pth").write_text(f"{folder / 'src'}\n")
