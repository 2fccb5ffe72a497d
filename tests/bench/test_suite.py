import tomllib
from importlib import resources

import pytest

from bench.errors import UsageError
from bench.suite import load_suite, suite_names

TEXT = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()


def parse(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_suite(str(path))


@pytest.mark.parametrize("name", suite_names())
def test_shipped_suites_are_whole(name):
    suite = load_suite(name)
    assert suite.name == name
    assert suite.column(suite.primary).better in ("lower", "higher")
    assert "real" in suite.anchors
    assert len({column.key for column in suite.metrics}) == len(suite.metrics)
    seeds = range(suite.protocol.seed, suite.protocol.seed + suite.protocol.repeats)
    assert suite.protocol.curve_seed not in seeds


def test_there_is_a_suite_and_its_file_says_what_is_loaded():
    assert load_suite("gmm2d").model_dump(exclude_unset=True)["budgets"] == tomllib.loads(TEXT)["budgets"]


def test_an_unknown_suite_gets_its_nearest():
    with pytest.raises(UsageError, match="unknown suite 'gmm3d'; did you mean 'gmm2d'"):
        load_suite("gmm3d")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"nothing\.toml: cannot read"):
        load_suite(str(tmp_path / "nothing.toml"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "gmm2d"', "name = ", r"mine\.toml: not valid TOML"),
        ('version = "1.0"', 'version = "1"', r"mine\.toml: key 'version'"),
        ("samples = 5000", "samples = 0", r"key 'protocol\.samples': found 0, expected"),
        ("samples = 5000", "sample = 5000", r"protocol: unknown key 'sample'; did you mean 'samples'"),
        ("seeds = 1\n", "seed = 1\n", r"top level: unknown key 'seed'; did you mean 'seeds'"),
        ('primary = "swd"', 'primary = "sdw"', "unknown metric 'sdw'; did you mean 'swd'"),
        ('teacher = "gmm2d"\n', "", r"key 'teacher': found nothing"),
        (
            "[wrappers.ddil]",
            "[wrappers.ddil]\nbatch = 8",
            r"wrappers\.ddil: unknown key 'batch'; known: bases, options",
        ),
    ],
)
def test_a_broken_suite_file_is_explained(tmp_path, old, new, message):
    assert old in TEXT
    with pytest.raises(UsageError, match=message):
        parse(tmp_path, TEXT.replace(old, new, 1))


def test_an_unknown_budget_gets_its_nearest():
    with pytest.raises(UsageError, match="did you mean 'quick'"):
        load_suite("gmm2d").budget("quik")
