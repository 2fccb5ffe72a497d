"""The README's first screen, and the runs that its sentences name. Its commands run in test_docs_commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bench.cli import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
INLINE = re.findall(r"`(bench run [^`]+)`", TEXT)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_first_screen_holds_the_two_commands() -> None:
    first = TEXT.splitlines()[:20]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)


@pytest.mark.parametrize("command", INLINE)
def test_inline_run_is_well_formed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert main(["plan", *words[1:]]) == 0
    assert "all: about" in capsys.readouterr().out


def test_makefile_run_is_the_command_of_the_readme() -> None:
    recipe = MAKEFILE.split("\nrun:")[1].split("\n\n")[0]
    assert "run --suite digits --method sid --method progressive --budget quick" in recipe
