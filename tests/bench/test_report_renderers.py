import csv
import io
import json
import re

import pytest
from record_factory import board, record, references, row

from bench.report.columns import columns, number
from bench.report.csv_ import csv_
from bench.report.json_ import json_
from bench.report.markdown import markdown
from bench.report.statistics import Estimate
from bench.report.table import tables
from bench.report.terminal import terminal
from bench.report.text import compact, printable
from bench.suite import load_suite

SUITE = load_suite("gmm2d")
NASTY = "x|y\x1b[31m[bold]\u202e<b>`*\n\x07"


def made(records=None):
    return tables(board() if records is None else records, SUITE)


def nasty():
    return made([record("sid").model_copy(update={"label": NASTY}), *references()])


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_printable_removes_what_moves_the_cursor():
    assert printable("a\x1b[31mb\r\nc\u202ed\u200b") == "a[31mb cd"


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (950, "950"), (1.5e6, "1.5 M"), (6e7, "60 M")])
def test_compact(value, text):
    assert compact(value) == text


def test_numbers_show_half_of_the_interval_and_a_dagger_for_one_seed():
    assert number(Estimate(1.234, (1.0, 1.468), "seeds"), 2, mark=True) == "1.23 ± 0.23"
    assert number(Estimate(1.234, (1.0, 1.468), "repeats"), 2, mark=True) == "1.23 ± 0.23†"
    assert number(Estimate(1.234, (1.0, 1.468), "repeats"), 2, mark=False) == "1.23 ± 0.23"
    assert number(Estimate(1.234, None, "nothing"), 1, mark=True) == "1.2†"


def test_terminal_shows_every_row_and_note():
    text = terminal(made())
    assert re.search(r"^1 a +sid +1 +9\.00 ± 0\.75 +5\.00 +▲ euler@1", text, re.MULTILINE)
    assert re.search(r"^ +lcm .* 900 k .* 1/1 .* truncated$", text, re.MULTILINE)
    assert "dmd[lr=1.0]: failed: train: FloatingPointError: loss is nan at iteration 12" in text
    assert "excess is SWD x1000 beyond that of real data, 4.00." in text
    assert "† one training seed" in text
    assert "\x1b" not in text


def test_notes_say_only_what_applies():
    text = terminal(made(references()))
    assert "training seed" not in text and "# is" not in text and "vs solver" not in text


def test_a_narrow_terminal_hides_columns_and_names_them():
    text = terminal(made(), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "▲ euler@1" in text
    assert "Hidden for want of width: " in text and "teacher; see them with --format md." in " ".join(
        text.split()
    )
    assert "Hidden" not in terminal(made(), 200)


def test_colour_only_if_asked():
    assert "\x1b[" in terminal(made(), 120, colour=True)
    assert "\x1b[" not in terminal(made(), 120)


def test_names_from_records_cannot_steer_the_terminal():
    text = terminal(nasty(), 200)
    assert "x|y[31m[bold]<b>`*" in text
    assert not set("\x1b\x07\u202e") & set(text)


def test_markdown_rows_have_the_cells_of_their_head():
    for records in (board(), [record(NASTY.replace("\n", "")), *references()]):
        blocks = [b for b in markdown(made(records)).split("\n\n") if b.startswith("|")]
        assert blocks
        for block in blocks:
            assert len({len(cells(line)) for line in block.strip().splitlines()}) == 1


def test_markdown_shows_names_as_they_are():
    assert r"| x\|y\[31m\[bold\]\<b\>\`\* |" in markdown(nasty())


def test_markdown_leaves_out_columns_that_say_nothing():
    text = markdown(made())
    head = text[text.index("### references") :].splitlines()[2]
    assert cells(head) == [
        "method",
        "NFE",
        "SWD x1000 ↓",
        "excess",
        "energy x1000 ↓",
        "within 4 std ↑",
        "latency",
    ]


def test_columns_show_steps_only_where_they_differ_from_evaluations():
    def titles(records):
        table = made(records)[0]
        return [c.title for c in columns(table, [x for s in table.sections for x in s.lines])]

    assert "steps" not in titles(board())
    assert "steps" in titles([record("guided", [row(2, 5.0, steps=1)])])


def test_csv_holds_every_line_with_full_numbers():
    rows = list(csv.DictReader(io.StringIO(csv_(made()))))
    assert len(rows) == 13
    (sid,) = [r for r in rows if r["method"] == "sid"]
    assert float(sid["swd"]) == pytest.approx(9.0)
    assert float(sid["swd_low"]) < 9 < float(sid["swd_high"])
    assert (sid["rank"], sid["ties"], sid["verdict"], sid["best_solver"]) == ("1", "a", "better", "euler@1")
    (lost,) = [r for r in rows if r["status"] == "failed"]
    assert (lost["swd"], lost["nfe"], lost["rank"]) == ("", "", "")


def test_csv_text_is_no_formula():
    rows = list(csv.DictReader(io.StringIO(csv_(made([record("sid").model_copy(update={"label": "=1+1"})])))))
    assert rows[0]["method"] == "'=1+1"


def test_csv_of_nothing_is_empty():
    assert csv_([]) == ""


def test_json_is_the_model():
    found = json.loads(json_(made()))
    assert found["format"] == 1
    (table,) = found["tables"]
    assert (table["suite"], table["primary"], table["floor"]) == ("gmm2d", "swd", 4.0)
    first = table["sections"][0]["lines"][0]
    assert (first["label"], first["rank"], first["metrics"]["swd"]["over"]) == ("sid", 1, "seeds")
