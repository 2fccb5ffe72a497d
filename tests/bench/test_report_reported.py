"""The papers' numbers in tables: beside the right rows, listed apart, never ranked nor among the measured."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from record_factory import board, record, references, row, write_all

from bench.cli import main
from bench.report.csv_ import csv_
from bench.report.json_ import json_
from bench.report.latex import latex
from bench.report.markdown import markdown
from bench.report.reported import TITLE, numbers_for
from bench.report.table import tables
from bench.report.terminal import terminal
from bench.suite import load_suite, suite_names

PART = '\n[reported]\ndataset = "imagenet64"\nconditioning = "class"\nmetric = "fid"\n'
PLAIN = load_suite("gmm2d")


@pytest.fixture
def suite_file(tmp_path: Path) -> Path:
    """gmm2d, as if its samples were those of a data set with reported numbers."""
    text = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text + PART)
    return path


@pytest.fixture
def made(suite_file):
    """The table of one student each of four methods, with the references."""
    labels = ("sid", "dmd2", "lcm", "ddil[base=lcm]")
    records = [record(label, [row(1, 9.0), row(2, 8.0)]) for label in labels]
    return tables([*records, *references()], load_suite(str(suite_file)))


def line(table, label, nfe):
    (found,) = [li for s in table.sections for li in s.lines if (li.label, li.nfe) == (label, nfe)]
    return found


def test_a_row_has_the_numbers_of_its_methods_paper_at_its_evaluations(made):
    (table,) = made
    assert [(n.text, n.paper) for n in line(table, "sid", 1).reported] == [("1.524", "zhou2024sid")]
    # not FastGen's 1.12, and the paper's three settings
    assert [n.text for n in line(table, "dmd2", 1).reported] == ["1.51", "1.28", "2.61"]
    assert [(n.text, n.second_hand) for n in line(table, "lcm", 1).reported] == [("6.2", True)]
    assert [n.text for n in line(table, "lcm", 2).reported] == ["4.7"]
    assert line(table, "sid", 2).reported == line(table, "ddil[base=lcm]", 1).reported == ()
    assert all(li.reported == () for li in table.sections[-1].lines)  # references


def test_ablations_stand_beside_no_row(suite_file):
    (table,) = tables([record("dmd", [row(1, 9.0)]), *references()], load_suite(str(suite_file)))
    assert [n.text for n in line(table, "dmd", 1).reported] == ["2.62"]
    assert {"9.21", "5.61"} <= {n.text for n in table.reported if n.method == "DMD"}  # but are listed


def test_a_published_student_has_them_too(suite_file):
    one = record("sid[weights=published]", [row(1, 9.0)])
    suite = load_suite(str(suite_file))
    (table,) = tables([one.model_copy(update={"kind": "published"}), *references()], suite)
    assert [n.text for n in line(table, "sid[weights=published]", 1).reported] == ["1.524"]


def test_few_steps_only_of_this_data_and_metric_in_no_order_of_value(made):
    numbers = made[0].reported
    assert {(n.dataset, n.conditioning, n.metric) for n in numbers} == {("imagenet64", "class", "fid")}
    assert max(n.nfe for n in numbers) == 8 and len(numbers) > 60
    assert {"CTM", "sCT", "TRACT", "MultiStep CM"} <= {n.method for n in numbers}  # no measured row
    assert "EDM2" not in {n.method for n in numbers}  # 63 evaluations
    assert [(n.nfe, n.method.casefold()) for n in numbers] == sorted(
        (n.nfe, n.method.casefold()) for n in numbers
    )
    one_step = [n.value for n in numbers if n.nfe == 1]
    assert one_step != sorted(one_step) and one_step != sorted(one_step, reverse=True)


def test_measured_lines_are_what_they_are_without_the_part(suite_file):
    """Same ranks, ties, statistics, verdicts and order; the numbers are the one thing added."""
    with_part, without = (tables(board(), suite) for suite in (load_suite(str(suite_file)), PLAIN))
    bare = [
        replace(
            t,
            reported=(),
            sections=tuple(
                replace(s, lines=tuple(replace(li, reported=()) for li in s.lines)) for s in t.sections
            ),
        )
        for t in with_part
    ]
    assert bare == without
    assert any(li.reported for s in with_part[0].sections for li in s.lines)


@pytest.mark.parametrize("render", [terminal, markdown, csv_, json_])
def test_suites_without_the_part_show_nothing_of_it(render):
    text = render(tables(board(), PLAIN))
    assert TITLE not in text and "second-hand" not in text and "zhou2024sid" not in text


def test_suites_of_papers_name_their_numbers_and_embedded_ones_none():
    found = {name: numbers_for(load_suite(name)) for name in suite_names()}
    assert not any(found[name] for name in ("gmm2d", "gmm2d-grid", "digits"))
    assert {"1.524"} <= {n.text for n in found["imagenet64"] if n.known == "sid"}
    assert {"1.923"} <= {n.text for n in found["cifar10"] if n.known == "sid"}  # unconditional


def test_markdown_shows_sources_beside_and_under(made):
    text = markdown(made)
    measured, _, listed = text.partition(f"### {TITLE}\n\n")
    (sid,) = [x for x in measured.splitlines() if x.startswith("|") and "| sid |" in x and "1.524" in x]
    assert sid.rstrip(" |").endswith(r"1.524 (alpha=1.2) \[zhou2024sid, README\]")
    assert r"6.2\* (LPIPS) \[song2023cm, quoted in lu2024scm Table 1\]" in measured
    assert r"\* second-hand, quoted in another document." in measured
    assert listed.startswith("Budget, sampler and FID code differ") and "not ranked" in listed
    rows = [[c.strip() for c in x.strip("|").split("|")] for x in listed.splitlines() if x.startswith("|")]
    assert rows[0] == [
        "method",
        "NFE",
        "reported fid",
        "variant",
        "teacher",
        "training",
        "paper",
        "where",
        "second-hand",
    ]
    assert [
        "DMD2",
        "1",
        "1.51",
        "default",
        "EDM",
        "200k iterations, batch 280, 7 A100, 53 h",
        "yin2024dmd2",
        "Table 1",
        "",
    ] in rows
    assert [
        "CD",
        "1",
        r"6.2\*",
        "LPIPS",
        "EDM",
        "",
        "song2023cm",
        "quoted in lu2024scm Table 1",
        "second-hand",
    ] in rows
    assert len(rows) - 2 == len(made[0].reported)


def test_terminal_lists_them_under_the_notes_and_fits(made):
    text = terminal(made)
    assert text.index("Made on cpu") < text.index(TITLE) < text.index("Second-hand: read in another")
    narrow = terminal(made, 80).splitlines()
    assert max(map(len, narrow)) <= 80
    (sct,) = [x for x in narrow if x.startswith("sCT") and "lu2024scm" in x and " 2.04 " in x]
    assert sct.split()[:2] == ["sCT", "1"]
    assert [x for x in narrow if x.startswith("Hidden")][1].startswith("Hidden for want of width: variant")


def test_csv_keeps_them_out_of_the_measured_columns(made):
    rows = list(csv.DictReader(io.StringIO(csv_(made))))
    papers = [r for r in rows if r["kind"] == "reported"]
    assert len(papers) == len(made[0].reported) and rows[-len(papers) :] == papers
    for r in papers:
        assert not any(
            r[key] for key in ("swd", "swd_low", "rank", "ties", "excess", "seeds", "status", "budget")
        )
        assert (
            float(r["reported"]) >= 0 and r["reported_paper"] and r["reported_second_hand"] in ("yes", "no")
        )
    (dmd2,) = [r for r in rows if (r["kind"], r["method"], r["nfe"]) == ("student", "dmd2", "1")]
    assert dmd2["swd"] == "9.0" and dmd2["reported"] == "1.51 | 1.28 | 2.61"
    assert dmd2["reported_table"] == "Table 1 | Table 1 | README model zoo"
    assert [r["reported"] for r in rows if r["kind"] in ("solver", "anchor", "teacher")].count("") == 6


def test_json_holds_them_apart(made):
    (table,) = json.loads(json_(made))["tables"]
    (one,) = [n for n in table["reported"] if n["method"] == "SiD"]
    assert (one["value"], one["text"], one["nfe"], one["second_hand"]) == (1.524, "1.524", 1, False)
    lines = [li for s in table["sections"] for li in s["lines"]]
    assert {n["method"] for li in lines if li["label"] == "sid" for n in li["reported"]} == {"SiD"}
    assert all(set(li["metrics"]) <= {"swd", "energy", "within"} for li in lines)


def test_latex_sets_them_in_a_table_of_their_own_without_macros(made):
    text = latex(made)
    measured, _, listed = text.partition(rf"\caption{{{TITLE}}}")
    assert listed.count(r" \\" + "\n") == len(made[0].reported) + 1 and "enter no statistic" in listed
    assert "SiD & 1 & 1.524 & alpha=1.2 & EDM" in listed
    assert "1.524" not in "".join(line for line in measured.splitlines() if line.startswith(r"\bench@def"))
    assert TITLE not in latex(tables(board(), PLAIN))


def test_they_are_listed_once_for_a_suite_with_several_budgets(suite_file):
    records = [record("sid", [row(1, 9.0)], budget=name) for name in ("quick", "standard")]
    made = tables([*records, *references()], load_suite(str(suite_file)))
    assert len(made) == 2
    for render in (markdown, terminal):
        text = render(made)
        assert text.count(TITLE) == 1 and text.index("Budget standard") < text.index(TITLE)
    assert csv_(made).count(",reported,SiD,") == 1


def shown(capsys, suite_file, root, *arguments):
    status = main(["leaderboard", str(suite_file), "--records", str(root), "--format", "csv", *arguments])
    out, err = capsys.readouterr()
    return status, [(r["kind"], r["method"], r["nfe"]) for r in csv.DictReader(io.StringIO(out))], err


def test_filters_choose_among_them_by_evaluations_and_method(capsys, suite_file, tmp_path):
    root = write_all(board(), tmp_path / "records")
    _, found, _ = shown(capsys, suite_file, root, "--filter", "nfe<=1")
    assert {n for k, _, n in found if k == "reported"} == {"1"} and ("student", "sid", "1") in found
    _, found, _ = shown(capsys, suite_file, root, "--filter", "method=sid")
    assert found == [("student", "sid", "1"), ("reported", "SiD", "1")]
    status, found, _ = shown(capsys, suite_file, root, "--filter", "method=CTM")
    assert status == 0 and {(k, m) for k, m, _ in found} == {("reported", "CTM")}
    _, found, _ = shown(capsys, suite_file, root, "--filter", "status=ok")
    assert found and "reported" not in {k for k, _, _ in found}
    _, found, _ = shown(capsys, suite_file, root, "--filter", "swd<10")
    assert found and "reported" not in {k for k, _, _ in found}
    status, _, err = shown(capsys, suite_file, root, "--filter", "method=CTMM")
    assert status == 2 and "did you mean 'CTM'" in err


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (
            ('"imagenet64"', '"imagenet46"'),
            "unknown dataset of reported numbers 'imagenet46'; did you mean 'imagenet64'",
        ),
        (('"fid"', '"fidd"'), "unknown metric of reported numbers 'fidd'; did you mean 'fid'"),
        (('"class"', '"text"'), "unknown conditioning of reported numbers 'text'; known: class"),
        (('"class"', '"labels"'), "key 'reported.conditioning': found 'labels'"),
        (("metric =", "metrics ="), "unknown key 'metrics'; did you mean 'metric'"),
    ],
)  # fmt: skip
def test_a_wrong_part_is_named(capsys, suite_file, tmp_path, edit, said):
    suite_file.write_text(suite_file.read_text().replace(PART, PART.replace(*edit)))
    root = write_all(board(), tmp_path / "records")
    assert main(["leaderboard", str(suite_file), "--records", str(root)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_info_counts_them(capsys, suite_file):
    assert main(["info", str(suite_file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    count = len(tables(references(), load_suite(str(suite_file)))[0].reported)
    assert f"papers report {count} few-step numbers (fid on imagenet64, class) of" in said
    assert main(["info", "gmm2d"]) == 0 and "papers report" not in capsys.readouterr().out


def test_list_counts_them_by_data_set(capsys):
    assert main(["list", "reported"]) == 0
    lines = [x.split() for x in capsys.readouterr().out.splitlines()]
    assert lines[0][:4] == ["DATA", "CONDITIONING", "NUMBERS", "SECOND-HAND"]
    by_set = {tuple(x[:2]): x[2:] for x in lines[1:]}
    assert sum(int(x[0]) for x in by_set.values()) == 427
    assert int(by_set["imagenet64", "class"][0]) == 107


def test_a_broken_line_stops_the_table_with_its_place(capsys, suite_file, tmp_path, monkeypatch):
    from bench import reported, shipped

    text = (shipped.REPORTED / reported.FILE).read_text().replace(",1.524,", ",good,", 1)
    (tmp_path / reported.FILE).write_text(text)
    bad = next(i for i, x in enumerate(text.splitlines(), 1) if ",good," in x)
    monkeypatch.setattr(reported, "reported_file", lambda name: tmp_path / name)
    reported.reported_numbers.cache_clear()
    root = write_all(board(), tmp_path / "records")
    try:
        assert main(["leaderboard", str(suite_file), "--records", str(root)]) == 2
    finally:
        reported.reported_numbers.cache_clear()
    assert f"line {bad}: column 'value': found 'good'" in capsys.readouterr().err
