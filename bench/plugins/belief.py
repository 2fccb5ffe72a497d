"""Whether a record that a child process wrote is believed: schema, identity, arithmetic, files, scores.

The child ran code of others beside the code that counts, so its record is a claim. What this process knows
itself (identity, provenance) is taken from here, whatever the claim says; what is cheap is counted again.
"""

from __future__ import annotations

import math
from pathlib import Path

from safetensors.numpy import load_file

from bench.api import last_snapshot
from bench.cell import Cell
from bench.errors import BenchError
from bench.record import Failure, Record, Row, read_record
from bench.stages import CellStages, metric_value
from bench.store import file_digest, read_json
from bench.verify.statement import sum_problems

CLAIM_BYTES = 20_000_000
FROM_CHILD = ("ok", "truncated", "failed", "diverged", "timeout")
CHECKED_SAMPLES = 10_000  # blocks up to this size are scored again here
CLOSE = 1e-6  # relative, of scores computed again
OWN = ("cell", "suite", "suite_version", "protocol", "method", "label", "kind", "config", "budget", "seed")


class Disbelief(BenchError):
    """A record contradicts what is known, or itself."""


def believed(claim: Path, stages: CellStages) -> Record:
    """The record of a cell, made from a claim.

    Raises:
        Disbelief: the first thing in it that is not so.
    """
    if claim.stat().st_size > CLAIM_BYTES:
        raise Disbelief(f"the record has {claim.stat().st_size} bytes, expected at most {CLAIM_BYTES}")
    try:
        record = read_record(claim)
    except (BenchError, RecursionError) as error:
        raise Disbelief(str(error).replace(str(claim), "record")) from error
    mine = stages.bare_record("ok")
    for key in OWN:
        if getattr(record, key) != getattr(mine, key):
            raise Disbelief(f"key {key!r}: found {getattr(record, key)!r}, expected {getattr(mine, key)!r}")
    if record.status not in FROM_CHILD:
        raise Disbelief(f"key 'status': found {record.status!r}, expected one of {', '.join(FROM_CHILD)}")
    if (record.failure is None) != (record.status in ("ok", "truncated")):
        raise Disbelief(f"status {record.status!r} does not go with failure {record.failure!r}")
    if record.failure is not None:
        return mine.model_copy(update={"status": record.status, "failure": shortened(record.failure)})
    rows = [summarised(row, stages.cell) for row in record.rows]
    if not rows or len({row.steps for row in rows}) != len(rows):
        raise Disbelief(
            f"key 'rows': found step counts {[row.steps for row in rows]}, expected one row for each"
        )
    kept = {"status": record.status, "rows": rows, "curve": record.curve, "cost": record.cost}
    whole = mine.model_copy(update=kept)
    for problem in sum_problems(whole, stages.cell.suite):
        raise Disbelief(str(problem))
    for row in rows:
        check_files(row, stages)
        check_scores(row, stages)
    return whole


def shortened(failure: Failure) -> Failure:
    """A failure whose texts cannot grow without bounds."""
    return Failure(
        stage=failure.stage[:40], kind=failure.kind[:80], message=failure.message[:2000],
        traceback=failure.traceback[-4000:],
    )  # fmt: skip


def summarised(row: Row, cell: Cell) -> Row:
    """A row of a step count that was asked for; mean and interval are computed again from the repeats."""
    where, repeats = f"rows with {row.steps} steps", cell.suite.protocol.repeats
    if row.steps not in cell.steps:
        raise Disbelief(f"{where}: expected step counts {', '.join(map(str, cell.steps))}")
    for key, value in row.metrics.items():
        if len(value.values) != repeats or not all(map(math.isfinite, value.values)):
            raise Disbelief(f"{where}: {key} has values {value.values}, expected {repeats} finite ones")
    titled = [column.key for column in cell.suite.metrics if column.key in row.metrics]
    ordered = dict.fromkeys([*titled, *row.metrics])  # a record on disk has its keys sorted
    return row.model_copy(update={"metrics": {k: metric_value(row.metrics[k].values) for k in ordered}})


def stored(stages: CellStages, kind: str) -> Path:
    """Folder of a stage that the child noted, which must lie in the store."""
    root = stages.store.root.resolve()
    place = read_json(stages.folder / "stages.json").get(kind)
    folder = (root / str(place)).resolve()
    if place is None or not folder.is_relative_to(root / "stages") or not folder.is_dir():
        raise Disbelief(f"stages.json: {kind}: found {place!r}, expected a folder of the store")
    return folder


def check_files(row: Row, stages: CellStages) -> None:
    """The student and the samples that the row names are those in the store."""
    where = f"rows with {row.steps} steps"
    samples = stored(stages, f"samples-{row.steps}") / "samples.safetensors"
    files = {"samples_sha256": samples}
    if stages.cell.kind == "student":
        stored(stages, "distil")
        files["student_sha256"] = last_snapshot(stages.folder)
    for key, path in files.items():
        found = file_digest(path) if path.is_file() else "no file"
        if getattr(row, key) != found:
            raise Disbelief(f"{where}: {key} {getattr(row, key)}, but {path.name} has {found}")


def check_scores(row: Row, stages: CellStages) -> None:
    """The first repeat has these scores, computed here from the stored samples (small blocks only)."""
    where, protocol = f"rows with {row.steps} steps", stages.cell.suite.protocol
    if protocol.samples > CHECKED_SAMPLES:
        return
    block = load_file(stored(stages, f"samples-{row.steps}") / "samples.safetensors")["samples"]
    if len(block) != protocol.samples:
        raise Disbelief(f"{where}: {len(block)} samples, expected {protocol.samples}")
    scores = stages.lab.evaluator.score(block, stages.bare_record("ok").provenance.seeds["sample"])
    for key in scores.keys() | row.metrics.keys():
        found = row.metrics[key].values[0] if key in row.metrics else None
        if (
            found is None
            or key not in scores
            or not math.isclose(found, scores[key], rel_tol=CLOSE, abs_tol=1e-9)
        ):
            raise Disbelief(f"{where}: {key} {found}, but these samples score {scores.get(key)}")
