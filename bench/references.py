"""The bibliography that ships: ``leaderboards/reported/references.bib``, entries by key."""

from __future__ import annotations

import re
from functools import cache

from bench import __version__
from bench.errors import unknown
from bench.shipped import reported_file

ENTRY = re.compile(r"^@\w+\{(?P<key>[^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)


@cache
def bibliography() -> dict[str, str]:
    """BibTeX entries by key, in the order of the file."""
    text = reported_file("references.bib").read_text(encoding="utf-8")
    return {match["key"]: match[0] for match in ENTRY.finditer(text)}


def entry(key: str) -> str:
    """One BibTeX entry; raises UsageError for an unknown key."""
    if key not in bibliography():
        raise unknown("BibTeX key", key, bibliography())
    return bibliography()[key]


def software(suites: tuple[str, ...] = ()) -> str:
    """BibTeX entry of this software, naming the suites (``name@version``) that were used."""
    used = f", suites {', '.join(suites)}" if len(suites) > 1 else "".join(f", suite {s}" for s in suites)
    return (
        "@misc{distillbench,\n"
        "  title = {{distillbench: fixed-budget evaluation of few-step distillation of diffusion models}},\n"
        "  author = {{The distillbench authors}},\n"
        f"  note = {{Software, version {__version__}{used}}}\n"
        "}"
    )
