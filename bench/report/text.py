"""Text that came from files, made safe to print."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """The text on one line, without control, format (bidirectional) and unassigned characters."""
    if not text.isprintable():  # most are, and a table has tens of thousands
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(text.split())


def compact(value: float) -> str:
    """A count of work or samples with at most three digits and a unit prefix: ``1.5 M``."""
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {prefix}"
    return f"{value:.3g}"
