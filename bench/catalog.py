"""The methods that ship, by name, without importing them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import unknown


@dataclass(frozen=True)
class Method:
    """A shipped method.

    Attributes:
        target: ``module:Class``.
        paper: BibTeX key in ``bench/data/references.bib``.
        summary: one line for tables, equal to the class's.
        aliases: other names, as papers write them; matched without case, ``-`` and space read as ``_``.
    """

    name: str
    target: str
    paper: str
    summary: str
    aliases: tuple[str, ...] = ()


SHIPPED = (
    Method(
        "sid",
        "baselines.sid:SiD",
        "zhou2024sid",
        "score identity distillation: one step, data-free",
        ("score_identity_distillation",),
    ),
    Method(
        "progressive",
        "baselines.progressive:ProgressiveDistillation",
        "salimans2022pd",
        "progressive distillation: one training serves 1, 2, 4 and 8 steps",
        ("pd", "progressive_distillation"),
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in SHIPPED}


def aliases() -> dict[str, str]:
    """Every alias, to the name it stands for."""
    return {alias: method.name for method in SHIPPED for alias in method.aliases}


def canonical_name(name: str) -> str:
    """The name behind an alias; any other name (a plugin's, a misspelt one) comes back as it is."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    found = aliases().get(plain, plain)
    return found if found in METHODS else name


def find(name: str) -> Method:
    """The shipped method of a name or alias.

    Raises:
        UsageError: unknown name, with the nearest one.
    """
    known = canonical_name(name)
    if known not in METHODS:
        raise unknown("method", name, [*METHODS, *aliases()])
    return METHODS[known]
