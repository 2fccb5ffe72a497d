"""Fetching from servers that misbehave: what comes is right or nothing comes, and the cache stays clean."""

import errno
import hashlib
import io
import os
import shutil
import threading
from dataclasses import replace
from urllib.request import Request

import file_server as act
import pytest

from bench.assets import partial as partial_module
from bench.assets.fetch import Fetcher, Silent
from bench.assets.ledger import Ledger
from bench.assets.origins import Folder, Web
from bench.assets.registry import Asset
from bench.assets.store import AssetStore
from bench.assets.transfer import Patience, SafeRedirects
from bench.errors import AssetError

DATA = b"\x80" + bytes(range(256)) * 800 + b"."  # of the form of a pickle
OTHER = b"\x80" + bytes(reversed(range(256))) * 800 + b"."
SHA = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(attempts=3, timeout=0.1, pause=0)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def server():
    with act.serving() as one:
        one.files["net.pkl"] = DATA
        yield one


@pytest.fixture
def store(tmp_path):
    return AssetStore(tmp_path / "cache", tmp_path / "hub")


def asset(server, **changes):
    plain = Asset(
        "lab/net", "teacher", "pickle", "direct", "net.pkl", f"{server.address}/net.pkl",
        None, "", SHA, "MIT", "",
    )  # fmt: skip
    return replace(plain, **changes)


def fetch(store, one, origin=None):
    return Fetcher(store, origin or Web(patience=QUICK), Silent()).fetch(one)


def refused(store, one, origin=None):
    """The message of the error; the cache then holds no file, and no bytes that could not be continued."""
    with pytest.raises(AssetError) as caught:
        fetch(store, one, origin)
    assert caught.value.status == 3 and "\n" not in str(caught.value)
    assert not list((store.root / "files").rglob("*.pkl")) and one.id not in store.ledger().files
    return str(caught.value)


def left(store):
    folder = store.root / "partial"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_a_file_is_fetched_once_and_noted(server, store):
    one = asset(server)
    path = fetch(store, one)
    assert path == store.root / "files" / "lab" / "net" / "net.pkl" and path.read_bytes() == DATA
    assert store.ledger().files["lab/net"].sha256 == SHA and left(store) == []
    assert fetch(store, one) == path and len(server.seen) == 1


@pytest.mark.parametrize("broken", [act.half, act.reset, act.stall], ids=lambda a: a.__name__)
def test_a_broken_transfer_goes_on_where_it_stopped(server, store, broken):
    server.acts = [broken]
    assert fetch(store, asset(server)).read_bytes() == DATA
    first, second = server.seen
    assert first[1:] == (None, None) and second[2] == act.tag(DATA)
    start = int(second[1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= len(DATA) // 2 and left(store) == []


def test_it_goes_on_in_a_later_process(server, store):
    server.acts = [act.half, act.status(503), act.status(503), act.status(503)]
    message = refused(store, asset(server))
    assert "HTTP 503" in message and f"{len(DATA) // 2:,} bytes are kept" in message
    assert left(store) == ["lab--net.part", "lab--net.part.json"]
    server.seen.clear()
    assert fetch(store, asset(server)).read_bytes() == DATA
    assert server.ranges == [f"bytes={len(DATA) // 2}-"] and left(store) == []


def test_a_server_that_always_stalls(server, store):
    server.acts = [act.stall] * 9
    message = refused(store, asset(server))
    assert "nothing arrived for 0.1 s, 3 times without progress" in message and "the same command" in message


def test_a_server_that_is_not_there(server, store):
    one = asset(server)
    server.shutdown()
    server.server_close()
    assert "the connection failed" in refused(store, one) and left(store) == []


def test_a_server_that_ignores_ranges(server, store):
    server.acts = [act.half, act.no_ranges]
    assert fetch(store, asset(server)).read_bytes() == DATA
    assert server.ranges == [None, f"bytes={len(DATA) // 2}-"]


@pytest.mark.parametrize("digest", [hashlib.sha256(OTHER).hexdigest(), None])
def test_a_file_that_changes_between_attempts_is_begun_again(server, store, digest):
    """Two halves of two files are never joined: If-Range makes the server send the new one whole."""

    def then_change(handler, data):
        act.half(handler, data)
        server.files["net.pkl"] = OTHER

    server.acts = [then_change]
    assert fetch(store, asset(server, sha256=digest)).read_bytes() == OTHER


def test_a_change_that_the_server_hides_is_seen_by_the_tag(server, store):
    """A server that ignores If-Range and sends the rest of the new file."""

    def then_change(handler, data):
        act.half(handler, data)
        server.files["net.pkl"] = OTHER

    def rest(handler, data):
        first = len(data) // 2
        span = f"bytes {first}-{len(data) - 1}/{len(data)}"
        handler.start(206, len(data) - first, Content_Range=span, ETag=act.tag(data))
        handler.wfile.write(data[first:])

    server.acts = [then_change, rest]
    assert fetch(store, asset(server, sha256=None)).read_bytes() == OTHER
    assert server.ranges[-1] is None


def test_without_a_validator_only_a_known_digest_lets_bytes_be_joined(server, store):
    server.acts = [act.half_without_validator]
    assert fetch(store, asset(server)).read_bytes() == DATA
    assert server.ranges == [None, f"bytes={len(DATA) // 2}-"]
    server.seen.clear()
    server.acts = [act.half_without_validator]
    assert fetch(store, asset(server, id="lab/unknown", sha256=None)).read_bytes() == DATA
    assert server.ranges == [None, None]


def test_a_part_that_was_not_asked_for(server, store):
    server.acts = [act.half, act.wrong_range]
    assert fetch(store, asset(server)).read_bytes() == DATA
    assert server.ranges == [None, f"bytes={len(DATA) // 2}-", None]


def test_a_server_that_promises_more_than_it_has(server, store):
    server.acts = [act.too_long] * 9
    message = refused(store, asset(server))
    assert f"the transfer ended after {len(DATA):,} of {len(DATA) + 100:,} bytes" in message


def test_a_server_that_promises_less_than_it_has(server, store):
    """Without a digest the form of the file tells; the size does where it is published."""
    server.acts = [act.too_short]
    assert "it is a pickle that ends too early" in refused(store, asset(server, sha256=None))
    server.acts = [act.too_short]
    message = refused(store, asset(server, size=len(DATA)))
    assert f"the server has {len(DATA) - 100:,} bytes, expected {len(DATA):,}" in message
    assert left(store) == []


def test_a_partial_file_longer_than_the_file(server, store):
    server.acts = [act.half] + [act.status(500)] * 3
    refused(store, asset(server))
    server.files["net.pkl"] = DATA[: len(DATA) // 2]  # the same tag, a shorter file
    server.acts = [act.status(416)]
    message = refused(store, asset(server))
    assert server.ranges[-2:] == [f"bytes={len(DATA) // 2}-", None]
    assert f"{server.address}/net.pkl ({len(DATA) // 2:,} bytes): it is a pickle that ends too" in message


def test_a_wrong_digest_shows_both(server, store):
    message = refused(store, asset(server, sha256="a" * 64))
    assert f"sha256 found {SHA}, expected {'a' * 64} (published)" in message and left(store) == []


def test_trust_on_first_use(server, store):
    """The first digest is kept; another file under the same name is refused from then on."""
    one = asset(server, sha256=None)
    path = fetch(store, one)
    path.unlink()
    server.files["net.pkl"] = OTHER
    with pytest.raises(
        AssetError, match=rf"found {hashlib.sha256(OTHER).hexdigest()}, expected {SHA} \(of its"
    ):
        fetch(store, one)
    assert not path.exists() and left(store) == []


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("net.pkl", b"\n <!DOCTYPE html><html>Log in</html>", "an HTML page, not the file"),
        ("net.pt", b"<html>gone</html>", "an HTML page, not the file"),
        ("net.zip", b"PK\x03\x04 cut", "a zip that ends too early"),
        ("net.npz", b"\x93NUMPY", "does not begin as a .npz file does"),
        ("net.safetensors", b"\x08" + 7 * b"\0" + b'{"a": 1}', "not that of a .safetensors"),
        ("net.safetensors", b"\xff" * 40, "does not begin as a .safetensors"),
        ("net.txt", b"", "the file is empty"),
    ],
)
def test_a_file_of_another_form(server, store, name, data, reason):
    server.files[name] = data
    one = asset(server, file=name, url=f"{server.address}/{name}", sha256=None)
    assert reason in refused(store, one) and left(store) == []


def test_safetensors_are_whole_or_refused(server, store):
    header = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    good = len(header).to_bytes(8, "little") + header + b"\1\2\3\4"
    one = asset(server, file="a.safetensors", url=f"{server.address}/a.safetensors", sha256=None)
    server.files["a.safetensors"] = good[:-1]
    assert "ends too early or too late" in refused(store, one)
    server.files["a.safetensors"] = good
    assert fetch(store, one).read_bytes() == good


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_a_refusal_is_not_tried_again(server, store, code):
    server.acts = [act.status(code)] * 2
    message = refused(store, asset(server))
    assert message.startswith("lab/net: http://127") and f"HTTP {code}" in message and len(server.seen) == 1


def test_a_file_that_comes_compressed_is_refused(server, store):
    def gzipped(handler, data):
        handler.start(200, len(data), Content_Encoding="gzip")
        handler.wfile.write(data)

    server.acts = [gzipped]
    assert "sends the file compressed, though asked not to" in refused(store, asset(server))


def test_redirects_are_followed_with_the_range(server, store):
    server.files["there/net.pkl"] = DATA
    over = act.redirect(f"{server.address}/there/net.pkl")
    server.acts = [over, act.half, over]
    assert fetch(store, asset(server)).read_bytes() == DATA
    assert [each[0] for each in server.seen] == ["net.pkl", "there/net.pkl"] * 2
    assert server.ranges[-1] == f"bytes={len(DATA) // 2}-"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file:///etc/hostname", "is not allowed"),
        ("ftp://localhost/net.pkl", "from http to ftp, which is not safe"),
    ],
)
def test_a_redirect_away_from_the_web_is_refused(server, store, place, reason):
    server.acts = [act.redirect(place)]
    assert reason in refused(store, asset(server))


def test_a_redirect_to_a_place_without_encryption_is_refused():
    asked = Request("https://somewhere.example/net.pkl")
    with pytest.raises(AssetError, match="from https to http, which is not safe"):
        SafeRedirects().redirect_request(asked, io.BytesIO(), 302, "", {}, "http://somewhere.example/net.pkl")


def full(file, data):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(server, store, monkeypatch):
    monkeypatch.setattr(partial_module, "write_all", full)
    message = refused(store, asset(server))
    assert "the disk is full; free space, or set BENCH_CACHE" in message and left(store) == []
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "*")
    assert fetch(store, asset(server)).read_bytes() == DATA


def test_too_little_room_is_seen_before_anything_is_sent(server, store, monkeypatch):
    usage = shutil.disk_usage(store.root.parent)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = refused(store, asset(server, size=len(DATA)))
    assert f"{len(DATA):,} bytes are still to come" in message and "1,000 free" in message
    assert server.seen == []


def test_a_cache_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("in the way")
    store = AssetStore(tmp_path / "file" / "cache", tmp_path / "hub")
    message = refused(store, asset(server))
    assert "the cache cannot be written (Not a directory); set BENCH_CACHE" in message


def test_a_read_only_cache(server, store, monkeypatch):
    def read_only(*arguments, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("pathlib.Path.mkdir", read_only)
    assert "the cache cannot be written (Read-only file system)" in refused(store, asset(server))
    assert server.seen == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write everywhere")
def test_a_folder_without_permission(server, store):
    store.root.mkdir()
    store.root.chmod(0o500)
    assert "the cache cannot be written (Permission denied)" in refused(store, asset(server))


def test_a_read_only_cache_that_has_the_file_is_enough(server, store, monkeypatch):
    one = asset(server)
    path = fetch(store, one)
    ledger = store.root / "assets.lock.json"
    ledger.unlink()
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    assert store.verified(one) == path and not ledger.exists()


def test_a_damaged_file_in_the_cache_is_found(server, store):
    one = asset(server)
    path = fetch(store, one)
    path.write_bytes(OTHER)
    with pytest.raises(AssetError, match=f"sha256 found {hashlib.sha256(OTHER).hexdigest()}, expected {SHA}"):
        fetch(store, one)


def test_a_broken_lock_file_is_named(server, store):
    store.root.mkdir()
    (store.root / "assets.lock.json").write_text("{}")
    with pytest.raises(AssetError, match=r"assets\.lock\.json: not a readable lock file"):
        fetch(store, asset(server))


def test_a_mirror_has_the_layout_of_the_cache(server, store, tmp_path):
    server.files["mirror/lab/net/net.pkl"] = DATA
    one = asset(server, url="https://nowhere.invalid/net.pkl")
    mirror = Web(f"{server.address}/mirror/", QUICK)
    assert fetch(store, one, mirror).read_bytes() == DATA
    other = AssetStore(tmp_path / "second", tmp_path / "hub")
    copied = fetch(other, one, Folder(store.root / "files"))
    assert copied.read_bytes() == DATA and copied.is_relative_to(other.root) and len(server.seen) == 1


def test_a_folder_without_the_file(server, store, tmp_path):
    message = refused(store, asset(server), Folder(tmp_path))
    assert f"mirror has no {tmp_path / 'lab/net/net.pkl'}" in message


def test_a_mirror_that_cannot_be_read_leaves_nothing(server, store, tmp_path, monkeypatch):
    (tmp_path / "lab" / "net" / "net.pkl").parent.mkdir(parents=True)
    (tmp_path / "lab" / "net" / "net.pkl").write_bytes(DATA)

    class Broken(io.BufferedReader):
        def read(self, size=-1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def opened(path, *arguments, **options):
        return Broken(io.FileIO(path)) if path.name == "net.pkl" else open(path, *arguments, **options)  # noqa: PTH123

    monkeypatch.setattr("pathlib.Path.open", opened)
    message = refused(store, asset(server), Folder(tmp_path))
    assert "net.pkl: cannot be read (Input/output error)" in message and left(store) == []


def test_two_at_once_fetch_once(server, store):
    """The second waits for the first and finds the file."""
    inside, seen = threading.Event(), []

    def slow(handler, data):
        inside.set()
        server.release.wait(0.1)
        act.whole(handler, data)

    server.acts = [slow]
    fetchers = [Fetcher(store, Web(patience=Patience(timeout=5)), Silent()) for _ in range(2)]

    def run(fetcher):
        seen.append(fetcher.fetch(asset(server)))

    threads = [threading.Thread(target=run, args=(fetcher,)) for fetcher in fetchers]
    threads[0].start()
    assert inside.wait(5)
    threads[1].start()
    for thread in threads:
        thread.join(10)
    assert len(seen) == 2 and len(server.seen) == 1
    assert fetchers[1].watcher.lines == ["lab/net: waiting for another process that fetches it"]


def test_progress_is_reported(server, store):
    class Counts(Silent):
        def bytes(self, asset, done, total):
            steps.append((done, total))

    steps: list[tuple[int, int]] = []
    Fetcher(store, Web(patience=QUICK), Counts()).fetch(asset(server))
    assert steps[-1] == (len(DATA), len(DATA)) and [done for done, _ in steps] == sorted(d for d, _ in steps)


def test_the_ledger_round_trips(store, server):
    fetch(store, asset(server))
    ledger = Ledger.read(store.root)
    ledger.licences.append("MIT")
    ledger.write(store.root)
    assert Ledger.read(store.root) == ledger
