"""The page as text: complete without the script, one file, nothing from elsewhere, names as text."""

import base64
import csv
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import PAYLOADS, attacked, hostile, shown, usual
from record_factory import board, record, references, row

from bench.errors import UsageError
from bench.report.csv_ import csv_
from bench.report.html import embedded, page
from bench.report.json_ import json_
from bench.report.levels import read_levels
from bench.report.markdown import markdown
from bench.report.rowid import record_digest
from bench.report.table import tables
from bench.report.terminal import terminal
from bench.report.text import printable
from bench.suite import load_suite

SUITE = load_suite("gmm2d")


class Outline(HTMLParser):
    """Tags with their attributes, the texts of links of rows, and of scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.rows, self.scripts, self._inside = [], [], [], None

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "a" and "@" in (dict(attrs).get("href") or ""):
            self._inside = self.rows
            self.rows.append("")
        if tag == "script":
            self._inside = self.scripts
            self.scripts.append("")

    def handle_endtag(self, tag):
        if tag in ("a", "script"):
            self._inside = None

    def handle_data(self, data):
        if self._inside is not None:
            self._inside[-1] += data


def outline(text):
    made = Outline()
    made.feed(text)
    return made


@pytest.fixture(scope="module")
def plain():
    return usual()


def test_every_row_is_in_the_page_without_the_script(plain):
    found = outline(plain)
    expected = [line.label for s in tables(board(), SUITE)[0].sections for line in s.lines]
    assert found.rows == expected * 2
    assert "9.00 ± 0.75" in plain and "▲ euler@1" in plain


def test_the_data_lists_the_rows_in_the_order_of_the_page(plain):
    found = outline(plain)
    data = json.loads(found.scripts[0])
    assert len(data["rows"]) == len(found.rows)
    table = data["tables"][1]
    first = data["rows"][len(found.rows) // 2]
    assert (first["t"], table["suite"], first["y"]) == (1, "gmm2d-grid", 9.0)
    assert [data["records"][cell]["s"] for cell in first["c"]] == [0, 1, 2]
    (works, values) = first["q"]
    assert data["works"][works][-1] == 1.5e6 and values[-1] == 9.0


def test_the_page_asks_for_nothing(plain):
    """No address but those in text: no links out, no sources but data, no style or font from elsewhere."""
    for tag, attributes in outline(plain).tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    style = plain[plain.index("<style>") : plain.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_the_policy_allows_the_one_script(plain):
    script = outline(plain).scripts[-1]
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', plain)[1]
    assert f"script-src 'sha256-{allowed}'" in policy and "default-src 'none'" in policy
    assert not any(name.startswith("on") for _, attributes in outline(plain).tags for name in attributes)


def test_heads_are_buttons_that_say_how_they_sort(plain):
    heads = [
        attributes for tag, attributes in outline(plain).tags if tag == "th" and "aria-sort" in attributes
    ]
    assert len(heads) > 20 and {one["aria-sort"] for one in heads} == {"none"}
    assert plain.count("<th scope=row>") == len(outline(plain).rows)


def test_names_are_text_in_the_page():
    text = attacked()
    found = outline(text)
    assert {printable(bad) for bad in PAYLOADS} <= set(found.rows)
    assert sum(tag == "script" for tag, _ in found.tags) == 2
    assert not {"iframe", "img"} & {tag for tag, _ in found.tags}
    assert not any(name.startswith("on") for _, attributes in found.tags for name in attributes)
    data = json.loads(found.scripts[0])
    assert {printable(bad) for bad in PAYLOADS} <= {one["cmd"] for one in data["records"].values()}


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_any_name_is_one_text(name):
    one = record("sid").model_copy(update={"label": name, "notes": [name], "command": name})
    found = outline(page([shown([one], SUITE)], Path("/nonexistent")))
    assert found.rows == [printable(name)]
    assert sum(tag == "script" for tag, _ in found.tags) == 2
    json.loads(found.scripts[0])


@given(
    st.recursive(
        st.text() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_embedded_data_never_closes_its_block(value):
    text = embedded({"value": value, "more": {"a": value, "b": 1}, "list": [value, 2]})
    assert "<" not in text and json.loads(text)["value"] == value


@pytest.mark.parametrize("bad", PAYLOADS)
def test_names_are_text_in_the_other_formats(bad):
    made = tables([one for one in hostile() if one.label == bad], SUITE)
    plain_text = printable(bad)
    assert plain_text in terminal(made) and not set("\x1b\x07\u202e") & set(terminal(made, colour=False))
    (cell,) = [r["method"] for r in csv.DictReader(io.StringIO(csv_(made)))]
    assert cell.lstrip("'") == plain_text.lstrip("'") and cell[:1] not in "=+-@"
    assert re.sub(r"\\(.)", r"\1", markdown(made)).count(plain_text)
    assert not re.search(r"(?<!\\)[<>]", markdown(made))
    assert json.loads(json_(made))["tables"][0]["sections"][0]["lines"][0]["label"] == bad


def test_a_level_is_bound_to_what_the_record_says(tmp_path):
    one = record("sid")
    (tmp_path / "verified.json").write_text(json.dumps({record_digest(one): "re-trained"}))
    assert ">re-trained\n" in page([shown([one, *references()], SUITE)], tmp_path)
    edited = one.model_copy(update={"rows": [row(1, 8.9)]})
    assert ">re-trained\n" not in page([shown([edited, *references()], SUITE)], tmp_path)


@pytest.mark.parametrize("text", ["[]", "{", '{"a": "trusted"}'])
def test_a_broken_ledger_is_named(tmp_path, text):
    (tmp_path / "verified.json").write_text(text)
    with pytest.raises(UsageError, match=r"verified\.json"):
        read_levels(tmp_path)


def test_the_picture_of_samples_is_inside(tmp_path):
    (tmp_path / "gmm2d").mkdir()
    (tmp_path / "gmm2d" / "grid.png").write_bytes(b"\x89PNG small")
    assert base64.b64encode(b"\x89PNG small").decode() in usual(tmp_path)
    (tmp_path / "gmm2d" / "grid.png").write_bytes(bytes(300_000))
    assert "data:image/png" not in usual(tmp_path)
