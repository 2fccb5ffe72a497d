"""A method explained in a page of plain text: what it is, holds, costs, and how it is set."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from bench.catalog import METHODS
from bench.errors import UsageError
from bench.presets import NamedPreset, named_presets
from bench.references import entry
from bench.report.describe import block, numbers, value_text
from bench.report.text import compact
from bench.suite import Suite
from bench.suite_presets import Preset

if TYPE_CHECKING:
    from baselines.distiller import Distiller
    from bench.anatomy import Anatomy

NEEDS = {
    "data": "real samples",
    "labels": "class labels",
    "pairs": "(noise, sample) pairs of the teacher, paid for in the budget",
    "features": "encoder features of the teacher's network",
}


def method_text(cls: type[Distiller], suites: Sequence[Suite], found: Sequence[Anatomy] = ()) -> str:
    """A method: needs, step counts, networks, work, options, presets, differences, paper.

    Args:
        found: what was counted, once for each method that a wrapper can wrap; empty for plugins.
    """
    known = METHODS.get(cls.name)
    single = not (known and known.wraps)
    facts = [
        ("also called", ", ".join(known.aliases) if known else ""),
        ("wraps", ", ".join(known.wraps) if known else ""),
    ]
    facts += [*class_facts(cls), *(fact for one in found for fact in counted_facts(one))] if single else []
    options = [
        (f"{name}={value_text(field.default)}", f"{field.description or ''} ({constraint(field)})")
        for name, field in cls.Config.model_fields.items()
    ]
    parts = [f"method {cls.name}: {cls.summary}", block([fact for fact in facts if fact[1]])]
    if not single:
        for one in found:
            parts += [one.label, block([*class_facts(one.cls), *counted_facts(one)])]
    parts += ["Options" if single else "Options, beside those of the method it wraps", block(options)]
    if presets := suite_presets(cls.name, suites):
        parts += ["Presets of suites", block(presets)]
    if known:
        parts += [named_text(cls.name, cls.Config, known.wraps), differences_text(cls.name)]
    return "\n".join([*(part for part in parts if part), "Paper", paper_text(cls.paper)])


def class_facts(cls: type[Distiller]) -> list[tuple[str, str]]:
    """What a class says of itself: needs and step counts."""
    needs = [text for key, text in NEEDS.items() if getattr(cls.needs, key)]
    steps = cls.Config.model_fields.get("steps")
    trainings = "from one training with the defaults"
    counts = cls.served_nfe(cls.Config())
    if steps and get_origin(steps.annotation) is Literal:
        counts, trainings = get_args(steps.annotation), "each from a training of its own"
    return [
        ("needs", ", ".join(needs) or "nothing but the teacher (data-free)"),
        ("step counts", f"{numbers(counts)}, {trainings}"),
    ]


def counted_facts(found: Anatomy) -> list[tuple[str, str]]:
    """What was counted: networks in memory, work and network evaluations by iteration."""
    frozen = {role: " (frozen)" if role in found.frozen else "" for role in found.networks}
    networks = [f"{role}{frozen[role]} {compact(size)}" for role, size in found.networks.items()]
    work = by_iteration([f"{units:.4g}" for units in found.work])
    calls = by_iteration(
        [f"{calls_text(f)} forwards; {calls_text(b) or 'no'} backwards" for f, b in evaluations(found)]
    )
    several = (
        "" if len(work) == len(calls) == 1 else " (iterations from 0; default options, one batch of pairs)"
    )
    return [
        ("networks", f"{', '.join(networks)} weights on gmm2d"),
        ("work", f"{'; '.join(work)} units per sample and iteration{several}"),
        ("evaluations", f"{'; '.join(calls)}, per sample and iteration"),
    ]


def evaluations(found: Anatomy) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Forwards and backwards of each iteration."""
    return list(zip(found.forwards, found.backwards, strict=True))


def calls_text(calls: dict[str, float]) -> str:
    """Calls by role: ``fake 2, student 2, teacher 1``."""
    return ", ".join(f"{role} {count:g}" for role, count in sorted(calls.items()))


def by_iteration(texts: Sequence[str]) -> list[str]:
    """Each different text with the iterations that it is true of; without them if it is true of all."""
    iterations: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        iterations.setdefault(text, []).append(number)
    if len(iterations) == 1:
        return list(iterations)
    return [f"{text} at {numbers(these)}" for text, these in iterations.items()]


def suite_presets(name: str, suites: Sequence[Suite]) -> list[tuple[str, str]]:
    """A method's preset on each suite, with the tuning behind it; a wrapper's stands on the wrapped one's."""
    lines = []
    for suite in suites:
        if name in suite.methods:
            preset = suite.methods[name]
            own = {"batch": preset.batch, "ema_half_life": preset.ema_half_life, **scales_of(preset)}
            own |= preset.options
            lines.append((suite.id, f"{settings_text(own)}; tuning: {preset.tuning}"))
        if name in suite.wrappers:
            over = suite.wrappers[name]
            lines.append((suite.id, f"{settings_text(over.options)}; tuning: {over.tuning}"))
            lines += [
                ("", f"over {base}; tuning: {suite.methods[base].tuning}")
                for base in METHODS[name].wraps
                if base in suite.methods
            ]
    return lines


def scales_of(preset: Preset) -> dict[str, Any]:
    """Guidance scales as settings, where students take one as an input: ``learned = 2 to 8, asked = 6``."""
    if preset.learned is None:
        return {}
    low, high = preset.learned
    return {
        "learned": f"{low:g} to {high:g}",
        "asked": "the suite's" if preset.asked is None else preset.asked,
    }


def named_text(name: str, config: Any, bases: Sequence[str]) -> str:
    """The named presets of a method, or where a wrapper takes them from."""
    if bases:
        names = ", ".join(f"'bench info {base}'" for base in bases)
        return (
            f"Presets of papers: those of the method it wraps, as {name}[base=NAME,preset=NAME]; see {names}"
        )
    parts = [f"Presets of papers, as {name}[preset=NAME]"]
    for key, preset in named_presets(name, config).items():
        facts = [("set", named_settings(preset)), ("source", f"{preset.source} [{preset.paper}]")]
        parts += [key, block([*facts, *(("note", note) for note in preset.notes)])]
    return "\n".join(parts) if parts[1:] else ""


def named_settings(preset: NamedPreset) -> str:
    """The settings of a named preset, unverified ones marked."""
    return settings_text(preset.settings(), preset.unverified)


def settings_text(values: dict[str, Any], unverified: Sequence[str] = ()) -> str:
    """``lr = 1e-05 (unverified), clip = 1.0``."""
    marks = dict.fromkeys(unverified, " (unverified)")
    return ", ".join(f"{key} = {setting(value)}{marks.get(key, '')}" for key, value in values.items())


def setting(value: Any) -> str:
    """A setting: whole numbers of any size without a fraction or an exponent."""
    return (
        str(int(value))
        if isinstance(value, float) and value.is_integer() and value > 99
        else value_text(value)
    )


def differences_text(name: str) -> str:
    """What the paper's own code does differently: the list beside the presets, without its marks."""
    file = resources.files("bench") / "presets" / f"{name}.md"
    title, _, body = file.read_text(encoding="utf-8").partition("\n\n")
    heading = title.partition(": ")[2]
    plain = re.sub(r"\*\*|`", "", re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", body)).replace("[@", "[")
    items = re.split(r"\n(?=- )|\n\n", plain.strip())
    return "\n".join([heading[:1].upper() + heading[1:], *(f"  {' '.join(item.split())}" for item in items)])


def paper_text(key: str) -> str:
    """BibTeX of a paper, or the bare key of a paper that the bibliography does not hold."""
    try:
        return entry(key)
    except UsageError:
        return key


def constraint(field: Any) -> str:
    """Type and range of an option: ``float, > 0``."""
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    limits = [f"{s} {getattr(m, key)}" for m in field.metadata for key, s in signs.items() if hasattr(m, key)]
    return ", ".join([type_text(field.annotation), *limits])


def type_text(kind: Any) -> str:
    """A type in words: ``float``, ``1|2|4``, ``list of int``."""
    inner = [part for part in get_args(kind) if part is not Ellipsis]
    if get_origin(kind) is Literal:
        return "|".join(map(str, inner))
    if get_origin(kind) is tuple:
        return "list of " + ", ".join(dict.fromkeys(map(type_text, inner)))
    if inner:
        return " or ".join(map(type_text, inner))
    return "none" if kind is type(None) else getattr(kind, "__name__", str(kind))
