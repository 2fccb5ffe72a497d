"""The record of an external row: samples that others made, shown in tables and never ranked."""

from __future__ import annotations

import platform
import re
import time
from pathlib import Path

import torch

from bench.catalog import METHODS, canonical_name
from bench.errors import UsageError
from bench.measuring import Measured, suite_of
from bench.provenance import code_state, cpu_name, packages
from bench.record import MetricValue, PluginMetric, Provenance, Record, Row, write_record
from bench.store import Store, digest
from bench.suite import Suite, load_suite

NAME = re.compile(r"^[A-Za-z0-9][\w .+-]{0,59}$")


def check_row(name: str, nfe: int | None) -> int:
    """The stated evaluations of a row.

    Raises:
        UsageError: a name that a file or a reader would take for something else, or no evaluations stated.
    """
    if not NAME.match(name):
        raise UsageError(f"--row {name!r}: expected letters, digits, spaces and . + - _, at most 60")
    if canonical_name(name) in METHODS:
        raise UsageError(f"--row {name!r} is a method of the bench, which is trained; choose another name")
    if nfe is None:
        raise UsageError("--row: state the evaluations per sample with --nfe; they cannot be counted here")
    return nfe


def row_suite(measured: Measured, suite: str | None) -> Suite:
    """The suite whose table shows the row.

    Raises:
        UsageError: no shipped suite is measured under the protocol, or the suite named is not.
    """
    asked = measured.protocol.id
    found = load_suite(suite) if suite is not None else suite_of(measured.protocol)
    if found is None:
        raise UsageError(
            f"--row: no suite that ships is measured under {asked}; name a suite file with --suite"
        )
    if found.protocol.id != asked:
        raise UsageError(f"--suite {suite}: it is measured under {found.protocol.id}, not {asked}")
    if found.primary not in measured.values:
        raise UsageError(f"--row: {found.id} ranks by {found.primary}, which was not measured")
    return found


def write_row(measured: Measured, name: str, nfe: int, suite: Suite, out: Path) -> Path:
    """Write the record of an external row into a runs folder; measuring again replaces it."""
    spec = {"external": name, "suite": suite.id, "protocol": measured.protocol.id, "nfe": nfe}
    cell = digest(spec)[:16]
    path = Store(out).cell_folder(suite.id, cell) / "record.json"
    write_record(external_record(measured, name, nfe, suite, cell), path)
    return path


def external_record(measured: Measured, name: str, nfe: int, suite: Suite, cell: str) -> Record:
    """A record that says what is known: scores and digests; and what is not: seeds, training, teacher."""
    metrics = {}
    for key in measured.values:
        found = measured.summary(key)
        metrics[key] = MetricValue(mean=found.mean, std=found.std, ci95=found.ci95, values=list(found.values))
    row = Row(
        nfe=nfe,
        nfe_by_role={"stated": float(nfe)},
        steps=nfe,
        work=0.0,
        metrics=metrics,
        samples_sha256=measured.samples_sha256[0],
    )
    return Record(
        cell=cell,
        suite=suite.name,
        suite_version=suite.version,
        protocol=measured.protocol.id,
        method=name,
        method_version="external",
        label=name,
        kind="external",
        paper=None,
        config={"stated_nfe": nfe},
        budget="none",
        seed=0,
        status="ok",
        rows=[row],
        provenance=here(measured),
        plugin_metrics={name: at_steps(nfe, one) for name, one in measured.plugin_metrics.items()},
        command=f"bench measure SAMPLES --protocol {measured.protocol.id} --row '{name}' --nfe {nfe}",
        notes=[f"{nfe} evaluations as stated by the submitter, not counted", *measured.notes],
    )


def at_steps(nfe: int, one: PluginMetric) -> PluginMetric:
    """What a plugin measured, under the step count of the row."""
    return one.model_copy(update={"rows": {nfe: one.rows[0]} if one.rows else {}})


def here(measured: Measured) -> Provenance:
    """Where the scores were computed; nothing is known of where the samples were."""
    sha, dirty, difference = code_state()
    return Provenance(
        code_sha=sha,
        dirty=dirty,
        diff_sha256=difference,
        method_closure_sha256=None,
        packages=packages(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=cpu_name(),
        threads=torch.get_num_threads(),
        seeds={},
        teacher_sha256=None,
        teacher_form="unknown",
        reference_sha256=measured.reference_sha256,
        extractor_sha256=measured.extractor_sha256,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
