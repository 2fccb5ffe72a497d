"""From finished runs to committed results: record files, first samples, the board."""

from __future__ import annotations

import shlex
from pathlib import Path

from bench.cli.options import portable
from bench.errors import BenchError, UsageError
from bench.record import Record, read_record, write_record
from bench.report.board import write_board
from bench.report.collect import collect, record_name
from bench.report.prompts import ROWS
from bench.report.run_pictures import stored_samples
from bench.report.samples import POINTS, keep_samples
from bench.store import read_json
from bench.suite import Suite
from bench.suite_protocol import SMOKE, CaptionProtocol


def publish_runs(suite: Suite, runs: Path, records: Path, budget: str | None = None) -> list[Path]:
    """Publish the finished records of a suite; returns the files that changed.

    Raises:
        BenchError: nothing finished there.
        UsageError: the record of a smoke run.
    """
    folders = [path.parent for path in sorted(runs.glob(f"{suite.id}/*/record.json"))]
    taken = {folder: with_preset(read_record(folder / "record.json"), folder) for folder in folders}
    taken = {folder: r for folder, r in taken.items() if budget is None or r.budget == budget}
    if not taken:
        raise BenchError(
            f"{runs}: no finished cell of {suite.id}" + (f" at budget {budget}" if budget else "")
        )
    latest: dict[Path, tuple[Record, Path]] = {}  # of a cell that was made twice, by another code say
    for folder, record in sorted(taken.items(), key=lambda one: one[1].provenance.created):
        if record.protocol.endswith(SMOKE):
            raise UsageError(f"{runs}: {record.label} is of a smoke run, which is no result")
        command = portable(shlex.split(record.command)[1:])
        path = records / suite.name / file_name(record, suite)
        latest[path] = record.model_copy(update={"command": command}), folder
    board, written = records.parent / suite.name, []
    for path, (record, folder) in latest.items():
        if not path.is_file() or read_record(path) != record:  # one that says the same keeps its bytes
            write_record(record, path)
            written.append(path)
        if (record.suite_version, record.protocol) == (suite.version, suite.protocol.id):
            most = ROWS if isinstance(suite.protocol, CaptionProtocol) else POINTS
            written += keep_rows(record, folder, board, most)
    committed = collect(sorted((records / suite.name).glob("*.json")), suite)
    return [*written, *write_board(committed, suite, board)]


def with_preset(record: Record, folder: Path) -> Record:
    """The record with batch and average from the specification beside it, where an older one lacks them."""
    if record.kind != "student" or record.preset is not None:
        return record
    return record.model_copy(update={"preset": read_json(folder / "spec.json")["cell"]["preset"]})


def file_name(record: Record, suite: Suite) -> str:
    """Name of a committed record; one under another protocol than the suite's says which."""
    other = "" if record.protocol == suite.protocol.id else f".{record.protocol}"
    return f"{record_name(record)}{other}.json"


def keep_rows(record: Record, folder: Path, board: Path, most: int) -> list[Path]:
    """Keep the first samples of a finished cell's rows, ``most`` of each; cleaned ones are left out."""
    found = ((row, stored_samples(folder, row.steps, most)) for row in record.rows)
    kept = [keep_samples(record, row, samples, board) for row, samples in found if samples is not None]
    return [path for path in kept if path is not None]
