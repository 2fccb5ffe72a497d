"""Times and sizes of a plan for people."""

from __future__ import annotations

HOUR = 3600.0


def clock(seconds: float) -> str:
    """Seconds as m:ss, h:mm:ss, or days."""
    if seconds >= 100 * HOUR:
        return span(seconds)
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def span(seconds: float) -> str:
    """Seconds in the unit that suits: ``26 h``, ``3.5 days``, ``12 years``."""
    for unit, length in (("years", 365 * 24 * HOUR), ("days", 24 * HOUR), ("h", HOUR), ("min", 60.0)):
        if seconds >= (2 if unit in ("years", "days") else 1) * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def hours(value: float) -> str:
    """GPU-hours with three digits, never as a power of ten."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 0.01 else "< 0.01"
