"""The command ``bench``: one verb per file, imported when it is called, so that help needs no numerics.

Exit status: 0 fine; 1 a cell, check or verification failed; 2 wrong usage, suite or plugin; 3 an asset is
missing; 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from bench import __version__
from bench.errors import BenchError, unknown
from bench.report.text import printable

# typer may carry a click of its own; the base of its usage errors is reached through the one it exports
ClickError: type[Exception] = typer.BadParameter.__mro__[2]

INTERRUPTED = 130


@dataclass(frozen=True)
class Verb:
    """Where a verb lives (``module:function``) and its line in the help."""

    target: str
    help: str


VERBS: dict[str, Verb] = {
    "run": Verb("bench.cli.run:run", "run the cells of a suite: distil, sample, measure, record"),
    "plan": Verb("bench.cli.plan:plan", "show cells, assets and cost of a run; runs nothing"),
    "prepare": Verb("bench.cli.prepare:prepare", "fetch and verify the files that a suite needs"),
    "measure": Verb("bench.cli.measure:measure", "score samples that somebody else made under a protocol"),
    "leaderboard": Verb("bench.cli.leaderboard:leaderboard", "make tables from records"),
    "compare": Verb("bench.cli.compare:compare", "compare two records, or two protocols field by field"),
    "publish": Verb(
        "bench.cli.publish:publish", "bring finished records into the committed ones, remake the board"
    ),
    "merge": Verb("bench.cli.merge:merge", "bring records of several machines into one folder"),
    "clean": Verb("bench.cli.clean:clean", "remove stages or fetched files by age and size"),
    "submit": Verb("bench.cli.submit:submit", "pack a finished student for others to verify"),
    "verify": Verb("bench.cli.verify:verify", "check that records hold: stated, scored again, trained again"),
    "shift": Verb("bench.cli.shift:shift", "measure the covariate shift of published students"),
    "claims": Verb("bench.cli.claims:claims", "check what the papers claim against the records"),
    "new": Verb("bench.cli.new:new", "write the skeleton of a package with a method of one's own"),
    "check": Verb("bench.cli.check:check", "run the contract on a method: every rule, in seconds"),
    "list": Verb(
        "bench.cli.list_:list_", "list suites, methods, metrics, protocols, assets or reported numbers"
    ),
    "info": Verb("bench.cli.info:info", "explain a suite, method, metric, protocol, record or run"),
    "cite": Verb("bench.cli.cite:cite", "print BibTeX of suites, methods and records"),
    "teach": Verb("bench.cli.teach:teach", "train a shipped network again"),
    "convert": Verb("bench.cli.convert:convert", "turn a published weight file into safetensors, safely"),
    "doctor": Verb("bench.cli.doctor:doctor", "check the installation"),
}


class LazyGroup(TyperGroup):
    """A group of ``VERBS``; a verb's module is imported when the verb is looked up, never for help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a verb; raises UsageError for an unknown one."""
        if cmd_name not in VERBS:
            raise unknown("verb", cmd_name, VERBS)
        module, _, function = VERBS[cmd_name].target.partition(":")
        app = new_app(add_completion=False)
        app.command(cmd_name)(getattr(importlib.import_module(module), function))
        return typer.main.get_command(app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of verbs in the help, from the table."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


def new_app(**options: Any) -> typer.Typer:
    """A typer application with plain help and no tracebacks of its own."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, **options)


def show_version(wanted: bool) -> None:
    """Print the version and stop, if wanted."""
    if wanted:
        typer.echo(f"bench {__version__}")
        raise typer.Exit


def top(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="show the version"),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks; may follow any verb")] = False,
) -> None:
    """Compare ways of distilling a diffusion model into a few-step generator, under a fixed budget.

    Exit status: 0 fine; 1 a cell, check or verification failed; 2 wrong usage, suite or plugin;
    3 an asset is missing; 130 interrupted.
    """


def command() -> Any:
    """The whole command line as one click command."""
    app = new_app(cls=LazyGroup, name="bench", no_args_is_help=True)
    app.callback()(top)
    return typer.main.get_command(app)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return the exit status (console script ``bench``, and ``python -m bench``).

    Args:
        argv: arguments without the program's name; those of the process if None.
    """
    given = sys.argv[1:] if argv is None else argv
    debug = "--debug" in given
    arguments = [argument for argument in given if argument != "--debug"]
    try:
        status = command().main(args=arguments, prog_name="bench", standalone_mode=False)
        if status == INTERRUPTED:  # typer turns the interrupt into a status
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 1
    except (KeyboardInterrupt, typer.Abort):
        return complain("interrupted", INTERRUPTED, debug)
    except BenchError as error:
        return complain(str(error), error.status, debug)
    except Exception as error:
        if type(error).__name__ == "NoArgsIsHelpError":  # typer's; there the message is the help
            print(error, file=sys.stderr)
            return 2
        if isinstance(error, ClickError):
            return complain(usage(error), 2, debug)
        hint = "" if debug else " (unexpected; add --debug for the traceback)"
        return complain(f"{type(error).__name__}: {error}{hint}", 1, debug)


def usage(error: Any) -> str:
    """One sentence for a usage error found by the parser, with the verb whose help explains it."""
    message = " ".join(error.format_message().split()).rstrip(".")
    path = getattr(getattr(error, "ctx", None), "command_path", "bench")
    return f"{message}; see '{path} --help'"


def complain(message: str, status: int, debug: bool) -> int:
    """Print one line on stderr (after the traceback if debugging) and hand back the exit status."""
    if debug:
        traceback.print_exc()
    print(f"error: {printable(message)}", file=sys.stderr)
    return status
