"""What a plugin must leave as it found it: torch's global state, and the code that counts its work.

In-process Python can undo any guard; this one sees accidents and plain tampering (docs/threat-model.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from bench.context import RunContext, StreamDraws
from bench.meter import Meter, Metered
from bench.training import Snapshot, Training

COUNTING = (Meter, Metered, RunContext, StreamDraws, Training, Snapshot)


@dataclass(frozen=True)
class Setting:
    """One global setting of torch: how to read it and how to set it."""

    title: str
    read: Callable[[], Any]
    write: Callable[[Any], Any]


SETTINGS = (
    Setting("the default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Setting("the number of threads", torch.get_num_threads, torch.set_num_threads),
    Setting("grad mode", torch.is_grad_enabled, torch.set_grad_enabled),
    Setting(
        "deterministic algorithms",
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    Setting(
        "the precision of matrix products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Setting("anomaly detection", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    Setting("the default device", torch.get_default_device, torch.set_default_device),
)


def functions() -> dict[str, tuple[type, str, Any]]:
    """Every function that counts, trains or hands out, by its full name."""
    return {
        f"{kind.__module__}.{kind.__qualname__}.{name}": (kind, name, value)
        for kind in COUNTING
        for name, value in vars(kind).items()
        if callable(value) or isinstance(value, property)
    }


def code_of(value: Any) -> Any:
    """What runs when a function is called."""
    return getattr(value, "__code__", None)


@dataclass(frozen=True)
class Guard:
    """A picture of the global state, to be compared with later."""

    settings: tuple[Any, ...]
    counting: dict[str, tuple[type, str, Any]]
    codes: dict[str, Any]

    @staticmethod
    def now() -> Guard:
        """The state as it is."""
        counting = functions()
        return Guard(
            tuple(setting.read() for setting in SETTINGS),
            counting,
            {name: code_of(value) for name, (_, _, value) in counting.items()},
        )

    def changed(self) -> list[str]:
        """What differs by now, in words: settings, then functions of the bench."""
        pairs = zip(SETTINGS, self.settings, strict=True)
        found = [f"torch's {s.title.removeprefix('the ')}" for s, was in pairs if s.read() != was]
        present = functions()
        for name in sorted(self.counting.keys() | present.keys()):
            was, now = self.counting.get(name), present.get(name)
            if was is None or now is None or was[2] is not now[2] or code_of(now[2]) is not self.codes[name]:
                found.append(name)
        return found

    def restore(self) -> list[str]:
        """Put settings and functions back; returns what had been changed."""
        changed = self.changed()
        for setting, was in zip(SETTINGS, self.settings, strict=True):
            if setting.read() != was:
                setting.write(was)
        for name, (kind, attribute, value) in functions().items():
            if name not in self.counting:
                delattr(kind, attribute)
            elif self.counting[name][2] is not value:
                setattr(kind, attribute, self.counting[name][2])
        for name, (kind, attribute, value) in self.counting.items():
            if vars(kind).get(attribute) is not value:
                setattr(kind, attribute, value)
            if self.codes[name] is not None and code_of(value) is not self.codes[name]:
                value.__code__ = self.codes[name]
        return changed
