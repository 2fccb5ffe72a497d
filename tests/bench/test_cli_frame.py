import importlib
import os
import subprocess
import sys
import textwrap

import pytest
import typer
from record_factory import board, write_all

from bench import __version__, cli
from bench.cli import VERBS, Verb, main
from bench.errors import AssetError, BenchError, UsageError
from bench.record import read_record

HEAVY = ("torch", "scipy", "pandas", "matplotlib", "sklearn", "numpy")


def run(capsys, *arguments):
    status = main(list(arguments))
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def verb(monkeypatch):
    """Make ``bench boom`` call a function."""

    def install(function):
        monkeypatch.setattr(sys.modules[__name__], "boom", function, raising=False)
        monkeypatch.setitem(VERBS, "boom", Verb(f"{__name__}:boom", "for this test"))

    return install


def raising(error):
    def boom() -> None:
        raise error

    return boom


def test_help_lists_every_verb(capsys):
    status, out, err = run(capsys, "--help")
    assert (status, err) == (0, "")
    for name, one in VERBS.items():
        assert f"  {name} " in out and one.help.split()[0] in out
    assert "Exit status" in out


@pytest.mark.parametrize("name", list(VERBS))
def test_every_verb_can_be_called(name, capsys):
    module, _, function = VERBS[name].target.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    status, out, _ = run(capsys, name, "--help")
    assert status == 0 and out.startswith(f"Usage: bench {name} ")


def test_help_and_leaderboard_import_no_numerics(tmp_path):
    write_all(board(), tmp_path / "records")
    one = next(p for p in (tmp_path / "records").rglob("*.json") if read_record(p).rows)
    code = f"""
        import sys
        from bench.cli import main
        commands = [["--help"], ["leaderboard", "gmm2d", "--records", {str(tmp_path / "records")!r}]]
        commands += [["list", "suites"], ["cite", "sid"], ["info", "gmm2d"], ["leaderboard", "--help"]]
        commands += [["list", "protocols"], ["info", "suite-fid50k@1"]]
        commands += [["compare", "suite-fid50k@1", "edm-fid50k-train@1"]]
        commands += [["compare", {str(one)!r}, {str(one)!r}]]
        for command in commands:
            assert main(command) == 0, command
            print("loaded:", command, sorted(set({HEAVY}) & set(sys.modules)))
    """
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded:")]
    assert len(loaded) == 10 and all(line.endswith("[]") for line in loaded), loaded


def test_no_verb_is_wrong_usage_and_shows_the_help(capsys):
    status, out, err = run(capsys)
    assert (status, out) == (2, "") and "Verbs:" in err


def test_version(capsys):
    assert run(capsys, "--version") == (0, f"bench {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["leaderbord"], "unknown verb 'leaderbord'; did you mean 'leaderboard'?"),
        (["--versoin"], "No such option: --versoin"),
        (["leaderboard", "--fromat", "md"], "--format"),
        (["leaderboard", "--format"], "requires an argument"),
        (["list"], "WHAT"),
        (["info", "a", "b"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_with_status_2(capsys, arguments, message):
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message in err


@pytest.mark.parametrize(
    ("error", "status"),
    [(BenchError("a sentence"), 1), (UsageError("a sentence"), 2), (AssetError("a sentence"), 3)],
)
def test_bench_errors_are_one_line_and_their_status(verb, capsys, error, status):
    verb(raising(error))
    assert run(capsys, "boom") == (status, "", "error: a sentence\n")


def test_debug_shows_the_traceback_wherever_it_stands(verb, capsys):
    verb(raising(UsageError("a sentence")))
    for arguments in (["--debug", "boom"], ["boom", "--debug"]):
        status, _, err = run(capsys, *arguments)
        assert status == 2
        assert "Traceback (most recent call last)" in err and err.endswith("error: a sentence\n")


def test_an_unexpected_error_is_one_line_with_a_hint(verb, capsys):
    verb(raising(ZeroDivisionError("by\n\x1b[31mzero")))
    status, _, err = run(capsys, "boom")
    assert status == 1
    assert err == "error: ZeroDivisionError: by [31mzero (unexpected; add --debug for the traceback)\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_an_interrupt_is_status_130(verb, capsys, error):
    verb(raising(error))
    assert run(capsys, "boom") == (130, "", "error: interrupted\n")


@pytest.mark.parametrize(("error", "status"), [(typer.Exit(1), 1), (typer.Exit(), 0), (SystemExit(4), 4)])
def test_verbs_may_choose_the_status(verb, capsys, error, status):
    verb(raising(error))
    assert run(capsys, "boom") == (status, "", "")


def test_the_module_is_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--version"])
    assert cli.main() == 0
    assert capsys.readouterr().out == f"bench {__version__}\n"
    assert importlib.import_module("bench.__main__").main is cli.main
