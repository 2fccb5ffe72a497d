"""The methods that ship, by name, without importing them."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import unknown


@dataclass(frozen=True)
class Method:
    """A shipped method.

    Attributes:
        target: ``module:Class``.
        paper: BibTeX key in ``leaderboards/reported/references.bib``.
        summary: one line for tables, equal to the class's.
        aliases: other names, as papers write them; matched without case, ``-`` and space read as ``_``.
        wraps: names of the methods it can wrap, if it is a wrapper; its class then has ``bind(base)``.
    """

    name: str
    target: str
    paper: str
    summary: str
    aliases: tuple[str, ...] = ()
    wraps: tuple[str, ...] = ()


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
    Method(
        "dmd",
        "baselines.dmd:DMD",
        "yin2024dmd",
        "distribution matching with regression on teacher-sampled pairs: one step",
        ("distribution_matching_distillation",),
    ),
    Method(
        "dmd2",
        "baselines.dmd2:DMD2",
        "yin2024dmd2",
        "distribution matching with frequent critic updates and a diffusion GAN",
    ),
    Method(
        "lcm",
        "baselines.lcm:LCM",
        "luo2023lcm",
        "consistency distillation with skipped steps: one training serves 1, 2, 4 and 8",
        ("latent_consistency", "consistency_distillation", "cd"),
    ),
    Method(
        "moment_matching",
        "baselines.moment_matching:MomentMatching",
        "salimans2024mm",
        "moment matching: E[x|z] as in the data; trained anew for each step count",
        ("mm",),
    ),
    Method(
        "ddil",
        "baselines.ddil:DDIL",
        "garrepalli2024ddil",
        "DDIL-style imitation learning over progressive, lcm or dmd2",
        wraps=("progressive", "lcm", "dmd2"),
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
