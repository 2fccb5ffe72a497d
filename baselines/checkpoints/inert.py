"""What the table of allowed names hands out to a pickle: callable, and immune to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from baselines.checkpoints.errors import CheckpointError


class Immovable:
    """Base of stand-ins: state that a pickle wants to set is refused."""

    __slots__ = ()

    def __setstate__(self, state: object) -> NoReturn:
        raise CheckpointError(f"sets the state of a {type(self).__name__}, which no published file does")


class Inert(Immovable):
    """A function of the table; a pickle may call it and can change nothing about it."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)
