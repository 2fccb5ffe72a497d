"""What a method does beside its mathematics: global random numbers, sockets, files, updates of weights."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.context import RunContext
from bench.plugins.guard import Guard

OUTWARD = (
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork",
)  # fmt: skip
CODE = {".py", ".pyc", ".pyi", ".so", ".pyd", ".dylib"}  # imports may happen at any time
SYSTEM = ("/proc/", "/sys/", "/dev/")


class Refused(OSError):
    """A method asked for the network or for another program while it was checked."""


class Watch:
    """Observations of one method; everything between ``with watch:`` and its end is the method's doing."""

    active: Watch | None = None
    hooked = False

    def __init__(self) -> None:
        self.outward: list[str] = []
        self.files: list[str] = []
        self.random: set[str] = set()
        self.settings: set[str] = set()
        self.updates: set[str] = set()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Observe what happens inside."""
        if not Watch.hooked:  # an audit hook can never be taken away again, only sleep
            sys.addaudithook(Watch.audit)
            Watch.hooked = True
        guard, states = Guard.now(), random_states()
        Watch.active = self
        try:
            yield
        finally:
            Watch.active = None
            self.random |= {name for name, state in random_states().items() if state != states[name]}
            self.settings |= set(guard.restore())

    @staticmethod
    def audit(event: str, given: tuple[Any, ...]) -> None:
        """Python tells of every file, socket and program; the latter two are refused."""
        watch = Watch.active
        if watch is None:
            return
        if event in OUTWARD:
            watch.outward.append(event)
            raise Refused(f"{event} is refused while a method is checked")
        if event == "open" and isinstance(given[0], str | bytes):
            path = given[0] if isinstance(given[0], str) else given[0].decode(errors="replace")
            if Path(path).suffix not in CODE and not path.startswith(SYSTEM):
                watch.files.append(path)


def random_states() -> dict[str, Any]:
    """States of the global generators, to be compared."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (looked at, never drawn from)
    return {
        "torch": bytes(torch.get_rng_state().numpy()),
        "numpy": (kind, bytes(np.asarray(keys)), *rest),
        "random": random.getstate(),
    }


class WatchedContext(RunContext):
    """A context that sees whether weights change other than by the optimisers it handed out."""

    watch: Watch
    known: dict[int, Tensor]

    def optimizer(self, name: str, *owners: Any, lr: float, **adam: Any) -> torch.optim.Optimizer:
        optimizer = super().optimizer(name, *owners, lr=lr, **adam)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        step: Callable[..., Any] = optimizer.step

        def seen(*given: Any, **named: Any) -> Any:
            self.compare(parameters)
            done = step(*given, **named)
            self.remember(parameters)
            return done

        optimizer.step = seen  # type: ignore[method-assign]
        self.remember(parameters)
        return optimizer

    def remember(self, parameters: list[Tensor]) -> None:
        """These values are as an optimiser left them."""
        self.known.update({id(p): p.detach().clone() for p in parameters})

    def compare(self, parameters: list[Tensor]) -> None:
        """Note the networks whose owned weights are not as an optimiser left them."""
        for p in parameters:
            if id(p) in self.known and not same(p.detach(), self.known[id(p)]):
                self.watch.updates.add(self.role_of(p))

    def role_of(self, weight: Tensor) -> str:
        """The network that a weight belongs to."""
        for role, shell in self.networks.items():
            if any(p is weight for p in shell.plain.parameters()):
                return role
        return "a network that the context did not hand out"

    def after_step(self, start: dict[int, Tensor]) -> None:
        """Compare at the end of a step; trainable weights in no optimiser must be as at its start."""
        for shell in self.networks.values():
            weights = [p for p in shell.plain.parameters() if p.requires_grad]
            self.compare([p for p in weights if id(p) in self.known])
            for p in weights:
                if id(p) not in self.known and id(p) in start and not same(p.detach(), start[id(p)]):
                    self.watch.updates.add(self.role_of(p))

    def values(self) -> dict[int, Tensor]:
        """Trainable weights in no optimiser, as they are."""
        weights = [p for shell in self.networks.values() for p in shell.plain.parameters() if p.requires_grad]
        return {id(p): p.detach().clone() for p in weights if id(p) not in self.known}


def same(a: Tensor, b: Tensor) -> bool:
    """Equal, entries that are no numbers included."""
    return torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
