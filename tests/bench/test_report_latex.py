"""LaTeX: cells by row and key, and names that stay text. Compiled where a pdflatex is installed."""

import re
import shutil
import subprocess

import pytest
from record_factory import board, record, references, row

from bench.report.latex import SIGNS, escape, latex
from bench.report.parquet import parquet
from bench.report.table import tables
from bench.suite import load_suite

SUITE = load_suite("gmm2d")
BAD = [
    r"\input{/etc/passwd}", r"$\write18{touch x}$", "% gone", "a_b^c~d&e#f{g}",
    "``x'' --- <<a>>", "*x", "[y]", "\\\\", "日本é", "\x1b[31m\u202e", "\\benchval{a}{b}", "^^5cinput",
]  # fmt: skip


def text_of(records):
    return latex(tables(records, SUITE))


def cells(text):
    return dict(re.findall(r"\\bench@def\{([^{}]+)\}\{(.*)\}$", text, re.MULTILINE))


def hostile():
    rows = [record("sid", [row(1, 9.0 + i)]) for i in range(len(BAD))]
    return [one.model_copy(update={"label": bad}) for one, bad in zip(rows, BAD, strict=True)]


def test_every_number_has_a_macro_by_row_and_key():
    found = cells(text_of(board()))
    assert found["gmm2d@1.0/sid/quick/nfe1/swd"] == "9.00"
    assert found["gmm2d@1.0/sid/quick/nfe1/swd/pm"] == r"9.00\,\ensuremath{\pm}\,0.75"
    assert found["gmm2d@1.0/dmd/quick/nfe1/swd/pm"].endswith(r"\textdagger{}")
    assert found["gmm2d@1.0/euler/solver/nfe4/swd"] == "20.00"


def test_a_short_name_that_two_rows_have_is_no_macro():
    found = cells(text_of([record("sid"), record("sid", config={"lr": 1})]))
    assert "gmm2d@1.0/sid/quick/nfe1/swd" not in found
    assert sum(name.endswith("/swd") for name in found) == 2


@pytest.mark.parametrize("character", [c for c in map(chr, range(32, 127)) if not c.isalnum()])
def test_no_character_of_ascii_acts(character):
    special = set("\\{}$&#%_^~<>|\"`'")
    assert (character in SIGNS) or character not in special
    assert escape(character) != character or character not in special


@pytest.mark.parametrize("bad", BAD)
def test_names_are_set_as_text(bad):
    kept = re.sub(
        r"\\(textbackslash|textasciicircum|textasciitilde|textless|textgreater|textasciigrave)\{\}",
        "",
        escape(bad),
    )
    kept = re.sub(r"\\(textquotesingle|textquotedbl|textbar)\{\}|\\[{}$&#%_]|\{[\[\]*]\}|\{\}", "", kept)
    assert not set(kept) & set("\\{}$&#%_^~")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.slow
def test_hostile_tables_compile(tmp_path):
    (tmp_path / "cells.tex").write_text(text_of([*hostile(), *references()]))
    (tmp_path / "main.tex").write_text(
        r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{booktabs,amssymb}\begin{document}\input{cells}"
        r"\section{\benchpm{gmm2d@1.0/euler/solver/nfe4}{swd}}\benchnum{x}{y}{3.1}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main.tex"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False
    )
    assert done.returncode == 0 and "\n!" not in done.stdout
    assert sorted(p.name for p in tmp_path.glob("x*")) == []


def test_an_unknown_row_stops_latex_with_a_message():
    assert r"\PackageError{bench}{no row and key" in text_of(board())


def test_parquet_keeps_types_and_text(tmp_path):
    pytest.importorskip("pyarrow")
    import pandas as pd

    (tmp_path / "a.parquet").write_bytes(parquet(tables([*board(), *hostile()], SUITE)))
    frame = pd.read_parquet(tmp_path / "a.parquet")
    (sid,) = frame[frame.method == "sid"].to_dict("records")
    assert (sid["nfe"], sid["swd"], sid["id"][:24]) == (1, pytest.approx(9.0), "gmm2d@1.0/sid/quick/nfe1")
    assert frame["rank"].dtype == "Int64" and frame["swd"].dtype == "float64"
    assert r"\input{/etc/passwd}" in set(frame.method)
