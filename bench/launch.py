"""From a request to finished cells: resolve, open the lab, run, print the leaderboard."""

from __future__ import annotations

from bench.assets.places import forbid_network
from bench.cost.consent import consent
from bench.cost.measured import prediction_error
from bench.files import find_files
from bench.launchers.registry import find_launcher
from bench.needed import needed_files
from bench.plugins.beside import Beside
from bench.plugins.metrics import MetricRegistry
from bench.record import Record
from bench.request import Request, resolve
from bench.suite import Suite
from bench.tracking import find_tracker
from bench.workplace import open_runner


def execute(request: Request) -> int:
    """Run a request; returns the exit status (1 if a cell, or a metric of a plugin, failed)."""
    if request.offline:
        forbid_network()
    opener = find_tracker(request.track)
    launcher = find_launcher(request)
    suite, cells, notes = resolve(request)
    metrics = MetricRegistry(request.plugins).asked(request.metrics)
    find_files(
        needed_files(suite, cells), f"'bench prepare --suite {request.suite}' fetches what can be fetched"
    )
    watchers = launcher.watchers(opener, cells)
    runner = open_runner(launcher.request, suite, watchers[0])
    if launcher.here and not request.smoke:
        todo = [cell for cell in cells if runner.finished(cell) is None]
        runner.predicted = consent(runner.bench.lab, todo, agreed=request.yes)
    try:
        records = launcher.run(runner, cells, watchers)
        memory = request.memory_mib and request.memory_mib * 2**20
        beside = Beside(runner.bench, metrics, request.isolate, memory)
        records = beside.add(records, notes.append)
        notes += filter(None, [prediction_error(request.out, cells, runner.predicted)])
    except KeyboardInterrupt:
        if launcher.speaks:
            print(launcher.interrupted())
        raise
    finally:
        for watcher in watchers:
            watcher.close()
    if launcher.speaks:
        show(suite, records, notes)
    failed = any(record.status not in ("ok", "truncated") for record in records)
    return int(failed or beside.failed(records))


def show(suite: Suite, records: list[Record], notes: list[str]) -> None:
    """Print the leaderboard of what ran, then notes."""
    from bench.cli.leaderboard import show as as_shown
    from bench.report.table import tables

    print(as_shown(tables(records, suite), to_file=False))
    for note in notes:
        print(f"note: {note}")
