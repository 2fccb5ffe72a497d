"""``bench prepare`` and ``bench list assets``: what is asked, said and required; no socket when offline."""

import csv
import hashlib
import json
import os
import socket
import subprocess
import sys
import textwrap
from importlib import resources

import file_server as act
import pytest
from pydantic import BaseModel

from bench.assets.needs import require
from bench.assets.origins import Folder, Web, origin_of
from bench.assets.places import cache_root, hub_root, in_hub, is_offline
from bench.assets.progress import PlainWatcher
from bench.assets.registry import assets, find, parse
from bench.assets.store import AssetStore
from bench.cli import main
from bench.cli import prepare as verb
from bench.errors import AssetError, UsageError
from bench.files import proven_digest
from bench.report.assets import asset_lines
from bench.suite import load_suite, suite_names
from metrics.protocols.record import Asset as ProtocolAsset
from metrics.protocols.registry import shipped_protocols

TEACHER, OPEN, ZIP = "edm/cifar10-cond-vp", "adm/imagenet64-cond", "data/edm/imagenet-64x64"
EMBEDDED = {load_suite(name).protocol.id for name in suite_names()}  # these bring their own files
CONTENT = {
    TEACHER: b"\x80\x04N.",
    OPEN: b"PK is not what an old torch file begins with"[3:],
    ZIP: b"PK\x05\x06" + bytes(18),  # an empty zip
}


def place(id_):
    return f"{id_}/{find(id_).file}"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of its own, and no other setting."""
    for name in ("BENCH_MIRROR", "BENCH_OFFLINE", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@pytest.fixture
def mirror(tmp_path):
    """A folder with all three files."""
    for id_, data in CONTENT.items():
        (tmp_path / "mirror" / place(id_)).parent.mkdir(parents=True)
        (tmp_path / "mirror" / place(id_)).write_bytes(data)
    return tmp_path / "mirror"


@pytest.fixture
def no_sockets(monkeypatch):
    """Any socket is an error; returns what was tried."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise AssertionError("a socket was opened")

    for name in ("socket", "create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    return tried


def run(capsys, *arguments):
    status = main([*arguments])
    out, err = capsys.readouterr()
    return status, out, err


def suite_file(tmp_path, *names):
    text = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(f"assets = {json.dumps(names)}\n{text}")
    return str(path)


def test_the_table_is_whole():
    with (resources.files("bench") / "data" / "assets.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(assets()) == len(rows) > 180  # every id once
    for one in assets().values():
        assert one.url.startswith(("https://", "http://images.cocodataset.org/")) or (one.fetch == "manual")
        assert one.licence and "/" not in one.file and (one.url or one.note)
    files = [(one.id, one.file) for one in assets().values() if one.file]
    assert len(set(files)) == len(files)


def files_of(part):
    """Assets anywhere in a protocol."""
    if isinstance(part, ProtocolAsset):
        yield part
    elif isinstance(part, BaseModel):
        for _, value in part:
            yield from files_of(value)
    elif isinstance(part, tuple):
        for value in part:
            yield from files_of(value)


@pytest.mark.parametrize("name", sorted(set(shipped_protocols()) - EMBEDDED))
def test_files_of_protocols_are_in_the_table(name):
    for one in files_of(shipped_protocols()[name]):
        known = find(one.id).sha256
        assert None in (one.sha256, known) or one.sha256 == known, one.id


def test_files_of_extractors_are_in_the_table():
    from metrics.features.registry import ENTRIES

    for entry in ENTRIES.values():
        if entry.asset:
            assert find(entry.asset).file == entry.file
            assert find(entry.asset).sha256 == entry.sha256


@pytest.mark.parametrize(
    "change", [{"fetch": "magic"}, {"size": "big"}, {"sha256": "abc"}, {"fetch": "direct", "file": ""}]
)
def test_a_broken_line_of_the_table_is_an_error(change):
    row = {"id": "a", "kind": "", "format": "", "fetch": "direct", "file": "f", "url": "", "size": "",
           "sha256": "", "licence": "", "note": ""}  # fmt: skip
    assert parse(row).sha256 is None
    with pytest.raises(ValueError, match="asset a: "):
        parse(row | change)


def test_licences():
    assert find(TEACHER).restricted and not find(OPEN).restricted and find(ZIP).restricted
    assert find(TEACHER).licence_text == "CC BY-NC-SA 4.0: no commercial use"
    assert find("inception/nvidia-torchscript").restricted
    assert find("sdxl-turbo").licence_text == "not seen: read it at the source"
    assert find(OPEN).licence_text == "MIT"


def test_an_unknown_name_has_the_nearest(capsys):
    status, _, err = run(capsys, "prepare", "--asset", "edm/cifar10-cond-vq")
    assert status == 2 and "--asset: unknown asset 'edm/cifar10-cond-vq'; did you mean 'edm/cifar10-" in err


def test_nothing_named(capsys):
    status, _, err = run(capsys, "prepare")
    assert status == 2 and "name what to prepare, with --suite S or --asset ID" in err


def test_a_suite_that_needs_nothing(capsys):
    assert run(capsys, "prepare", "--suite", "gmm2d") == (
        0,
        f"suite {load_suite('gmm2d').id} needs no files\n",
        "",
    )


def test_prepare_a_suite_from_a_folder(tmp_path, cache, mirror, capsys, no_sockets):
    suite = suite_file(tmp_path, TEACHER, ZIP)
    again = ("prepare", "--suite", suite, "--mirror", str(mirror), "--yes")
    status, out, err = run(capsys, *again)
    assert (status, err) == (0, "")
    lines = [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")]
    assert ["to", "fetch"] in lines and ["fetched", TEACHER] in lines and ["fetched", ZIP] in lines
    assert "no commercial use" in out.split("fetched")[0]
    for id_ in (TEACHER, ZIP):
        assert (cache / "files" / place(id_)).read_bytes() == CONTENT[id_]
    assert run(capsys, *again) == (0, f"present {TEACHER}\npresent {ZIP}\n", "")


def test_prepare_from_an_address(cache, capsys):
    with act.serving() as server:
        server.files = {f"m/{place(id_)}": data for id_, data in CONTENT.items()}
        named = [word for id_ in CONTENT for word in ("--asset", id_)]
        status, out, _ = run(capsys, "prepare", *named, "--mirror", f"{server.address}/m", "--yes")
        assert status == 0 and out.count("fetched") == 3
    assert (cache / "files" / place(OPEN)).read_bytes() == CONTENT[OPEN]


def test_one_failure_does_not_stop_the_others(cache, mirror, capsys):
    (mirror / place(TEACHER)).unlink()
    (mirror / place(ZIP)).write_bytes(b"<html>")
    named = [word for id_ in CONTENT for word in ("--asset", id_)]
    status, out, err = run(capsys, "prepare", *named, "--mirror", str(mirror), "--yes")
    assert status == 3 and f"fetched {OPEN}" in out and err.count("\n") == 1
    assert f"{TEACHER}: mirror has no" in err and f"{ZIP}: " in err and "an HTML page" in err
    assert not (cache / "files" / ZIP).exists() and list((cache / "partial").iterdir()) == []


def test_a_licence_is_asked_for_once_and_before_anything_comes(cache, mirror, capsys, monkeypatch):
    ask = ("prepare", "--asset", TEACHER, "--mirror", str(mirror))
    status, out, err = run(capsys, *ask)  # no terminal to ask at
    assert status == 2 and "forbid commercial use: CC BY-NC-SA 4.0; agree with --yes" in err
    assert out.startswith(f"to fetch {TEACHER} ") and not (cache / "files").exists()
    asked = []

    def answer(yes):
        def agree(licences):
            asked.append(licences)
            return yes

        monkeypatch.setattr(verb, "agree", agree)

    answer(False)
    status, _, err = run(capsys, *ask)
    assert status == 2 and "not agreed to: CC BY-NC-SA 4.0; nothing was fetched" in err
    answer(True)
    assert run(capsys, *ask)[0] == 0
    (cache / "files" / place(TEACHER)).unlink()
    assert run(capsys, *ask)[0] == 0
    assert asked == [["CC BY-NC-SA 4.0"]] * 2


def test_offline_names_every_missing_file_its_size_and_place(tmp_path, cache, capsys, no_sockets):
    suite = suite_file(tmp_path, "edm/imagenet64-cond-adm", ZIP, "inception/nvidia-torchscript")
    status, out, err = run(capsys, "prepare", "--suite", suite, "--offline")
    assert (status, out) == (3, "") and err.startswith("error: 3 assets are missing: ")
    for id_, size in (("edm/imagenet64-cond-adm", "~1.1 GB"), (ZIP, "size unknown"),
                      ("inception/nvidia-torchscript", "95.6 MB")):  # fmt: skip
        assert f"{id_} ({size}) at {cache / 'files' / place(id_)}" in err
    assert "Offline" in err and no_sockets == [] and not cache.exists()


@pytest.mark.parametrize("name", ["BENCH_OFFLINE", "HF_HUB_OFFLINE"])
def test_variables_mean_offline(capsys, monkeypatch, no_sockets, name):
    monkeypatch.setenv(name, "1")
    assert run(capsys, "prepare", "--asset", OPEN)[0] == 3 and no_sockets == []


def test_files_put_by_hand_are_verified_offline(cache, capsys, no_sockets):
    path = cache / "files" / place(TEACHER)
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[TEACHER])
    assert run(capsys, "prepare", "--asset", TEACHER, "--offline")[:2] == (0, f"present {TEACHER}\n")
    path.write_bytes(b"\x80\x04\x88.")
    status, _, err = run(capsys, "prepare", "--asset", TEACHER, "--offline")
    first, found = (hashlib.sha256(data).hexdigest() for data in (CONTENT[TEACHER], b"\x80\x04\x88."))
    assert status == 3 and f"sha256 found {found}, expected {first} (of its first use" in err


def test_what_cannot_be_fetched_says_how_to_get_it(cache, capsys, tmp_path):
    status, _, err = run(capsys, "prepare", "--asset", ZIP, "--asset", "sdxl-turbo")
    assert status == 3 and f"put it at {cache / 'files' / place(ZIP)}" in err and "dataset_tool.py" in err
    assert f"'hf download stabilityai/sdxl-turbo', into the cache {tmp_path / 'hf' / 'hub'}" in err


def test_a_run_without_its_files_is_status_3(tmp_path, cache, capsys, no_sockets):
    suite = suite_file(tmp_path, TEACHER, OPEN)
    status, _, err = run(capsys, "run", "--suite", suite, "--offline", "--out", str(tmp_path / "runs"))
    assert status == 3 and err.startswith("error: 2 assets are missing: ")
    assert all(f"at {cache / 'files' / place(id_)}" in err for id_ in (TEACHER, OPEN))
    assert f"'bench prepare --suite {suite}'" in err and not (tmp_path / "runs").exists()
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_a_suite_with_an_unknown_asset(tmp_path, capsys):
    status, _, err = run(capsys, "prepare", "--suite", suite_file(tmp_path, "edm/nothing"))
    assert status == 2 and "unknown asset 'edm/nothing'" in err


def test_assets_of_a_suite_do_not_name_its_cells(tmp_path):
    from bench.cell import reference_cells

    plain, with_files = load_suite("gmm2d"), load_suite(suite_file(tmp_path, TEACHER))
    assert [c.id for c in reference_cells(plain, "quick")] == [
        c.id for c in reference_cells(with_files, "quick")
    ]
    assert with_files.assets == (TEACHER,) and plain.assets == ()


def test_require_gives_paths(cache, mirror, capsys):
    assert run(capsys, "prepare", "--asset", OPEN, "--mirror", str(mirror))[0] == 0
    assert require([OPEN], "") == {OPEN: cache / "files" / place(OPEN)}
    with pytest.raises(AssetError, match=r"^1 asset is missing: .* at .*\. Get it$"):
        require([OPEN, TEACHER], "Get it")


def test_list_shows_what_is_here(cache, mirror, capsys):
    assert run(capsys, "prepare", "--asset", TEACHER, "--mirror", str(mirror), "--yes")[0] == 0
    (cache / "files" / OPEN).mkdir(parents=True)
    (cache / "files" / place(OPEN)).write_bytes(b"x")
    (cache / "partial").mkdir(exist_ok=True)
    (cache / "partial" / "edm--ffhq64-uncond-vp.part").write_bytes(b"x")
    status, out, err = run(capsys, "list", "assets")
    lines = {line.split()[0]: line.split() for line in out.splitlines()}
    assert (status, err) == (0, "")
    states = {id_: lines[id_][1] for id_ in (TEACHER, OPEN, "edm/ffhq64-uncond-vp", ZIP)}
    assert list(states.values()) == ["present", "unverified", "partial", "missing"]
    assert lines[TEACHER][-1] == hashlib.sha256(CONTENT[TEACHER]).hexdigest()
    assert lines["lcm/lora-sd15"][2:4] == ["135", "MB"] and lines[OPEN][-3:] == ["on", "first", "use"]
    assert lines["baselines/weights/digits.safetensors"][1] == "shipped"


def test_listing_and_preparing_load_no_numerics(mirror):
    code = f"""
        import sys
        from bench.cli import main
        for command in (["list", "assets"], ["prepare", "--asset", {OPEN!r}, "--mirror", {str(mirror)!r}]):
            assert main(command) == 0, command
        loaded = {{"torch", "numpy", "scipy", "pandas"}} & set(sys.modules)
        assert not loaded, loaded
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, capture_output=True)


def test_where_things_are_kept(tmp_path):
    home = {"XDG_CACHE_HOME": str(tmp_path)}
    assert cache_root(home) == tmp_path / "distillbench"
    assert cache_root({**home, "BENCH_CACHE": "/c"}).as_posix() == "/c"
    assert hub_root(home) == tmp_path / "huggingface" / "hub"
    assert hub_root({"HF_HOME": "/h"}).as_posix() == "/h/hub"
    assert hub_root({"HF_HOME": "/h", "HF_HUB_CACHE": "/k"}).as_posix() == "/k"
    with pytest.raises(UsageError, match="XDG_CACHE_HOME: found 'near', expected an absolute path"):
        cache_root({"XDG_CACHE_HOME": "near"})


@pytest.mark.parametrize(("text", "offline"), [("1", True), ("TRUE", True), ("0", False), ("", False)])
def test_offline_values(text, offline):
    assert is_offline({"HF_HUB_OFFLINE": text}) is offline


def test_an_offline_value_that_is_neither():
    with pytest.raises(UsageError, match="BENCH_OFFLINE: found 'maybe', expected 1 or 0"):
        is_offline({"BENCH_OFFLINE": "maybe"})


def test_files_of_the_hubs_own_cache_are_used(tmp_path, capsys, no_sockets):
    """A moving revision by its reference, a fixed one by its commit; folders too."""
    hub, commit = tmp_path / "hf" / "hub", "c" * 40
    main_, fixed = find("sid/cifar10-uncond-alpha1.2"), find("lcm/lora-sdxl")
    repo = hub / "models--UT-Austin-PML--SiD"
    file = repo / "snapshots" / commit / main_.url.split("/resolve/main/")[1]
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\x80\x04N.")
    assert in_hub(main_, hub) is None  # no reference yet
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert in_hub(main_, hub) == file and in_hub(fixed, hub) is None
    assert run(capsys, "prepare", "--asset", main_.id, "--offline")[:2] == (0, f"present {main_.id}\n")
    exact = hub / "models--latent-consistency--lcm-lora-sdxl" / "snapshots" / fixed.url.split("/")[-2]
    exact.mkdir(parents=True)
    (exact / fixed.file).write_bytes(b"x")
    assert in_hub(fixed, hub) == exact / fixed.file
    with pytest.raises(AssetError, match=r"lcm/lora-sdxl: .*does not begin as a \.safetensors"):
        AssetStore.default().verified(fixed)
    folder = hub / "models--stabilityai--sdxl-turbo" / "snapshots" / commit
    folder.mkdir(parents=True)
    (folder.parent.parent / "refs").mkdir()
    (folder.parent.parent / "refs" / "main").write_text(commit)
    assert AssetStore.default().verified(find("sdxl-turbo")) == folder
    (folder.parent.parent / "refs" / "main").write_text("../../../../etc")
    assert in_hub(find("sdxl-turbo"), hub) is None


def test_mirrors(tmp_path):
    assert origin_of("https://mirror.example/a") == Web("https://mirror.example/a")
    assert origin_of(str(tmp_path)) == Folder(tmp_path)
    with pytest.raises(UsageError, match="--mirror: found 'ftp://x', expected an address"):
        origin_of("ftp://x")


def test_an_asset_is_explained(cache, mirror, capsys):
    status, out, _ = run(capsys, "info", TEACHER)
    words = (f"asset {TEACHER}\n", "missing", str(cache / "files" / place(TEACHER)), find(TEACHER).url,
             "no commercial use", "at the first use", "by 'bench prepare'")  # fmt: skip
    assert status == 0 and [word for word in words if word not in out] == []
    assert run(capsys, "prepare", "--asset", TEACHER, "--mirror", str(mirror), "--yes")[0] == 0
    assert f"{hashlib.sha256(CONTENT[TEACHER]).hexdigest()} (first use)" in run(capsys, "info", TEACHER)[1]


def test_a_plan_names_the_assets_of_the_suite(tmp_path, cache):
    lines = asset_lines(load_suite(suite_file(tmp_path, OPEN, "lcm/lora-sdxl")).assets, "")
    assert lines == [f"asset {OPEN}: missing, size unknown", "asset lcm/lora-sdxl: missing, 394 MB"]


def test_bars_on_a_terminal(mirror, monkeypatch, capsys, cache):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    status, _, err = run(capsys, "prepare", "--asset", OPEN, "--mirror", str(mirror))
    assert status == 0 and f"fetched {OPEN}" in " ".join(err.split()) and "bytes" in err


def test_plain_progress_is_a_few_lines(capsys):
    watcher, one = PlainWatcher(), find(OPEN)
    for done in range(0, 1001):
        watcher.bytes(one, done, 1000)
    assert 10 <= len(capsys.readouterr().out.splitlines()) <= 12
    watcher = PlainWatcher()
    for done in range(1, 1001):
        watcher.bytes(one, done, None)
    assert 9 <= len(capsys.readouterr().out.splitlines()) <= 11


def test_a_digest_is_proven_until_the_file_is_touched(mirror, cache):
    assert proven_digest(OPEN) is None
    assert main(["prepare", "--asset", OPEN, "--mirror", str(mirror), "--yes"]) == 0
    assert proven_digest(OPEN) == hashlib.sha256(CONTENT[OPEN]).hexdigest()
    os.utime(cache / "files" / place(OPEN), ns=(1, 1))
    assert proven_digest(OPEN) is None and proven_digest("./own.pkl") is None
