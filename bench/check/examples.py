"""An example of every rule kept and of every rule broken: members of one small method.

They are text, since each is written to a file and checked as a plugin (``tests/plugins/test_rules.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import indent

BASE = '''"""A small method that keeps every rule; an example replaces some of its members."""

import torch
from pydantic import Field

from baselines.distiller import Distiller, Needs, Settings, descend
from baselines.generators import OneStep


class Base(Distiller):
    paper = "karras2022edm"
    summary = "regression onto the teacher's one-step estimate"

    def __init__(self, teacher, config, context):
        super().__init__(teacher, config, context)
        self.student = context.network("student", teacher.net)
        self.optimizer = context.optimizer("student", self.student, lr=1e-3)

    def noise(self, size):
        return self.context.draws().normal(size, *self.space.shape) * self.space.sigma_max

    def target(self, x, cond):
        with torch.no_grad():
            return self.teacher.denoiser(x, self.space.sigma_max, cond)

    def loss(self, batch):
        x = self.noise(batch.size)
        error = self.student(x, self.space.sigma_max, batch.cond) - self.target(x, batch.cond)
        return error.square().mean()

    def step(self, batch):
        loss = self.loss(batch)
        descend(loss, self.optimizer)
        return {"loss": loss.detach()}

    def students(self):
        return {1: self.student}

    @classmethod
    def generator(cls, students, config, space):
        return OneStep(students, space.sigma_max)
'''


@dataclass(frozen=True)
class Example:
    """Members that keep a rule, and members that break it and no other."""

    keeps: str
    breaks: str


EXAMPLES = {
    "DB101": Example(
        """class Config(Settings):
    lr: float = Field(1e-3, gt=0, description="Adam rate")
""",
        """class Config(Settings):
    lr: float = 1e-3
""",
    ),
    "DB102": Example(
        """def step(self, batch):
    loss = self.loss(batch)
    descend(loss, self.optimizer)
    return {"loss": loss.detach()}
""",
        """def step(self, batch):
    loss = self.loss(batch)
    descend(loss, self.optimizer)
    return {"loss": loss.detach(), "log of nothing": float("-inf")}
""",
    ),
    "DB103": Example(
        """@classmethod
def generator(cls, students, config, space):
    return OneStep(students, space.sigma_max)
""",
        """class Flat(OneStep):
    def sample(self, noise, cond, nfe):
        return super().sample(noise, cond, nfe).flatten()

@classmethod
def generator(cls, students, config, space):
    return cls.Flat(students, space.sigma_max)
""",
    ),
    "DB104": Example(
        """def loss(self, batch):
    return super().loss(batch) * (1 + self.context.iteration)
""",
        """seen = []  # of the class: it outlives a training

def loss(self, batch):
    self.seen.append(batch.size)
    return super().loss(batch) * len(self.seen)
""",
    ),
    "DB105": Example(
        """steps = 0

def loss(self, batch):
    self.steps += 1
    return super().loss(batch) / self.steps**2

def extra_state(self):
    return {"steps": self.steps}

def load_extra_state(self, state):
    self.steps = state["steps"]
""",
        """def __init__(self, teacher, config, context):
    super().__init__(teacher, config, context)
    self.average = torch.zeros(())  # lost when the training is resumed

def loss(self, batch):
    loss = super().loss(batch)
    self.average = 0.9 * self.average + 0.1 * loss.detach()
    return (loss - self.average).square()
""",
    ),
    "DB106": Example(
        """class Steps:
    def __init__(self, students, sigma):
        self.students, self.sigma = students, sigma

    def sample(self, noise, cond, nfe):
        student = self.students[nfe]
        return student(noise.initial() * self.sigma, self.sigma, cond)

@classmethod
def generator(cls, students, config, space):
    return cls.Steps(students, space.sigma_max)
""",
        """class Twice(OneStep):
    def sample(self, noise, cond, nfe):
        x, student = super().sample(noise, cond, nfe), self.students[nfe]
        return student(x + noise.at(1), 1.0, cond)  # a second evaluation for one step

@classmethod
def generator(cls, students, config, space):
    return cls.Twice(students, space.sigma_max)
""",
    ),
    "DB107": Example(
        """def target(self, x, cond):
    with torch.no_grad():  # a second look costs a unit more, and is paid
        return self.teacher.denoiser(super().target(x, cond) + x, self.space.sigma_max, cond)
""",
        """def target(self, x, cond):
    with self.context.meter.during("prepare"):  # charged to nobody
        return super().target(x, cond)
""",
    ),
    "DB108": Example(
        """def noise(self, size):
    return self.context.draws().normal(size, *self.space.shape) * self.space.sigma_max
""",
        """def noise(self, size):
    return torch.randn(size, *self.space.shape) * self.space.sigma_max
""",
    ),
    "DB109": Example(
        """def loss(self, batch):
    return super().loss(batch).clamp(max=1e4)
""",
        """def loss(self, batch):
    import socket

    socket.create_connection(("127.0.0.1", 9), timeout=1).close()
    return super().loss(batch)
""",
    ),
    "DB110": Example(
        """needs = Needs(data=True)

def noise(self, size):
    return self.context.next_batch().x0 + super().noise(size)
""",
        """def noise(self, size):
    from baselines.datasets.mixtures import MIXTURES  # the law that samples are scored against

    return super().noise(size) + MIXTURES["gmm2d"]().std
""",
    ),
    "DB111": Example(
        """def target(self, x, cond):
    with torch.no_grad():
        return self.teacher.net(x, self.space.sigma_max, cond)
""",
        """def target(self, x, cond):
    with torch.no_grad():
        for _ in range(2):  # past the shell, where nothing is counted
            x = self.teacher.net.plain(x, self.space.sigma_max, cond)
        return x
""",
    ),
    "DB112": Example(
        """class Clipped(OneStep):
    def sample(self, noise, cond, nfe):
        return super().sample(noise, cond, nfe).clamp(-3, 3)

@classmethod
def generator(cls, students, config, space):
    return cls.Clipped(students, space.sigma_max)
""",
        """class Centred(OneStep):
    def sample(self, noise, cond, nfe):
        x = super().sample(noise, cond, nfe)
        return x - x.mean(0)

@classmethod
def generator(cls, students, config, space):
    return cls.Centred(students, space.sigma_max)
""",
    ),
    "DB113": Example(
        """def loss(self, batch):
    with torch.enable_grad():
        return super().loss(batch)
""",
        """def loss(self, batch):
    torch.use_deterministic_algorithms(True, warn_only=True)
    return super().loss(batch)
""",
    ),
    "DB114": Example(
        """def __init__(self, teacher, config, context):
    super().__init__(teacher, config, context)
    self.slow = context.network("slow", teacher.net, trainable=False)  # a target of its own

def step(self, batch):
    scalars = super().step(batch)
    with torch.no_grad():
        for slow, fast in zip(self.slow.plain.parameters(), self.student.plain.parameters()):
            slow.lerp_(fast, 0.1)
    return scalars
""",
        """def step(self, batch):
    scalars = super().step(batch)
    with torch.no_grad():
        for weight in self.student.plain.parameters():
            weight.mul_(0.999)
    return scalars
""",
    ),
}


def source(members: str) -> str:
    """A plugin file with the base and a method ``example`` that replaces some of its members."""
    return f'{BASE}\n\nclass Changed(Base):\n    name = "example"\n\n{indent(members, "    ")}'
