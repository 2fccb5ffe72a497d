"""The committed page is what its records give. Make it again with ``make site``."""

from pathlib import Path

from bench.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "leaderboards" / "index.html"


def test_the_committed_page_is_made_from_the_committed_records(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["leaderboard", "--format", "html", "--out", str(tmp_path / "index.html")]) == 0
    same = (tmp_path / "index.html").read_text() == PAGE.read_text()
    assert same, "leaderboards/index.html is stale: make site"


def test_the_committed_page_is_small():
    assert PAGE.stat().st_size <= 3_000_000
