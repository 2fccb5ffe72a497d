"""``bench compare A B``: what differs between two protocols or records, and by how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.errors import UsageError
from bench.record import read_record
from bench.report.compare import Chosen, other_protocol, protocols_text, records_text
from bench.report.protocols import find_protocol
from metrics.protocols.record import Protocol

Operand = Annotated[
    str, typer.Argument(help="record file or folder of a cell (PATH@STEPS: one row), or protocol")
]


def compare(a: Operand, b: Operand) -> None:
    """Compare two records, or name the fields in which two protocols differ.

    Rows of different protocols are refused with the fields that differ, and status 1. Rows of one protocol
    get their difference with its 95 % interval, paired where both met the same noise.
    """
    first, second = operand(a), operand(b)
    if isinstance(first, Protocol) and isinstance(second, Protocol):
        return typer.echo(protocols_text(first, second))
    if isinstance(first, Chosen) and isinstance(second, Chosen):
        if protocols := other_protocol(first.record, second.record):
            typer.echo(protocols_text(*protocols))  # the refusal that follows names the fields alone
        return typer.echo(records_text(first, second))
    raise UsageError(f"{a} and {b}: one is a protocol, the other a record; give two of a kind")


def operand(text: str) -> Protocol | Chosen:
    """A record (file, or folder of a cell), a row of one as PATH@STEPS, or a protocol by id or file.

    Raises:
        UsageError: nothing of the kind, or a broken file.
    """
    path, _, steps = text.rpartition("@")
    for name, chosen in ((text, None), (path, int(steps) if steps.isdigit() else None)):
        found = Path(name) / "record.json" if Path(name).is_dir() else Path(name)
        if name and found.suffix == ".json" and found.is_file():
            return Chosen(read_record(found), chosen)
    if Path(text).is_dir():
        raise UsageError(f"{text}: no record.json in this folder; name a record file or the folder of a cell")
    if ".json" in text:
        raise UsageError(f"{text}: no such record file")
    return find_protocol(text)
