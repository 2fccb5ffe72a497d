"""An example of every rule of metrics kept and broken: members of one small metric."""

from __future__ import annotations

from textwrap import indent

from bench.check.examples import Example

METRIC_BASE = '''"""A small metric that keeps every rule; an example replaces some of its members."""

import numpy as np

from metrics.plugin import Metric, Needs


class Base(Metric):
    about = "mean distance of samples from the origin"

    def __init__(self, real, rng):
        super().__init__(real, rng)
        self.total, self.count = 0.0, 0

    def radii(self, samples):
        return np.linalg.norm(samples.reshape(len(samples), -1).astype(float), axis=1)

    def update(self, batch):
        self.total += self.radii(batch.samples).sum()
        self.count += len(batch.samples)

    def value(self):
        return self.total / self.count
'''

METRIC_EXAMPLES = {
    "DB201": Example(
        """title = "mean radius"
better = "lower"
""",
        """better = "small"
""",
    ),
    "DB202": Example(
        """needs = Needs(space="images", features=True)

def update(self, batch):
    self.total += batch.features.std(axis=1).sum()
    self.count += len(batch.features)
""",
        """def value(self):
    return super().value() + np.inf
""",
    ),
    "DB203": Example(
        """needs = Needs(real=True)

def value(self):
    return super().value() - self.radii(self.real.data.samples).mean()
""",
        """seen = []  # of the class: it outlives a block

def value(self):
    self.seen.append(self.count)
    return super().value() * len(self.seen)
""",
    ),
    "DB204": Example(
        """def update(self, batch):
    self.total = max(self.total, self.radii(batch.samples).max())

def value(self):
    return self.total
""",
        """def update(self, batch):
    self.total += self.radii(batch.samples).max()  # of a batch
    self.count += 1
""",
    ),
    "DB205": Example(
        """def __init__(self, real, rng):
    super().__init__(real, rng)
    self.shift = self.rng.normal()

def radii(self, samples):
    return super().radii(samples + self.shift)
""",
        """def __init__(self, real, rng):
    super().__init__(real, rng)
    self.shift = np.random.normal()
""",
    ),
    "DB206": Example(
        """def value(self):
    return min(super().value(), 1e6)
""",
        """def value(self):
    import socket

    socket.create_connection(("127.0.0.1", 9), timeout=1).close()
    return super().value()
""",
    ),
    "DB207": Example(
        """SCALE = 0.5  # a constant stands in the source

def value(self):
    return self.SCALE * super().value()
""",
        """def value(self):
    from pathlib import Path

    licence = Path(np.__file__).parent / "py.typed"
    return super().value() + len(licence.read_text())
""",
    ),
    "DB208": Example(
        """def value(self):
    import torch

    with torch.inference_mode():
        return float(torch.tensor(super().value()))
""",
        """def value(self):
    import torch

    torch.set_default_dtype(torch.float64)
    return super().value()
""",
    ),
}


def metric_source(members: str) -> str:
    """A plugin file with the base and a metric ``example`` that replaces some of its members."""
    return f'{METRIC_BASE}\n\nclass Changed(Base):\n    name = "example"\n\n{indent(members, "    ")}'
