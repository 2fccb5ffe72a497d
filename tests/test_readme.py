"""The README works line by line: every bench command of its blocks runs here, every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from bench.cli import main

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r"`(bench run [^`]+)`", TEXT)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_first_screen_holds_the_two_commands() -> None:
    first = TEXT.splitlines()[:20]
    assert any(line.startswith("make run") for line in first)
    assert any(line.startswith("make test") for line in first)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("make")])
def test_make_targets_exist(command: str) -> None:
    assert re.search(rf"^{command.split()[1]}:.*##", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("bench")])
def test_command_runs(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    torch.set_num_threads(1)
    words = shlex.split(command)[1:]
    if "--out" in words:  # keep the repository clean
        words[words.index("--out") + 1] = str(tmp_path / "runs")
    assert main(words) == 0, capsys.readouterr().err
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("command", INLINE)
def test_inline_run_is_well_formed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)[1:]
    assert main(["plan", *words[1:]]) == 0
    assert "all: about" in capsys.readouterr().out


def test_makefile_run_is_the_command_of_the_readme() -> None:
    recipe = MAKEFILE.split("\nrun:")[1].split("\n\n")[0]
    assert "run --suite digits --method sid --method progressive --budget quick" in recipe
