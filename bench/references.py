"""The bibliography that ships: the papers and what they are measured by, entries by key."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from bench import __version__
from bench.errors import unknown
from bench.shipped import reported_file

if TYPE_CHECKING:
    from bench.suite import Suite

FILES = ("references.bib", "measures.bib")
FRAME = "karras2022edm"  # the denoiser convention, the noise grid and the plain solver of every suite
ENTRY = re.compile(r"^@\w+\{(?P<key>[^,\s]+),.*?^\}", re.MULTILINE | re.DOTALL)


@cache
def bibliography() -> dict[str, str]:
    """BibTeX entries by key, in the order of the files: methods first, then data sets and metrics."""
    text = "\n".join(reported_file(name).read_text(encoding="utf-8") for name in FILES)
    return {match["key"]: match[0] for match in ENTRY.finditer(text)}


def entry(key: str) -> str:
    """One BibTeX entry; raises UsageError for an unknown key."""
    if key not in bibliography():
        raise unknown("BibTeX key", key, bibliography())
    return bibliography()[key]


def keys_of(suite: Suite) -> tuple[str, ...]:
    """BibTeX keys of a suite's data set and metrics; what has none is defined by the suite itself."""
    text = (resources.files("bench") / "data" / "cites.toml").read_text(encoding="utf-8")
    known = tomllib.loads(text)
    names = known["data"].get(suite.name, [])
    for column in suite.metrics:
        names = [*names, *known["metrics"].get(column.key, [])]
    return tuple(dict.fromkeys(names))


def software(suites: tuple[str, ...] = (), rows: tuple[str, ...] = ()) -> str:
    """BibTeX entry of this software, naming the suites (``name@version``) and the rows that were used."""
    used = f", suites {', '.join(suites)}" if len(suites) > 1 else "".join(f", suite {s}" for s in suites)
    used += f", rows {', '.join(rows)}" if len(rows) > 1 else "".join(f", row {row}" for row in rows)
    return (
        "@misc{distillbench,\n"
        "  title = {{distillbench: fixed-budget evaluation of few-step distillation of diffusion models}},\n"
        "  author = {{The distillbench authors}},\n"
        f"  note = {{Software, version {__version__}{used}}}\n"
        "}"
    )
