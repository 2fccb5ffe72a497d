"""``bench check``: run the contract on a plugin, in a process of its own. Imports no numerics itself."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import UsageError
from bench.plugins.supervise import Ending, free_bytes, supervise
from bench.plugins.words import python
from bench.report.text import printable

SECONDS = 300.0  # for the whole check; it takes a few
MEMORY_SHARE = 0.8  # of what is free

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="PLUGIN", help="plugin file, a package's folder, or the name of an installed method or metric"
    ),
]
Rules = Annotated[bool, typer.Option("--rules", help="print the page of the rules instead")]


def check(plugin: Target = None, rules: Rules = False) -> None:
    """Run a method for a few iterations, or a metric on a few samples, and judge every rule of its contract.

    Exit status 0 if all rules are kept, 1 if one is broken, 2 if there is nothing to check.
    """
    if rules:
        from bench.check.page import page

        return typer.echo(page(), nl=False)
    if plugin is None:
        raise UsageError("bench check: found no PLUGIN, expected a plugin file, a package's folder or a name")
    raise typer.Exit(int(not kept(plugin)))


def kept(target: str) -> bool:
    """Check and print; whether every rule is kept.

    Raises:
        UsageError: the target cannot be loaded.
    """
    reports: list[dict[str, Any]] = []
    deadline = time.monotonic() + SECONDS
    with tempfile.TemporaryDirectory(prefix="bench-check-") as folder:
        output = Path(folder) / "output.txt"
        ending = supervise(
            python("bench.check.child", target),
            output=output,
            on_report=lambda line: reports.append(json.loads(line)),
            silent=lambda now: now > deadline,
            memory_bytes=int(MEMORY_SHARE * free_bytes()),
        )
        printed = output.read_text(encoding="utf-8", errors="replace")
    for report in reports:
        if "error" in report:
            raise UsageError(report["error"])
        show(report["name"], report["verdicts"])
    if ending != Ending("exit", 0, ending.printed):
        typer.echo(f"{target}: {ending_text(ending)}")
        typer.echo("".join(f"  | {printable(line)}\n" for line in printed.splitlines()[-10:]), nl=False)
        return False
    return all(v[2] == "passed" for report in reports for v in report["verdicts"])


def show(name: str, verdicts: list[list[str]]) -> None:
    """A line for every rule and a summary."""
    typer.echo(f"{name}:")
    for rule, title, state, note in verdicts:
        typer.echo(f"  {rule}  {state:8}{title}" + (f": {printable(note)}" if note else ""))
    states = [state for _, _, state, _ in verdicts]
    counted = (f"{states.count(state)} {state}" for state in ("passed", "failed", "skipped"))
    typer.echo(f"  {', '.join(counted)}; see docs/rules.md, or 'bench check --rules'")


def ending_text(ending: Ending) -> str:
    """Why there is no verdict."""
    return {
        "silent": f"no verdict after {SECONDS:g} s: it hangs",
        "memory": "took most of the free memory and was killed",
        "signal": f"killed its process (signal {ending.code})",
        "exit": f"left its process (status {ending.code}) before the end of the check",
    }[ending.why]
