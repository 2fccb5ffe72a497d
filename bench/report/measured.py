"""What ``bench measure`` prints: the numbers with everything that they rest on."""

from __future__ import annotations

import json
from typing import Any

from bench.measuring import Measured
from bench.record import PluginMetric
from bench.report.brought import SHORT
from bench.report.describe import block
from bench.report.text import printable
from bench.store import digest


def measured_text(measured: Measured) -> str:
    """For a terminal."""
    protocol = measured.protocol
    size = protocol.sampling.samples if protocol.sampling else 0
    state = "provisional" if protocol.provisional() else "final"
    count = len(measured.samples_sha256)
    lines = [(key, value_line(measured, key)) for key in measured.values]
    files = [
        (f"samples {i}" if count > 1 else "samples", one) for i, one in enumerate(measured.samples_sha256)
    ]
    files += [("reference", measured.reference_sha256 or "drawn afresh")]
    files += [("extractor", measured.extractor_sha256 or "none")]
    lines += [brought_line(name, one) for name, one in measured.plugin_metrics.items()]
    head = f"protocol {protocol.id} ({state}), N = {size}, {count} of {protocol.repeats.count} repeats"
    notes = [f"note: {note}" for note in measured.notes]
    return "\n".join([head, block(lines), "sha256", block(files), *notes])


def value_line(measured: Measured, key: str) -> str:
    """The protocol's aggregate; with several repeats also their spread and the mean's interval."""
    found, count = measured.summary(key), len(measured.values[key])
    text = f"{measured.headline(key):.6g}"
    if count == 1:
        return text
    assert found.std is not None and found.ci95 is not None
    low, high = found.ci95
    return (
        f"{text} ({measured.protocol.repeats.aggregate} of {count}; mean {found.mean:.6g}, "
        f"std {found.std:.2g}, 95 % [{low:.6g}, {high:.6g}])"
    )


def brought_line(name: str, one: PluginMetric) -> tuple[str, str]:
    """A metric of a plugin, and whose it is."""
    whose = f"plugin, version {one.version}, source {one.closure_sha256[:SHORT]}"
    if one.failure:
        return name, f"failed: {one.failure.kind}: {printable(one.failure.message)} ({whose})"
    (value,) = one.rows.values()
    spread = "" if value.std is None else f", std {value.std:.2g}"
    return name, f"{value.mean:.6g} (mean of {len(value.values)}{spread}; {whose})"


def measured_json(measured: Measured) -> str:
    """For programs."""
    protocol = measured.protocol
    content: dict[str, Any] = {
        "protocol": protocol.id,
        "protocol_sha256": digest(protocol.fields()),
        "provisional": protocol.provisional() or None,
        "n_samples": protocol.sampling.samples if protocol.sampling else None,
        "repeats": len(measured.samples_sha256),
        "repeats_of_protocol": protocol.repeats.count,
        "aggregate": protocol.repeats.aggregate,
        "metrics": {key: metric_json(measured, key) for key in measured.values},
        "plugin_metrics": {
            name: one.model_dump(mode="json") for name, one in measured.plugin_metrics.items()
        },
        "samples_sha256": list(measured.samples_sha256),
        "reference_sha256": measured.reference_sha256,
        "extractor_sha256": measured.extractor_sha256,
        "notes": list(measured.notes),
    }
    return json.dumps(content, indent=1, allow_nan=False)


def metric_json(measured: Measured, key: str) -> dict[str, Any]:
    """One metric: the headline, and what the repeats say."""
    found = measured.summary(key)
    return {
        "value": measured.headline(key),
        "mean": found.mean,
        "min": min(found.values),
        "std": found.std,
        "ci95": found.ci95,
        "values": list(found.values),
    }
