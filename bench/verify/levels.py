"""How far a record holds: the levels in turn, and the ledger in which a verified one is noted."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.api import last_snapshot
from bench.atomic import write_atomic
from bench.errors import UsageError
from bench.methods import MethodRegistry
from bench.plugins.loading import Plugins, load_plugins
from bench.record import Record
from bench.report.levels import LEDGER, LEVELS, read_levels
from bench.report.rowid import record_digest
from bench.suite import load_suite
from bench.verify.capsule import Capsule, manifest_fits, read_statement
from bench.verify.statement import problems_of


@dataclass(frozen=True)
class Verdict:
    """What came out for one record.

    Attributes:
        level: the highest that was reached, None if not even the first; problems: why no higher one was.
    """

    path: Path
    record: Record
    level: str | None
    problems: tuple[str, ...]


def verify(path: Path, level: str, plugins: tuple[Path, ...] = (), device: str = "cpu") -> Verdict:
    """Take a record, a cell's folder or a submission through the levels up to one.

    Raises:
        UsageError: nothing of the kind at ``path``, or no weights beside a record that is to be scored again.
        BenchError: a damaged submission.
    """
    record, capsule = read_statement(path)
    brought, wanted = load_plugins(plugins), LEVELS.index(level)
    registry = MethodRegistry(brought)
    suite = load_suite(record.suite)
    problems = [str(problem) for problem in problems_of(record, suite, registry)]
    problems += manifest_fits(capsule) if capsule else []
    if problems or wanted == 0:
        return Verdict(path, record, None if problems else LEVELS[0], tuple(problems))
    if record.kind != "student" or record.status != "ok":
        raise UsageError(
            f"{path}: a {record.kind} with status {record.status!r}; only students go beyond {LEVELS[0]}"
        )
    return higher(path, record, capsule, wanted, brought, device)


def higher(
    path: Path, record: Record, capsule: Capsule | None, wanted: int, plugins: Plugins, device: str
) -> Verdict:
    """The second level, and the third if it is wanted."""
    import torch

    from bench.lab import Lab
    from bench.plugins.metrics import MetricRegistry
    from bench.verify.again import ScoredAgain, train_again
    from bench.verify.cells import cell_of
    from bench.verify.plugin_metrics import MeasuredAgain

    torch.set_num_threads(record.provenance.threads)
    suite = load_suite(record.suite)
    cell = cell_of(record, suite, MethodRegistry(plugins))
    lab = Lab.open(cell.suite, device)
    with tempfile.TemporaryDirectory() as folder:
        weights = capsule.unpack_weights(Path(folder)) if capsule else weights_beside(path)
        samples = capsule.samples if capsule else {}
        brought = MeasuredAgain(record, lab, MetricRegistry(plugins), Path(folder))
        problems = list(ScoredAgain(record, cell, lab, weights, samples, brought).problems())
    if problems or wanted == 1:
        return Verdict(path, record, LEVELS[0 if problems else 1], tuple(problems))
    problems = list(train_again(record, cell, lab))
    return Verdict(path, record, LEVELS[1 if problems else 2], tuple(problems))


def weights_beside(path: Path) -> Path:
    """The student of a cell's folder; raises UsageError for a record without weights."""
    folder = path if path.is_dir() else path.parent
    if not (folder / "stages.json").is_file():
        raise UsageError(
            f"{path}: a record without weights cannot be scored again; give its submission ('bench submit') "
            "or the folder of its cell"
        )
    return last_snapshot(folder)


def note_level(root: Path, verdict: Verdict) -> None:
    """Write the level of a record into the ledger beside the records, by the digest of all that it says."""
    levels = read_levels(root)
    assert verdict.level is not None
    levels[record_digest(verdict.record)] = verdict.level
    write_atomic(root / LEDGER, json.dumps(levels, indent=1, sort_keys=True) + "\n")
