"""``bench list``: what ships."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Annotated

import typer

from bench.assets.registry import Asset
from bench.assets.registry import assets as known_assets
from bench.assets.store import AssetStore
from bench.catalog import METHODS
from bench.errors import unknown
from bench.plugins.groups import METRICS, installed
from bench.report.text import compact
from bench.reported import Reported, reported_numbers
from bench.shipped import shipped_weights
from bench.suite import load_suite, suite_names
from metrics.protocols.record import Protocol
from metrics.protocols.registry import shipped_protocols

Lines = list[tuple[str, ...]]


def list_(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="suites, methods, metrics, protocols, assets or reported")
    ],
) -> None:
    """List suites, methods, metrics, protocols, assets or the papers' reported numbers, one a line."""
    if what not in KINDS:
        raise unknown("kind of list", what, KINDS)
    head, *lines = KINDS[what]()
    widths = [max(len(line[i]) for line in (head, *lines)) for i in range(len(head))]
    for line in (head, *lines):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def suites() -> Lines:
    """Suites that ship."""
    found = [load_suite(name) for name in suite_names()]
    return [
        ("SUITE", "RANKED BY", "STEPS", "BUDGETS", "TITLE"),
        *((s.id, s.primary, ",".join(map(str, s.nfe)), ",".join(s.budgets), s.title) for s in found),
    ]


def methods() -> Lines:
    """Methods that ship."""
    return [
        ("METHOD", "ALIASES", "PAPER", "SUMMARY"),
        *((m.name, ",".join(m.aliases), m.paper, m.summary) for m in METHODS.values()),
    ]


def metrics() -> Lines:
    """Metrics by suite, then those that installed packages bring."""
    columns = [(name, column) for name in suite_names() for column in load_suite(name).metrics]
    return [
        ("METRIC", "SUITE", "BETTER", "ABOUT"),
        *((c.key, name, "-" if c.better == "none" else c.better, c.about) for name, c in columns),
        *((p.name, "any it fits", "-", brought_by(p)) for p in installed(METRICS).values()),
    ]


def brought_by(point: EntryPoint) -> str:
    """Whose an entry point is, which is not imported for that."""
    package = f" of {point.dist.name} {point.dist.version}" if point.dist else ""
    return f"{point.value}{package}; with 'bench run --metric {point.name}'; never ranked by"


def protocols() -> Lines:
    """Protocols: size, headline, metrics, whether every digest is pinned, and who uses them."""
    users = {load_suite(name).protocol.id: name for name in suite_names()}

    def line(p: Protocol) -> tuple[str, ...]:
        samples = f"{p.sampling.samples}" if p.sampling else "-"
        repeats = f"{p.repeats.aggregate} of {p.repeats.count}" if p.repeats.count > 1 else "1"
        state = "provisional" if p.provisional() else "final"
        used = ",".join([*p.used_by, *([f"suite {users[p.id]}"] if p.id in users else [])])
        return p.id, samples, repeats, state, ",".join(p.metrics), used or "-"

    return [
        ("PROTOCOL", "SAMPLES", "REPEATS", "STATE", "METRICS", "USED BY"),
        *(line(protocol) for protocol in shipped_protocols().values()),
    ]


def reported() -> Lines:
    """Numbers that papers report, by data set: how many, of which metrics, and who shows them."""
    suites = [load_suite(name) for name in suite_names()]
    shown: dict[tuple[str, str], str]
    shown = {(s.reported.dataset, s.reported.conditioning): s.name for s in suites if s.reported}
    groups: dict[tuple[str, str], list[Reported]] = {}
    for one in reported_numbers():
        groups.setdefault((one.dataset, one.conditioning), []).append(one)

    def line(key: tuple[str, str], found: list[Reported]) -> tuple[str, ...]:
        counts = (len(found), sum(one.second_hand for one in found))
        methods, papers = {one.method for one in found}, {one.paper for one in found}
        metrics = ",".join(dict.fromkeys(one.metric for one in found))
        return (*key, *map(str, (*counts, len(methods), len(papers))), metrics, shown.get(key, "-"))

    return [
        ("DATA", "CONDITIONING", "NUMBERS", "SECOND-HAND", "METHODS", "PAPERS", "METRICS", "SUITE"),
        *(line(key, found) for key, found in groups.items()),
    ]


def assets() -> Lines:
    """Weight files that ship and files to fetch: whether they are here, size, licence, digest."""
    store = AssetStore.default()
    ledger = store.ledger()

    def line(asset: Asset) -> tuple[str, ...]:
        known = ledger.files.get(asset.id)
        digest = asset.sha256 or (known.sha256 if known else "on first use")
        return (
            asset.id, store.state(asset, ledger), asset.size_text, asset.kind, asset.licence_text, digest
        )  # fmt: skip

    return [
        ("ASSET", "STATE", "SIZE", "KIND", "LICENCE", "SHA256"),
        *((w.name, "shipped", compact(w.size) + "B", "network", "-", w.expected) for w in shipped_weights()),
        *(line(asset) for asset in known_assets().values()),
    ]


KINDS: dict[str, Callable[[], Lines]] = {
    "suites": suites,
    "methods": methods,
    "metrics": metrics,
    "protocols": protocols,
    "assets": assets,
    "reported": reported,
}
