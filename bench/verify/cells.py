"""From a record back to the cell that it says it is of."""

from __future__ import annotations

from dataclasses import replace

from bench.cell import Cell, published_cell, reference_cells, student_cells
from bench.errors import BenchError
from bench.methods import MethodRegistry
from bench.record import Record
from bench.selector import WEIGHTS, parse_selector
from bench.store import digest
from bench.suite import Suite


def cell_of(record: Record, suite: Suite, registry: MethodRegistry) -> Cell:
    """The cell of a record: options, batch and average as the record states them, code as it is here.

    Raises:
        BenchError: the suite has no such cell. ValidationError: options that the method does not take.
    """
    if record.protocol != suite.protocol.id:
        suite = suite.under(record.protocol)
    steps = tuple(row.steps for row in record.rows)
    if record.kind not in ("student", "published"):
        known = [cell for cell in reference_cells(suite, record.budget) if cell.label == record.label]
        fitting = [cell for cell in known if cell.steps == steps]
        if not fitting:
            raise BenchError(f"no {record.kind} of that name and those step counts")
        return fitting[0]
    selector = parse_selector(record.label)
    if WEIGHTS in dict(selector.options):
        return published_cell(suite, registry, selector, record.budget, steps)
    cells, _ = student_cells(suite, registry, (record.label,), record.budget, steps, 1)
    cell, method = cells[0], cells[0].method
    assert method is not None and cell.preset is not None
    preset, config = cell.preset.restated(record.preset), method.cls.Config.model_validate(record.config)
    taught = suite.teaching(preset)
    return replace(cell, suite=taught, steps=steps, seed=record.seed, config=config, preset=preset)


def stated_id(cell: Cell, record: Record) -> str:
    """Id of a record's cell by the code and the options that the record states, whatever the code is here.

    Options that the method was given since stand at their defaults, and were no part of the cell.
    """
    stated = record.provenance.method_closure_sha256
    if cell.method is not None and stated is not None:
        cell = replace(cell, method=replace(cell.method, closure_sha256=stated))
    spec = cell.spec()
    if spec["config"] is not None:
        spec["config"] = {key: value for key, value in spec["config"].items() if key in record.config}
    return digest(spec)[:16]
