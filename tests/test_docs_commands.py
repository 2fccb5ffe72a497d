"""Every command that the documents show is run, with what the commands before it on its page made."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

import file_server
import pytest
from documented import PAGES, ROOT, Command, commands, differs, elsewhere, inline, text_of
from documented_files import small_gmm2d, write_files, write_published

import bench.suite
from bench.cli import VERBS, command, main
from bench.cli.teach import parts_of

pytestmark = pytest.mark.usefixtures("one_thread")

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = set(PROJECT["optional-dependencies"])
SAVED = re.compile(r"save it as `([\w.-]+)`:\n\n```toml\n(.*?)```", re.DOTALL)  # files that a page asks for
RUN_PAGES = [page for page in PAGES if any(each.words[0] == "bench" for each in commands(page))]

# The classes of commands. What is in none of them fails the test of its page.
AS_IT_STANDS = frozenset(VERBS) - {"run", "prepare", "teach"}
TRAINS = {"teach"}  # for hours: what it names is checked; tests/text_to_image/test_shapes_training.py trains
ADDED = {  # words that make a command small, or answer its question; none that a page shows is left out
    "run": ("--smoke", "--yes"),
    "prepare": ("--yes",),
}
PUBLISHED = (
    "imagenet64",
    "my-faces.toml",
)  # suites that run on small files of the published formats, in one step
FAILS = {  # exit status, and words of the message that the page tells of
    "bench run --suite gmm2d --budget quick --launcher slurm --slurm partition=gpu --slurm account=lab": (
        2,
        "'sbatch' is not on the PATH",
    ),
    'bench run --suite coco2014-30k --method "lcm[weights=published]" --nfe 4': (3, "6 assets are missing"),
    "bench run --suite imagenet64 --method dmd2 --compile": (3, "4 assets are missing"),
    'bench run --suite sdxl-coco10k --method "dmd2[weights=published]" --nfe 4': (3, "5 assets are missing"),
}
HEAVY = {  # left to the slow test, which leaves nothing out
    ("CONTRIBUTING.md", "bench check"),
    ("CONTRIBUTING.md", "bench run"),
    ("docs/add-a-method.md", "bench check"),
    ("docs/add-a-method.md", "bench run"),
    ("docs/add-a-method.md", "bench leaderboard gmm2d --records runs"),
    ("docs/add-a-metric.md", "bench check"),
    ("docs/add-a-metric.md", "bench leaderboard gmm2d --records runs"),
    ("docs/add-a-metric.md", "bench run"),
    ("docs/add-a-suite.md", "bench plan --suite my-faces.toml"),
    ("docs/add-a-suite.md", "bench run --suite my-faces.toml"),
    ("docs/command-line.md", "bench check"),
    ("docs/command-line.md", "bench measure samples.zip"),
    ("docs/command-line.md", "bench plan"),
    ("docs/command-line.md", "bench run"),
    ("docs/command-line.md", "bench shift"),
    ("docs/cost.md", "bench plan"),
    ("docs/quick-start.md", "bench info runs"),
    ("docs/quick-start.md", "bench leaderboard digits --records runs"),
    ("docs/quick-start.md", "bench leaderboard gmm2d"),
    ("docs/quick-start.md", "bench plan"),
    ("docs/quick-start.md", "bench run"),
    ("docs/scale.md", "bench run --suite gmm2d --budget quick --jobs"),
    ("docs/scale.md", "bench run --suite gmm2d --method sid"),
    ("docs/submit.md", "bench verify"),
    ("docs/suites/real.md", "bench run"),
    ("docs/suites/sdxl-coco10k.md", "bench plan"),
    ("docs/suites/shapes.md", "bench run"),
}
SHELL = {"source .venv/bin/activate"}  # lines of shell that are no command of ours
SEEDED = ("docs/command-line.md", "docs/submit.md")  # pages whose reader has finished runs of gmm2d
OWN = (
    "submit",
    "verify",
    "publish",
    "shift",
    "info",
)  # verbs that take these runs, which are of the tiny gmm2d


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout and files in ``home``, finished runs in ``runs``, published files in ``mirror``."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        write_files(folder / "home")
        write_published(folder / "mirror", patch)
        with pytest.MonkeyPatch.context() as small:
            small.setattr(bench.suite, "parse_suite", small_gmm2d(folder))
            words = ["--method", "progressive", "--nfe", "1,2", "--no-references", "--threads", "1"]
            assert main(["run", "--suite", "gmm2d", *words, "--out", str(folder / "runs")]) == 0
        yield folder


@pytest.fixture
def home(reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the reader stands in, with a cache of its own."""
    shutil.copytree(reader / "home", tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    for name in ("BENCH_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("BENCH_MIRROR", str(reader / "mirror"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "home"


def resolved(words: list[str], reader: Path, address: str) -> list[str]:
    """Words with what stands for something of the reader's replaced by it."""
    stands = {"https://mirror.example/assets": address, "/data/mirror": str(reader / "mirror")}
    (cell,) = (path.parent.name for path in (reader / "runs").glob("*/*/record.json"))
    zips = [str(path) for path in Path("submissions").glob("*.zip")]
    made = []
    for word in words:
        word = (
            zips[0] if word.startswith("submissions/") and word.endswith(".zip") else stands.get(word, word)
        )
        made.append(word.replace("0123456789abcdef", cell))
    return made


def added(words: list[str], whole: bool) -> list[str]:
    """What is added to a command, so that it is small."""
    more = [word for word in ADDED.get(words[0], ()) if word not in words]
    if words[0] != "run":
        return more
    if words[words.index("--suite") + 1] in PUBLISHED:
        return [*more, "--no-references", "--nfe", "1"]
    return more if whole or "--no-references" in words else [*more, "--no-references"]


def reading(words: list[str], reader: Path) -> object:
    """How suite files are read for a command: where it takes finished runs, gmm2d is their tiny suite."""
    own = words[0] == "publish" or any("runs/" in word or "submissions" in word for word in words)
    if words[0] in OWN and (own or "--runs" in words):
        return small_gmm2d(reader)
    return bench.suite.parse_suite


def run(each: Command, reader: Path, address: str, whole: bool) -> int:
    """Run a command of the bench in this process; its exit status."""
    words = each.words[1:]
    assert words[0] in AS_IT_STANDS | set(ADDED), f"{each}: its verb is in no class of {Path(__file__).name}"
    words = resolved(words, reader, address) + added(words, whole)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.suite, "parse_suite", reading(words, reader))
        return main(words)


def check(each: Command, reader: Path, address: str, whole: bool, output: pytest.CaptureFixture[str]) -> None:
    """Run a command; compare status and output with what its page says."""
    output.readouterr()
    status = run(each, reader, address, whole)
    printed = output.readouterr()
    expected, message = FAILS.get(each.text, (0, ""))
    assert status == expected, f"{each}: ended with {status}, expected {expected}: {printed.out}{printed.err}"
    assert message in printed.err
    if each.printed:
        wrong = differs(each.printed, printed.out)
        assert not wrong, f"{each}: the page says it prints {wrong}"


def play(page: str, reader: Path, whole: bool, output: pytest.CaptureFixture[str]) -> None:
    """Run the commands of a page in their order; without ``whole`` all but the heavy ones."""
    if page in SEEDED:
        shutil.copytree(reader / "runs", "runs")
    for name, text in SAVED.findall(text_of(page)):
        Path(name).write_text(text, encoding="utf-8")
    with file_server.serving() as server:
        for path in (reader / "mirror").rglob("*"):
            if path.is_file():
                server.files[path.relative_to(reader / "mirror").as_posix()] = path.read_bytes()
        for each in commands(page):
            heavy = any(each.page == page and each.text.startswith(text) for page, text in HEAVY)
            if each.words[0] == "bench" and each.words[1] not in TRAINS and (whole or not heavy):
                check(each, reader, server.address, whole, output)


@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_of_a_page_run(
    page: str, reader: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(page, reader, False, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN_PAGES)
def test_commands_of_a_page_run_whole(
    page: str, reader: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play(page, reader, True, capsys)


@pytest.mark.parametrize("page", PAGES)
def test_no_command_escapes(page: str) -> None:
    """All are in blocks of shell, and of a class."""
    assert elsewhere(page) == [], f"{page}: put commands into blocks of sh or console"
    for each in commands(page):
        known = each.words[0] in CHECKED or each.text in SHELL
        assert known, f"{each}: in no class of {Path(__file__).name}: run it, check it, or name it there"
        if each.words[0] in CHECKED:
            CHECKED[each.words[0]](each.words[1:], str(each))


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_sentences_exist(page: str) -> None:
    for text in inline(page):
        words = text.split() if text.startswith("pip") else re.sub(r"[\[\]|]|\.\.\.", " ", text).split()
        words = words[2:] if words[:2] == ["python", "-m"] else words
        CHECKED[words[0]](words[1:], f"{page}: `{text}`")


@pytest.mark.parametrize(("page", "text"), sorted(HEAVY))
def test_what_is_heavy_is_on_its_page(page: str, text: str) -> None:
    assert any(each.text.startswith(text) for each in commands(page))


@pytest.mark.parametrize("text", FAILS)
def test_what_fails_is_on_a_page(text: str) -> None:
    assert text in {each.text for page in PAGES for each in commands(page)}


def verb_exists(words: list[str], where: str) -> None:
    """The verb is one, and has these options."""
    if not words or words[0].isupper() or words[0].startswith("-"):
        assert set(words[1:]) <= {"--help"} or words[:1] == ["VERB"], where
        return
    assert words[0] in VERBS, f"{where}: no such verb"
    params = command().get_command(None, words[0]).params
    known = {name for param in params for name in (*param.opts, *param.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    if words[0] in TRAINS and "--part" in words:
        suite, part = (words[words.index(option) + 1] for option in ("--suite", "--part"))
        assert part in parts_of(suite), f"{where}: no such part"
    assert given <= {*known, "--debug", "--help"}, f"{where}: no such option: {sorted(given - known)}"


def target_exists(words: list[str], where: str) -> None:
    """A target of the Makefile, with a line in its help."""
    for target in words:
        assert re.search(rf"^{target}:.*##", MAKEFILE, re.MULTILINE), f"{where}: no such target"


def extras_exist(words: list[str], where: str) -> None:
    """``pip install`` of this package, with extras that it has."""
    assert words[0] == "install", where
    for word in (word.strip("'") for word in words[1:] if not word.startswith("-")):
        name, _, extras = word.rstrip("]").partition("[")
        assert name in (".", PROJECT["name"]), f"{where}: not this package"
        assert set(filter(None, extras.split(","))) <= EXTRAS, f"{where}: no such extra"


def launched(words: list[str], where: str) -> None:
    """``torchrun ... -m bench VERB ...``, which tests of launching start; here its words are checked."""
    assert "bench" in words and words[words.index("bench") - 1] == "-m", where
    verb_exists(words[words.index("bench") + 1 :], where)


CHECKED = {"bench": verb_exists, "make": target_exists, "pip": extras_exist, "torchrun": launched}


def test_the_makefile_runs_what_exists() -> None:
    """``make tables`` is run below, the site is built by tests/site/test_documents.py."""
    recipes = re.findall(r"^\t.*\$\(BIN\)/bench (.*)$", MAKEFILE, re.MULTILINE)
    assert len(recipes) >= 5
    for text in recipes:
        verb_exists(shlex.split(text), f"Makefile: bench {text}")


def test_the_tables_of_the_makefile_are_made(reader: Path, home: Path) -> None:
    recipe = re.search(r"^tables:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    shutil.copytree(ROOT / "docs", home / "docs", dirs_exist_ok=True)  # boards link to it
    before = {path: path.read_bytes() for path in home.glob("leaderboards/*/README.md")}
    for line in recipe[1].splitlines():
        assert main(shlex.split(line.partition("/bench ")[2])) == 0, line
    assert {path: path.read_bytes() for path in before} == before and len(before) >= 2


def test_lines_of_a_transcript_are_compared() -> None:
    """So that a page which says another thing fails."""
    printed = "a.py\nscore 10.00 ± 1.0†\nnote: x\nend\n"
    assert not differs(("a.py", "score 10.1 ± 1.0†", "note: x", "end"), printed)
    assert not differs(("a.py", "...", "end"), printed) and not differs(
        ("a.py", "score 10 ...", "..."), printed
    )
    for wrong in (
        ("b.py", "..."),
        ("a.py", "score 11 ± 1.0†", "..."),
        ("a.py", "end"),
        ("a.py",),
        ("...", "more"),
    ):
        assert differs(wrong, printed)


def test_a_new_command_does_not_escape() -> None:
    with pytest.raises(AssertionError, match="no such verb"):
        verb_exists(["frobnicate"], "docs/x.md")
    with pytest.raises(AssertionError, match="no such option"):
        verb_exists(["run", "--sweet"], "docs/x.md")
    with pytest.raises(AssertionError, match="no such target"):
        target_exists(["coffee"], "docs/x.md")
    with pytest.raises(AssertionError, match="no such extra"):
        extras_exist(["install", "distillbench[coffee]"], "docs/x.md")
