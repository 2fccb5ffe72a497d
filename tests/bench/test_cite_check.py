"""`bench cite`: rows by id, and a manuscript's numbers against them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_factory import board, record, references, row, write_all

from bench.cli import main
from bench.paper.check import problems, rounds_to
from bench.paper.source import citations
from bench.report.rows import Rows
from bench.report.table import tables
from bench.report.views import Shown
from bench.suite import load_suite

SUITE = load_suite("gmm2d")
SID, DMD, PD = "gmm2d@1.0/sid/quick/nfe1", "gmm2d@1.0/dmd/quick/nfe1", "gmm2d@1.0/progressive/quick/nfe1"


def rows_of(records):
    return Rows([Shown(SUITE, records, tables(records, SUITE))])


ROWS = rows_of([*board(), record("alone", [row(8, 5.0)])])


def tex(text):
    """Rows by short names: ``<sid>``."""
    return text.replace("<sid>", SID).replace("<dmd>", DMD).replace("<pd>", PD)


def found(text, rows=ROWS):
    text = tex(text)
    return [(one.line, one.rule) for one in problems(text, rows)[0]]


def run(capsys, *arguments):
    status = main(["cite", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_all(board(), tmp_path_factory.mktemp("records"))


def test_a_row_is_cited_with_all_that_it_stands_on(root, capsys):
    status, out, _ = run(capsys, SID, "--records", root)
    assert status == 0
    keys = re.findall(r"^@\w+\{(\S+),", out, re.MULTILINE)
    assert keys[:3] == ["distillbench", "karras2022edm", "zhou2024sid"] and "bonneel2015swd" in keys
    (full,) = re.findall(
        rf"^% ({SID}:[0-9a-f]{{8}}): sid, protocol gmm2d@1: swd 9\.00 ± 0\.75", out, re.MULTILINE
    )
    assert f"row {full}}}" in out
    assert run(capsys, full, "--records", root)[1] == out


def test_a_digest_of_other_records_is_refused(root, capsys):
    status, _, err = run(capsys, f"{SID}:00000000", "--records", root)
    assert status == 2 and f"the records behind it are others now: {SID}:" in err


def test_an_unknown_row_names_the_nearest(root, capsys):
    status, _, err = run(capsys, "gmm2d@1.0/sidd/quick/nfe1", "--records", root)
    assert status == 2 and f"did you mean '{SID}'" in err


def test_a_name_of_two_rows_needs_the_digest():
    rows = rows_of([record("sid"), record("sid", config={"lr": 1})])
    assert found(rf"\benchval{{{SID}}}{{swd}}", rows) == [(1, "row")]


def test_numbers_are_found_in_three_forms():
    text = r"""\benchval{<sid>}{swd} and \benchnum{<sid>}{swd}{9.0}
9.00 & 1.2 \\ % bench: <sid> swd <dmd> energy
% bench: ignore
\providecommand\benchval[2]{x}
"""
    cited = [(one.line, one.row, one.key, one.typed) for one in citations(tex(text))]
    assert cited[:2] == [(1, SID, "swd", None), (1, SID, "swd", ("9.0",))]
    assert cited[2:] == [(2, SID, "swd", ("9.00", "1.2")), (2, DMD, "energy", ("9.00", "1.2"))]


def test_a_clean_paper_has_no_problem():
    text = r"""
    In one step SiD reaches \benchval{<sid>}{swd} (\benchnum{<sid>}{swd}{9.0}), or 9.00. % bench: <sid> swd
    Progressive distillation reaches 30.00. % bench: <pd> swd
    SiD outperforms progressive distillation: \benchval{<sid>}{swd} against \benchval{<pd>}{swd}.
    The best with eight evaluations has \benchval{gmm2d@1.0/alone/quick/nfe8}{swd}.
    """
    assert problems(tex(text), ROWS) == ([], 7)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (r"\benchnum{<sid>}{swd}{9.1}", "rounding"),
        (r"9.01 % bench: <sid> swd", "rounding"),
        (r"\benchnum{<sid>}{swd}{901\%}", "rounding"),
        (r"\benchnum{<sid>}{swd}{}", "rounding"),
        (r"\benchval{gmm2d@1.0/sid/full/nfe1}{swd}", "row"),
        (r"\benchval{<sid>}{fid}", "row"),
        (r"\benchval{<sid>:12345678}{swd}", "row"),
        (r"SiD is the best: \benchval{<sid>}{swd}.", "tie"),
        (r"SiD sets a new state of the art, \benchpm{<sid>}{swd}", "tie"),
        (r"SiD (\benchval{<sid>}{swd}) outperforms DMD (\benchval{<dmd>}{swd}).", "tie"),
        (r"PD beats all with \benchval{<pd>}{swd}.", "tie"),
        ("SiD is the best\nof all: 9.00. % bench: <sid> swd", "tie"),
    ],
)
def test_a_wrong_line_is_found_by_its_rule(text, rule):
    padded = f"First line.\n\n{text}\n\nThe best. \\benchval{{gmm2d@1.0/alone/quick/nfe8}}{{swd}}"
    assert found(padded) == [(3 + text.count("\n"), rule)]


def test_the_line_can_be_taken_out():
    assert found(r"The best: \benchval{<sid>}{swd}. % bench: ignore") == []


def test_a_superlative_of_another_sentence_says_nothing():
    assert found(r"Best practice it is. We measure \benchval{<sid>}{swd}. Nothing beats sleep.") == []


def test_percent_is_a_hundredth():
    assert found(r"\benchnum{<sid>}{within}{91.0\%}") == found(r"\benchnum{<sid>}{within}{0.91}") == []
    assert found(r"\benchnum{<sid>}{within}{92.0\%}") == [(1, "rounding")]


def table(first, second):
    lines = (
        r"\begin{table}",
        rf"\benchval{{{first}}}{{swd}} \\",
        rf"\benchval{{{second}}}{{swd}}",
        r"\end{table}",
    )
    return "\n".join(lines)


def test_one_table_has_one_protocol():
    other = record("old", [row(1, 9.0)], protocol="gmm2d@0")
    rows = rows_of([*board(), other, record("new", suite_version="1.1")])
    assert found(table(SID, DMD), rows) == []
    assert found(table(SID, "gmm2d@1.0/old/quick/nfe1"), rows) == [(3, "protocol")]
    assert found(table(SID, "gmm2d@1.1/new/quick/nfe1"), rows) == [(3, "protocol")]
    apart = f"\\benchval{{{SID}}}{{swd}}\n\n\\benchval{{gmm2d@1.0/old/quick/nfe1}}{{swd}}"
    assert found(apart, rows) == []


@given(st.floats(-1e4, 1e4), st.integers(0, 6))
def test_a_number_rounds_to_what_python_prints(value, digits):
    assert rounds_to(value, f"{value:.{digits}f}")
    assert not rounds_to(value, f"{value + 1.01 * 10**-digits:.{digits}f}")


@given(st.text(alphabet="\\benchval{}% .\n&$abc1@/:", max_size=200))
def test_any_text_is_read(text):
    problems(text, ROWS)


def test_status_and_sentences(root, tmp_path, capsys):
    good, bad = tmp_path / "good.tex", tmp_path / "bad.tex"
    good.write_text(rf"\benchval{{{SID}}}{{swd}}")
    bad.write_text(rf"\benchnum{{{SID}}}{{swd}}{{8.99}}")
    assert run(capsys, "--check", good, "--records", root) == (
        0,
        f"{good}: 1 numbers cited by row, no problems\n",
        "",
    )
    status, out, _ = run(capsys, "--check", good, "--check", bad, "--records", root)
    assert status == 1
    assert f"{bad}:1: rounding: 8.99 is not swd of {SID}: expected 9.00 (9)" in out
    assert run(capsys, "--check", tmp_path / "none.tex", "--records", root)[0] == 2
    assert run(capsys, "sid", "--check", good, "--records", root)[0] == 2


def test_the_export_is_what_the_check_reads(root, tmp_path, capsys):
    """Every macro of the LaTeX export names a row and a key that the check finds."""
    assert main(["leaderboard", "--out", str(tmp_path / "cells.tex"), "--records", str(root)]) == 0
    cells = re.findall(r"\\bench@def\{([^{}]+)/(\w+)\}\{", (tmp_path / "cells.tex").read_text())
    assert len(cells) > 50
    text = "\n\n".join(rf"\benchval{{{identifier}}}{{{key}}}" for identifier, key in cells if key != "pm")
    assert problems(text, Rows.read(root))[0] == []


def test_references_stand_in_several_tables_as_one_row():
    records = [record("sid", budget="quick"), record("sid", budget="standard"), *references("quick")]
    assert found(r"\benchval{gmm2d@1.0/euler/solver/nfe1}{swd}", rows_of(records)) == []
