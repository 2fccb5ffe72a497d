import json
from pathlib import Path

import pytest
from record_factory import board, failed, record, references, write_all

from bench.cli import main
from bench.publishing import file_name
from bench.record import read_record
from bench.report.board import board_texts
from bench.report.collect import collect, record_files
from bench.suite import load_suite

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "board"
COMMITTED = sorted(p for p in (ROOT / "leaderboards" / "records").glob("*") if any(p.glob("*.json")))


@pytest.fixture
def root(tmp_path):
    return write_all(board(), tmp_path / "records")


def run(capsys, *arguments):
    status = main(["leaderboard", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_every_suite_with_records_is_shown(root, capsys):
    status, out, err = run(capsys, "--records", root)
    assert (status, err) == (0, "")
    assert out.startswith("gmm2d@1.0: Eight Gaussians on a ring. Budget quick, protocol gmm2d@1\n")


def test_one_suite_by_name(root, capsys):
    assert run(capsys, "gmm2d", "--records", root) == run(capsys, "--records", root)


@pytest.mark.parametrize(
    ("form", "start"), [("md", "## gmm2d"), ("csv", "suite,version"), ("json", '{\n "format"')]
)
def test_formats(root, capsys, form, start):
    status, out, _ = run(capsys, "--records", root, "--format", form)
    assert status == 0 and out.startswith(start)


@pytest.mark.parametrize(
    ("name", "form"), [("a.md", "md"), ("a.csv", "csv"), ("a.json", "json"), ("a.txt", "terminal")]
)
def test_the_name_of_the_file_chooses_the_format(root, tmp_path, capsys, name, form):
    assert run(capsys, "--records", root, "--out", tmp_path / "new" / name) == (0, "", "")
    assert (tmp_path / "new" / name).read_text() == run(capsys, "--records", root, "--format", form)[1]


def test_filter_sort_and_budget(root, capsys):
    status, out, _ = run(
        capsys, "--records", root, "--format", "json", "--filter", "nfe<=2", "--filter", "kind=student",
        "--sort", "method", "--budget", "quick",
    )  # fmt: skip
    sections = json.loads(out)["tables"][0]["sections"]
    assert status == 0
    assert [[line["label"] for line in s["lines"]] for s in sections] == [
        ["dmd", "progressive", "sid"],
        ["lcm", "progressive"],
    ]


def test_filters_that_leave_nothing_say_so(root, capsys):
    status, out, err = run(capsys, "--records", root, "--filter", "nfe>1000")
    assert (status, out.strip(), err) == (0, "", "no line passes the filters\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gmm3d"], "unknown suite 'gmm3d'; did you mean 'gmm2d'?"),
        (["--format", "mdd"], "--format: unknown format 'mdd'; did you mean 'md'?"),
        (["--budget", "quik"], "--budget: unknown budget 'quik'; did you mean 'quick'?"),
        (["--filter", "nfee<4"], "unknown key 'nfee'; did you mean 'nfe'?"),
        (["--sort", "swdd"], "--sort swdd: unknown key 'swdd'; did you mean 'swd'?"),
        (["--write", "--sort", "swd"], "--write makes the whole board, so it does not go with --sort"),
        (["--sorted", "swd"], "No such option: --sorted"),
        (["digits"], "no records of suite 'digits', only of gmm2d"),
        (["missing.toml"], "missing.toml: cannot read the suite file"),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(root, capsys, arguments, message):
    status, out, err = run(capsys, *arguments, "--records", root)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_no_records_is_status_1_and_tells_how_to_make_some(tmp_path, capsys):
    status, out, err = run(capsys, "--records", tmp_path)
    assert (status, out) == (1, "")
    assert "no records here; make some with 'bench run --suite gmm2d'" in err and err.count("\n") == 1


def test_a_broken_record_is_status_2(root, capsys):
    (root / "gmm2d" / "broken.json").write_text("{}")
    status, _, err = run(capsys, "--records", root)
    assert status == 2 and "broken.json: schema_version is None" in err


def test_records_of_a_suite_that_does_not_ship_need_its_file(tmp_path, capsys):
    write_all([record(suite="mine")], tmp_path)
    text = (ROOT / "bench" / "suites" / "gmm2d.toml").read_text().replace('name = "gmm2d"', 'name = "mine"')
    (tmp_path / "mine.toml").write_text(text)
    status, _, err = run(capsys, "--records", tmp_path)
    assert status == 2 and "unknown suite 'mine'" in err
    status, out, _ = run(capsys, tmp_path / "mine.toml", "--records", tmp_path)
    assert status == 0 and out.startswith("mine@1.0")


def test_write_remakes_the_board_from_records_alone(root, capsys):
    """Remake the expected files: write the factory's board and copy README.md and table.csv."""
    status, out, _ = run(capsys, "gmm2d", "--write", "--records", root)
    folder = root.parent / "gmm2d"
    assert status == 0
    assert out.split() == [
        w for n in ("README.md", "table.csv", "curve.png", "pareto.png") for w in ("wrote", str(folder / n))
    ]
    for name in ("README.md", "table.csv"):
        assert (folder / name).read_text() == (GOLDEN / name).read_text()
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    run(capsys, "gmm2d", "--write", "--records", root)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_a_board_without_curves_has_no_picture_of_them(tmp_path, capsys):
    root = write_all([failed("sid"), *references()], tmp_path / "records")
    assert run(capsys, "--write", "--records", root)[0] == 0
    assert sorted(p.name for p in (tmp_path / "gmm2d").iterdir()) == ["README.md", "pareto.png", "table.csv"]
    assert "curve.png" not in (tmp_path / "gmm2d" / "README.md").read_text()


def test_smoke_runs_are_marked_and_never_published(tmp_path, capsys):
    root = write_all([record("sid", protocol="gmm2d@1-smoke")], tmp_path / "records")
    assert "SMOKE RUN, NOT A RESULT" in run(capsys, "--records", root)[1].splitlines()[0]
    status, _, err = run(capsys, "--write", "--records", root)
    assert status == 2 and "sid, seed 0 is of a smoke run, which is no result" in err
    assert not (tmp_path / "gmm2d").exists()


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda p: p.name)
def test_committed_boards_are_those_of_the_committed_records(folder):
    """Remake: bench leaderboard --write."""
    suite = load_suite(folder.name)
    texts = board_texts(
        collect(record_files(folder.parent)[folder.name], suite), suite, ROOT / "leaderboards" / suite.name
    )
    for name, text in texts.items():
        assert (ROOT / "leaderboards" / folder.name / name).read_text() == text
    for path in folder.glob("*.json"):
        assert file_name(read_record(path), suite) == path.name


@pytest.mark.parametrize("view", ["anytime", "break-even", "pareto"])
@pytest.mark.parametrize("form", ["terminal", "md", "csv", "json", "latex"])
def test_views_in_every_format(root, capsys, view, form):
    status, out, _ = run(
        capsys, "--records", root, "--view", view, "--format", form, "--filter", "method=sid"
    )
    assert status == 0 and "sid" in out and "progressive" not in out


def test_a_view_without_rows_says_what_is_missing(root, capsys):
    assert run(capsys, "--records", root, "--view", "profile")[::2] == (
        1, "error: --view profile: nothing to show: the records have no two suites at one budget\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--format", "html"], "name a file with --out"),
        (["--format", "parquet"], "name a file with --out"),
        (["--out", "x.html", "--sort", "swd"], "does not go with --sort"),
        (["--view", "paretto"], "did you mean 'pareto'"),
        (["--view", "anytime", "--sort", "swd"], "does not go with --sort"),
        (["--write", "--view", "pareto"], "does not go with --view"),
    ],
)
def test_options_that_do_not_go_together(root, capsys, arguments, said):
    status, _, err = run(capsys, "--records", root, *arguments)
    assert status == 2 and said in err


@pytest.mark.parametrize("name", ["a.html", "a.tex", "a.parquet"])
def test_files_of_the_other_formats(root, tmp_path, capsys, name):
    assert run(capsys, "--records", root, "--out", tmp_path / name)[0] == 0
    assert b"sid" in (tmp_path / name).read_bytes()
