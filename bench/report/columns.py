"""What the columns of a table show, as text, and the notes under it: shared by terminal and Markdown."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from bench.report.brought import brought_notes
from bench.report.reported import BESIDE, cell_text, value_text
from bench.report.statistics import Estimate
from bench.report.table import Line, Table
from bench.report.text import compact, printable
from bench.reported import Reported
from bench.suite import MetricColumn
from bench.suite_protocol import SMOKE

ARROWS = {"lower": " ↓", "higher": " ↑", "none": ""}
VERDICTS = {"better": "▲", "level": "≈", "worse": "▼"}
DAGGER = "†"


Shown = TypeVar("Shown", Line, Reported)


@dataclass(frozen=True)
class Column(Generic[Shown]):
    """A column.

    Attributes:
        spare: what a narrow terminal hides first (the highest number); 0 is never hidden.
    """

    title: str
    cell: Callable[[Shown], str]
    right: bool = True
    spare: int = 0


def columns(table: Table, lines: Sequence[Line]) -> list[Column[Line]]:
    """The columns that have something to show for these lines."""
    primary = next((column for column in table.columns if column.key == table.primary), None)
    digits = primary.digits if primary else 3
    others = [column for column in table.columns if column.key != table.primary]
    found = [
        Column("#", _rank),
        Column("method", lambda line: printable(line.label), right=False),
        Column("NFE", lambda line: _count(line.nfe)),
        Column("steps", lambda line: _count(line.steps) if line.steps != line.nfe else "", spare=19),
        Column("by role", _roles, right=False, spare=18),
        *([_metric(primary, 0)] if primary else []),
        Column("excess", lambda line: "" if line.excess is None else f"{line.excess:.{digits}f}"),
        Column("vs solver", _against, right=False, spare=1),
        *(_metric(column, 3 + k) for k, column in enumerate(others)),
        Column("work", lambda line: "" if line.work is None else compact(line.work), spare=2),
        Column("latency", lambda line: "" if line.latency is None else f"{line.latency:.2f}x", spare=20),
        Column("memory", lambda line: "" if line.memory is None else f"{line.memory:.3g} MiB", spare=21),
        Column(
            "samples/s", lambda line: "" if line.throughput is None else compact(line.throughput), spare=21
        ),
        Column("seeds", _seeds),
        Column("sd by source", lambda line: _spread(line, digits), right=False, spare=24),
        Column("uses", lambda line: "+".join(line.needs), right=False, spare=22),
        Column("teacher", lambda line: line.teacher if line.kind == "student" else "", right=False, spare=23),
        Column("status", lambda line: "" if line.status == "ok" else line.status, right=False),
        Column("superseded by", lambda line: line.superseded, right=False),
        Column("reported", lambda line: cell_text(line.reported), right=False, spare=25),
    ]
    return [column for column in found if any(column.cell(line) for line in lines)]


def reported_columns(numbers: Sequence[Reported]) -> list[Column[Reported]]:
    """The columns of the papers' numbers: value, whose it is, where it stands, what it was had with."""
    found: list[Column[Reported]] = [
        Column("method", lambda one: printable(one.method), right=False),
        Column("NFE", lambda one: _count(one.nfe)),
        Column(f"reported {numbers[0].metric}" if numbers else "reported", value_text),
        Column("variant", lambda one: printable(one.variant), right=False, spare=2),
        Column("teacher", lambda one: printable(one.teacher), right=False, spare=3),
        Column("training", lambda one: printable(one.budget), right=False, spare=4),
        Column("paper", lambda one: one.paper, right=False),
        Column("where", lambda one: printable(one.table), right=False, spare=1),
        Column("second-hand", lambda one: "second-hand" if one.second_hand else "", right=False),
    ]
    return [column for column in found if any(map(column.cell, numbers))]


def _metric(column: MetricColumn, spare: int) -> Column[Line]:
    def cell(line: Line) -> str:
        value = line.metrics.get(column.key)
        return "" if value is None else number(value, column.digits, mark=line.kind == "student")

    return Column(printable(column.title) + ARROWS[column.better], cell, spare=spare)


def number(value: Estimate, digits: int, *, mark: bool) -> str:
    """``mean ± half of the 95 % interval``, with a dagger where only the sampling seed was varied."""
    text = f"{value.mean:.{digits}f}"
    if value.half is not None:
        text += f" ± {value.half:.{digits}f}"
    return text + DAGGER if mark and value.over != "seeds" else text


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def _rank(line: Line) -> str:
    return "" if line.rank is None else f"{line.rank} {line.ties}".rstrip()


def _roles(line: Line) -> str:
    return " + ".join(f"{calls:.4g} {printable(role)}" for role, calls in line.roles if len(line.roles) > 1)


def _spread(line: Line, digits: int) -> str:
    parts = line.spread.parts if line.spread else {}
    return ", ".join(f"{name} {value:.{digits}f}" for name, value in parts.items())


def _seeds(line: Line) -> str:
    return f"{line.seeds}/{line.started}" if line.kind == "student" else ""


def _against(line: Line) -> str:
    if line.against is None:
        return ""
    return f"{VERDICTS[line.against.verdict]} {printable(line.against.solver)}@{line.against.nfe}"


def scope(table: Table) -> str:
    """Suite and version of a table, and what has taken their place if something has."""
    name = f"{table.suite}@{table.version}"
    return f"{name}, SUPERSEDED by {table.superseded}" if table.superseded else name


def heading(table: Table) -> str:
    """What a table is about, on one line."""
    provisional = " (provisional)" if table.provisional else ""
    smoke = ". SMOKE RUN, NOT A RESULT" if table.protocol.endswith(SMOKE) else ""
    return printable(
        f"{scope(table)}: {table.title}. Budget {table.budget}, protocol {table.protocol}{provisional}{smoke}"
    )


OLDER = "superseded: rows of different versions of a suite do not compare; ranks are among these rows."
ONE_SEED = "one training seed: how much another training would differ is not known."


def _sharing(lines: Sequence[Line]) -> str:
    ranges = any(line.ties[:1].isdigit() for line in lines)
    return "that share a letter, or whose ranges meet," if ranges else "that share a letter"


def _over(overs: Collection[str]) -> str:
    mixed = ", or over sampling repeats where there is one seed" if len(overs) > 1 else ""
    return ("training seeds" if "seeds" in overs else "sampling repeats") + mixed


def notes(table: Table) -> list[str]:
    """How to read a table: only what applies to it."""
    lines = [line for section in table.sections for line in section.lines]
    students = [line for line in lines if line.kind == "student"]
    primary = next((column for column in table.columns if column.key == table.primary), None)
    title, digits = (primary.title, primary.digits) if primary else (table.primary, 3)
    overs = {value.over for line in students for value in line.metrics.values()}
    said = [
        (bool(overs), f"± is half of the 95 % interval of the mean over {_over(overs)}."),
        (overs - {"seeds"}, f"{DAGGER} {ONE_SEED}"),
        (any(line.rank for line in lines), f"# is 1 + the number of rows clearly better in {title}."),
        (
            any(line.ties for line in lines),
            f"Rows {_sharing(lines)} are not separable: their intervals overlap.",
        ),
        (any(line.rank is None for line in students), "Rows without # are not ranked."),
        (
            table.floor is not None,
            f"excess is {title} beyond that of real data, {table.floor or 0:.{digits}f}.",
        ),
        (
            any(line.against for line in lines),
            "vs solver: the best plain solver of the teacher with no more evaluations; "
            "▲ clearly better than it, ≈ not separable, ▼ clearly worse.",
        ),
        (students, "work counts forwards of the suite's reference network on one sample."),
        *_measured_notes(lines, title),
        (students, "seeds: trainings in the row / trainings started."),
        (any(line.reported for line in lines), BESIDE),
        (table.superseded, OLDER),
        (table.provisional, "provisional: the protocol does not pin its feature network yet."),
    ]
    shown = [note for applies, note in said if applies]
    shown += sorted({_scales_note(line) for line in students if "learned" in dict(line.scales)})
    failures = [f"{line.label}: {line.status}: {line.note}" for line in students if line.note]
    shown += brought_notes(table.brought)
    return [printable(note) for note in (*shown, f"Made on {'; '.join(table.devices)}.", *failures)]


def _scales_note(line: Line) -> str:
    """What guidance a method's students learned, and at which scale they are shown."""
    found = dict(line.scales)
    low, high = found["learned"]
    shown = f"scale {found['asked']:g}" if "asked" in found else "the suite's scale"
    return f"{line.label}: guidance is an input, learned from scale {low:g} to {high:g}, here at {shown}."


def _measured_notes(lines: Sequence[Line], title: str) -> list[tuple[object, str]]:
    """Notes on columns that only some records fill, each with whether it applies."""
    return [
        (
            any(line.latency is not None for line in lines),
            "latency is the time of one sample over that of one forward of the teacher's network.",
        ),
        (
            any(line.latency is None and line.teacher == "exact" and line.nfe for line in lines),
            "no latency: none was taken, or over the closed form of the teacher, as older records have it.",
        ),
        (
            any(line.memory is not None for line in lines),
            "memory: weights of the networks called, and what one call of one sample allocates at its peak.",
        ),
        (any(line.throughput is not None for line in lines), "samples/s: in the largest batch that fits."),
        (
            any(line.spread for line in lines),
            f"sd by source: standard deviation of a value of {title} by training seed, by block of samples, "
            "and beyond both.",
        ),
    ]
