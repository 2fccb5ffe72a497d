"""The entry-point groups by which installed packages bring things, listed without importing them."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from bench.errors import UsageError

METHODS, METRICS, SUITES = "distillbench.methods", "distillbench.metrics", "distillbench.suites"


def installed(group: str) -> dict[str, EntryPoint]:
    """Entry points of a group by name; raises UsageError for two of one name."""
    points: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        if point.name in points and points[point.name].value != point.value:
            what = group.rpartition(".")[2].removesuffix("s")
            both = f"{points[point.name].value} and {point.value}"
            raise UsageError(f"two installed packages bring {what} {point.name!r}: {both}; remove one")
        points[point.name] = point
    return points
