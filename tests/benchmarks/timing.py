"""A call timed beside its references, turn by turn, so that all of them meet the same neighbours."""

from __future__ import annotations

import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

NOT = "not measured"
Reference = Callable[[], Any] | None  # None: it is not here, so it is not measured


def processor_seconds() -> float:
    """Processor time of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Took(float):
    """Seconds that a call says it took, where not all of it counts."""

    unit = "seconds"


class Held(Took):
    """Bytes that a call says it held at its peak."""

    unit = "bytes"


def told(value: float, unit: str = Took.unit) -> str:
    """Three digits in the unit that suits."""
    if unit == Held.unit:
        return f"{value / 2**30:.3g} GiB" if value >= 2**30 else f"{value / 2**20:.3g} MiB"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def seconds_of(call: Callable[[], Any]) -> Took:
    """Processor time of a call, or what it says that it took."""
    start = processor_seconds()
    said = call()
    return said if isinstance(said, Took) else Took(processor_seconds() - start)


@dataclass(frozen=True)
class Beside:
    """Runs a benchmark and keeps how long it takes next to others: below 1 it is the quicker."""

    benchmark: Any
    show: Callable[[str], None]

    def __call__(
        self,
        part: str,
        what: str,
        call: Callable[[], Any],
        references: Mapping[str, Reference] | None = None,
        *,
        aims: Mapping[str, float] | None = None,
        rounds: int = 5,
        warm: int = 1,
    ) -> None:
        """Time ``call`` over rounds, each after one of every reference.

        Args:
            part: heading under which it stands; what: its line there.
            references: by name; one may say itself how long it ``Took``.
            aims: largest ratio of the medians wanted, by reference.
            warm: rounds of each beforehand that do not count.
        """
        references = references or {}
        here = {name: one for name, one in references.items() if one is not None}
        for one in [*here.values(), call] * warm:
            one()
        spent: dict[str, list[Took]] = {name: [] for name in ["", *here]}

        def others() -> None:
            for name, one in here.items():
                spent[name].append(seconds_of(one))

        self.benchmark.group = part
        self.benchmark.pedantic(lambda: spent[""].append(seconds_of(call)), setup=others, rounds=rounds)
        own, unit = median(spent[""]), spent[""][0].unit
        ratios = {name: own / median(spent[name]) if name in here else None for name in references}
        self._keep(part, what, round(own, 7), ratios, aims, unit)

    def absent(self, part: str, what: str, aims: Mapping[str, float]) -> None:
        """A line that what is here cannot measure."""
        self.benchmark.pedantic(lambda: None)
        self._keep(part, what, None, dict.fromkeys(aims), aims, Took.unit)

    def _keep(
        self,
        part: str,
        what: str,
        own: float | None,  # of what the calls say that they took, where they do
        ratios: Mapping[str, float | None],
        aims: Mapping[str, float] | None,
        unit: str,
    ) -> None:
        self.benchmark.extra_info.update(
            part=part,
            what=what,
            median=own,
            unit=unit,
            ratios={name: ratio and round(ratio, 3) for name, ratio in ratios.items()},
            aims=dict(aims or {}),
        )
        beside = [
            f", {name} {NOT}" if ratio is None else f", {ratio:.3f} of {name}"
            for name, ratio in ratios.items()
        ]
        self.show(f"{part}: {what}: {NOT if own is None else told(own, unit)}{''.join(beside)}")
