"""Files that several threads write at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from bench.atomic import write_atomic

THREADS = 8


@pytest.mark.parametrize("content", ["text ä", b"\x00\xff"])
def test_text_and_bytes(tmp_path: Path, content: str | bytes) -> None:
    write_atomic(tmp_path / "new" / "file", content)
    read = (tmp_path / "new" / "file").read_bytes()
    assert read == (content.encode() if isinstance(content, str) else content)


def test_threads_that_write_one_file_do_not_take_each_others_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All have written their part before the first one moves it: the race at its worst."""
    together, move = Barrier(THREADS, timeout=20), os.replace

    def late(*paths: Path) -> None:
        together.wait()
        move(*paths)

    monkeypatch.setattr(os, "replace", late)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda i: write_atomic(tmp_path / "file", str(i) * 9), range(THREADS)))
    assert (tmp_path / "file").read_text() in {str(i) * 9 for i in range(THREADS)}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
