"""``leaderboards/CLAIMS.md``: every claim on every embedded suite, from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.claims.catalog import CLAIMS, ClaimsFile, Words, load_claims
from bench.claims.parts import Claim, Finding
from bench.claims.prediction import section
from bench.claims.rows import Board
from bench.claims.verdicts import Verdict
from bench.report.collect import collect, record_files
from bench.report.markdown import escape
from bench.shift_report import read_shift
from bench.suite import load_suite, suite_names
from bench.suite_presets import Preset, WrapperPreset

HEAD = (
    "# What the papers claim, and what the embedded suites show\n\n"
    "Made by `bench claims --out leaderboards/CLAIMS.md` from `records/` and `shift/`; verdicts are "
    "computed, [how](../docs/claims.md).\n"
    "Budget {budget}. † only the sampling seed was varied: how much another training would differ is not "
    "known.\n"
)
COLUMNS = ("statement", "ours", "against", "difference [95 %]", "seeds", "repeats", "verdict")


def boards_of(records: Path, budget: str) -> list[Board]:
    """A board for each suite that ships and has records (none of this budget, perhaps).

    Raises:
        UsageError: no such folder, or a broken record or shift report.
    """
    files, boards = record_files(records), []
    for name in filter(files.__contains__, suite_names()):
        suite = load_suite(name)
        shift = read_shift(records.parent / "shift" / f"{name}.json")
        boards.append(Board.of(collect(files[name], suite), suite, budget, shift))
    return boards


def claims_text(records: Path, budget: str) -> str:
    """The whole document; the same records give the same text."""
    boards, words = boards_of(records, budget), load_claims()
    findings = {(claim.key, b.suite.name): claim.check(b, words.rules) for claim in CLAIMS for b in boards}
    parts = [HEAD.format(budget=budget), summary(boards, words, findings)]
    for claim in CLAIMS:
        parts.append(heading(words.claims[claim.key]))
        parts += [
            block(claim, board, words.claims[claim.key], findings[claim.key, board.suite.name])
            for board in boards
        ]
    return "\n".join([*parts, section([board for board in boards if board.records])])


def summary(boards: Sequence[Board], words: ClaimsFile, findings: dict[tuple[str, str], Finding]) -> str:
    """One line per claim: its verdict on each suite."""
    names = [board.suite.name for board in boards]
    rows = [["claim", *names], [":---"] * (len(names) + 1)]
    rows += [
        [escape(words.claims[claim.key].title), *(findings[claim.key, name].shown for name in names)]
        for claim in CLAIMS
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def heading(words: Words) -> str:
    """Title, statement and papers of a claim."""
    papers = ", ".join(f"[@{key}]" for key in words.papers)
    return f"## {escape(words.title)}\n\n> {escape(words.statement)} {papers}\n"


def block(claim: Claim, board: Board, words: Words, finding: Finding) -> str:
    """A claim on one suite: verdict, table, what bad implementations score, what was tried."""
    title = f"### {board.suite.name}: {finding.shown}\n"
    if not board.records:
        return f"{title}\nNo records at this budget.\n"
    measured = [line for line in finding.lines if line.verdict != Verdict.MISSING]
    parts = [title]
    if measured:
        rows = [COLUMNS, [":---", "---:", "---:", "---:", "---:", "---:", ":---"]]
        rows += [
            [escape(one.statement), one.ours, one.against, one.found, one.seeds, one.repeats, one.shown]
            for one in measured
        ]
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
    absent = [one for one in finding.lines if one.missing]
    notes = [f'Missing for "{one.statement}": {", ".join(one.missing)}.' for one in absent]
    notes += finding.facts
    if measured:
        notes.append(bad_scores(board, claim.methods))
    if finding.verdict == Verdict.FAILS:
        notes.append(f"What was tried: {tried(board, claim, words)}")
    return "\n".join([*parts, *(f"- {escape(note)}" for note in notes)]) + "\n"


def bad_scores(board: Board, methods: Sequence[str]) -> str:
    """What generators that learned nothing score here, beside real data."""
    column = board.suite.column(board.suite.primary)
    found = {f"untrained {method}": board.untrained(method) for method in methods}
    scores = {**board.anchors(), **{name: value for name, value in found.items() if value is not None}}
    shown = ", ".join(f"{name} {value:.{column.digits}f}" for name, value in scores.items())
    return f"{column.title} of bad implementations, beside real data: {shown}."


def tried(board: Board, claim: Claim, words: Words) -> str:
    """The note on this suite; without one, the tuning behind the suite's presets."""
    if board.suite.name in words.tried:
        return words.tried[board.suite.name]
    known: dict[str, Preset | WrapperPreset] = {**board.suite.methods, **board.suite.wrappers}
    presets = [(method, known.get(method)) for method in claim.methods]
    return "; ".join(f"{method}: {preset.tuning}" for method, preset in presets if preset) + "."
