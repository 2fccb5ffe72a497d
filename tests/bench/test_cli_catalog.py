import importlib
import json
import re
from importlib import resources

import pytest
from record_factory import record, row

from bench.catalog import METHODS, aliases, canonical_name, find
from bench.cli import main
from bench.errors import AssetError, UsageError
from bench.record import write_record
from bench.references import FILES, bibliography
from bench.shipped import reported_file, shipped_weights

FIELDS = re.compile(r"^  (\w+) = \{(.*)\},?$", re.MULTILINE)


def run(capsys, *arguments):
    status = main([*arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda m: m.name)
def test_the_catalogue_says_what_the_classes_say(method):
    module, _, name = method.target.partition(":")
    cls = getattr(importlib.import_module(module), name)
    assert (cls.name, cls.paper, cls.summary) == (method.name, method.paper, method.summary)
    assert method.paper in bibliography()


def test_names_and_aliases_do_not_clash():
    everything = [*METHODS, *(alias for method in METHODS.values() for alias in method.aliases)]
    assert len(set(everything)) == len(everything)
    assert all(canonical_name(alias) == name for alias, name in aliases().items())


def test_papers_names_are_understood():
    assert find("PD").name == find("Progressive-Distillation").name == find("progressive distillation").name
    assert canonical_name("my-Plugin") == "my-Plugin"
    with pytest.raises(UsageError, match="did you mean 'progressive'"):
        find("progresive")


@pytest.mark.parametrize("key", list(bibliography()))
def test_bibliography_entries_are_whole(key):
    text = bibliography()[key]
    fields = dict(FIELDS.findall(text))
    assert {"title", "author", "year", "url"} <= set(fields)
    assert text.count("{") == text.count("}") and text.isascii()
    if "eprint" in fields:
        assert fields["url"].endswith(fields["eprint"])
        assert fields["year"] == f"20{fields['eprint'][:2]}"


def test_every_entry_of_the_file_is_read():
    texts = ["\n" + reported_file(name).read_text() for name in FILES]
    assert len(bibliography()) == sum(text.count("\n@") for text in texts)


def test_cite_a_method_is_its_paper(capsys):
    assert run(capsys, "cite", "pd") == (0, bibliography()["salimans2022pd"] + "\n", "")


def test_cite_gives_each_entry_once(capsys):
    _, out, _ = run(capsys, "cite", "gmm2d", "sid", "zhou2024sid", "karras2022edm", "gmm2d")
    keys = [
        "distillbench",
        "karras2022edm",
        "zhou2024sid",
        "bonneel2015swd",
        "szekely2013energy",
        "heusel2017fid",
    ]
    assert re.findall(r"^@\w+\{(\S+),", out, re.MULTILINE) == keys
    assert "suite gmm2d@" in out


def test_cite_nothing_is_the_bench(capsys):
    _, out, _ = run(capsys, "cite")
    assert re.findall(r"^@\w+\{(\S+),", out, re.MULTILINE) == ["distillbench", "karras2022edm"]


def test_cite_a_record_names_its_cell(tmp_path, capsys):
    one = record("sid")
    write_record(one, tmp_path / "r.json")
    _, out, _ = run(capsys, "cite", str(tmp_path / "r.json"))
    assert out.startswith(
        f"% sid, seed 0: cell {one.cell} of gmm2d@1.0, budget quick, protocol gmm2d@1\n@misc"
    )
    assert bibliography()["zhou2024sid"] in out


def test_cite_the_unknown_is_status_2_with_the_nearest(tmp_path, capsys):
    assert run(capsys, "cite", "sidd") == (2, "", "error: unknown row 'sidd'; did you mean 'sid'?\n")
    status, _, err = run(capsys, "cite", str(tmp_path / "none.json"))
    assert status == 2 and "none.json: not a readable record" in err


@pytest.mark.parametrize(
    ("what", "head", "word"),
    [
        ("suites", "SUITE", "gmm2d@"),
        ("methods", "METHOD", "zhou2024sid"),
        ("metrics", "METRIC", "swd"),
        ("protocols", "PROTOCOL", "gmm2d@1"),
        ("protocols", "PROTOCOL", "edm-fid50k-train@1     50000    min of 3    provisional"),
        ("assets", "ASSET", "baselines/weights/gmm2d.safetensors"),
    ],
)
def test_lists(capsys, what, head, word):
    status, out, err = run(capsys, "list", what)
    assert (status, err) == (0, "") and out.startswith(head) and word in out
    assert not any(line.endswith(" ") for line in out.splitlines())


def test_list_the_unknown(capsys):
    assert run(capsys, "list", "suite")[::2] == (
        2,
        "error: unknown kind of list 'suite'; did you mean 'suites'?\n",
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gmm2d", ["suite gmm2d@", "quick", "sliced Wasserstein", "plain solvers"]),
        ("gmm2d@1", ["protocol gmm2d@1", "sampling.samples", "5000", "1000; 1001; 1002", "gmm2d@1.0"]),
        ("edm-fid50k-train@1", ["provisional: no digest", "karras2022edm", "repeats.aggregate", "min"]),
        ("swd", ["metric swd", "lower is better", "ranks"]),
        ("sid", ["data-free", "sigma_init=2.5", "noise level", "> 0", "@misc{zhou2024sid", "gmm2d"]),
        ("PD", ["method progressive", "real samples", "1, 2, 4, 8", "serves=1+2+4+8"]),
    ],
)
def test_info(capsys, name, words):
    status, out, err = run(capsys, "info", name)
    assert (status, err) == (0, "")
    assert [word for word in words if word not in out] == []


def test_info_of_a_record_and_of_a_run_folder(tmp_path, capsys):
    one = record("sid", [row(1, 9.0)], notes=["a\x1b[31mnote"], config={"lr": 0.1})
    write_record(one, tmp_path / "record.json")
    status, out, _ = run(capsys, "info", str(tmp_path / "record.json"))
    assert status == 0
    for word in ("student sid", "lr=0.1", "swd 9 [8.9, 9.1]", one.command, "  a[31mnote"):
        assert word in out
    assert "\x1b" not in out
    assert run(capsys, "info", str(tmp_path))[1] == out


def test_info_of_a_suite_file(tmp_path, capsys):
    text = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()
    (tmp_path / "mine.toml").write_text(text)
    assert run(capsys, "info", str(tmp_path / "mine.toml")) == run(capsys, "info", "gmm2d")


def test_info_of_the_unknown(tmp_path, capsys):
    assert run(capsys, "info", "gmm3d")[::2] == (2, "error: unknown name 'gmm3d'; did you mean 'gmm2d'?\n")
    status, _, err = run(capsys, "info", str(tmp_path / "none"))
    assert status == 2 and err.endswith("none: no such file or folder\n")
    status, _, err = run(capsys, "info", str(tmp_path))
    assert status == 2 and err.endswith(": not a record, a suite file or a run's folder\n")


def test_shipped_weights_match_their_records():
    found = shipped_weights()
    assert {"baselines/weights/gmm2d.safetensors"} <= {one.name for one in found}
    for one in found:
        one.verify()


def test_damaged_and_missing_weights_are_named(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"sha256": "0" * 64}))
    (one,) = shipped_weights({"here": tmp_path})
    with pytest.raises(AssetError, match=r"here/a\.safetensors: weight file is missing"):
        one.verify()
    (tmp_path / "a.safetensors").write_bytes(b"x")
    with pytest.raises(AssetError, match=r"here/a\.safetensors: sha256 found 2d71\w+, expected 0000"):
        one.verify()
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(AssetError, match=r"a\.json: no readable 'sha256'"):
        one.verify()
