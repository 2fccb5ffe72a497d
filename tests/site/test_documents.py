"""The site of the documents: built strictly, without network, whole, and loading nothing from elsewhere."""

from __future__ import annotations

import re
import runpy
import shutil
import socket
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

build = pytest.importorskip("mkdocs.commands.build", reason="the extra 'docs' is not installed")
from mkdocs.config import load_config  # noqa: E402

ROOT = Path(__file__).parents[2]
METHODS = sorted(path.stem for path in (ROOT / "docs/methods").glob("*.md") if path.stem != "README")
LOADING = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}
BOARDS = "leaderboards/index.html"  # a page of its own, whose script answers to addresses of rows


class Page(HTMLParser):
    """What a page links to, what it loads, and the places in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if "src" in given:
            self.loads.append(given["src"])
        self.loads += [part.split()[0] for part in given.get("srcset", "").split(",") if part.strip()]
        if tag == "link" and LOADING & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        self.loads += addresses(given.get("style", ""))


def addresses(css: str) -> list[str]:
    """What a style sheet loads."""
    return re.findall(r"url\(\s*['\"]?([^'\")]+)", css) + re.findall(r"@import\s+['\"]([^'\"]+)", css)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setenv("NO_MKDOCS_2_WARNING", "1")
        build.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    return folder


def refuse(*_: Any) -> None:
    raise AssertionError("building the site opened a connection")


@cache
def page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 50
    return [path for path in found if path.name != "404.html"]  # whose addresses are those of a host


def listed(entry: Any) -> list[str]:
    """The pages of a part of the navigation."""
    if isinstance(entry, str):
        return [entry]
    return [name for part in (entry.values() if isinstance(entry, dict) else entry) for name in listed(part)]


def navigation() -> list[str]:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return listed(yaml.safe_load(text.partition("\nnav:\n")[2]))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = [(path, load) for path in pages(site) for load in page(path).loads]
    styles = [(path, load) for path in site.rglob("*.css") for load in addresses(path.read_text())]
    assert len(loads) > 500
    for path, load in [*loads, *styles]:
        if load.startswith("data:"):
            continue
        assert not urlsplit(load).netloc and not urlsplit(load).scheme, f"{path}: loads {load}"
        assert (path.parent / unquote(urlsplit(load).path)).is_file(), f"{path}: {load} is not in the site"


def test_every_link_inside_leads_somewhere(site: Path) -> None:
    checked = 0
    for path in pages(site):
        for link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link} leads nowhere"
            if parts.fragment and target != site / BOARDS:
                assert unquote(parts.fragment) in page(target).ids, (
                    f"{path.relative_to(site)}: no such place: {link}"
                )
            checked += 1
    assert checked > 5000


def test_navigation_and_documents_are_the_same_pages(site: Path) -> None:
    names = navigation()
    for name in names:
        made = re.sub(r"(README)?\.md$", lambda end: "index.html" if end[1] else ".html", name)
        assert (site / made).is_file(), f"mkdocs.yml: {name} is not in the site"
    documents = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")}
    boards = {path.relative_to(ROOT).as_posix() for path in (ROOT / "leaderboards").glob("*/README.md")}
    missing = sorted({*documents, *boards} - set(names))
    assert missing == [], f"add to 'nav' in mkdocs.yml: {', '.join(missing)}"


def test_the_page_of_the_leaderboards_is_in_it(site: Path) -> None:
    assert (site / BOARDS).read_bytes() == (ROOT / BOARDS).read_bytes()
    assert (site / "leaderboards" / "CLAIMS.html").is_file()
    for suite in ("digits", "gmm2d"):
        assert {"curve.png", "grid.png"} <= set(page(site / "leaderboards" / suite / "index.html").loads)


@pytest.mark.parametrize("method", METHODS)
def test_page_of_a_method_shows_formulas_differences_and_results(site: Path, method: str) -> None:
    text = (site / "docs" / "methods" / f"{method}.html").read_text(encoding="utf-8")
    assert text.count('display="block"') >= 2 or method == "ddil"
    assert "<mfrac>" in text or "<msub>" in text
    differences = (ROOT / "bench" / "presets" / f"{method}.md").read_text(encoding="utf-8")
    for name in re.findall(r"^- \*\*(.+?)\*\*", differences, re.MULTILINE):
        assert f"<strong>{name}</strong>" in text
    results = text.partition('id="results-here"')[2]
    assert "<strong>gmm2d@1.0" in results and "vs solver" in results


def test_no_formula_is_left_in_tex(site: Path) -> None:
    for path in (site / "docs").rglob("*.html"):
        text = re.sub(r"<(pre|code)\b.*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert "arithmatex" not in text and not re.search(r"\\(mathrm|frac|begin|sigma)\b", text), path


def test_search_knows_pages_and_no_sources(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert '"docs/methods/sid.html"' in index and '"docs/faq.html"' in index
    assert "sid.py.html" not in index


@pytest.mark.parametrize(
    ("repository", "source"),
    [
        (None, "../../baselines/sid.py.md"),
        ("https://host.example/bench", "https://host.example/bench/blob/main/baselines/sid.py"),
    ],
)
def test_links_to_sources_lead_to_the_repository_if_its_address_is_known(
    repository: str | None, source: str
) -> None:
    hook = runpy.run_path(str(ROOT / "docs" / "site" / "paths.py"))["on_page_markdown"]
    config = SimpleNamespace(config_file_path=str(ROOT / "mkdocs.yml"), repo_url=repository)
    here = SimpleNamespace(file=SimpleNamespace(src_uri="docs/methods/sid.md"), is_homepage=False)
    files = SimpleNamespace(src_uris={"docs/concepts.md": None, "CONTRIBUTING.md": None})
    text = "[a](../../baselines/sid.py) [b](../concepts.md#cell) [c](../../CONTRIBUTING.md) [d](https://x.y)"
    expected = text.replace("../../baselines/sid.py", source)
    assert hook(text, page=here, config=config, files=files) == expected


@pytest.mark.slow
def test_search_works_from_a_file(site: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("no Chromium on PATH (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        context = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"]).new_context(
            offline=True
        )
        shown, wrong = context.new_page(), []
        shown.on("pageerror", lambda error: wrong.append(str(error)))
        shown.on("request", lambda asked: wrong.append(asked.url) if asked.url.startswith("http") else None)
        shown.goto((site / "index.html").as_uri())
        shown.locator("[data-md-component=search-query]").click()
        shown.keyboard.type("pseudo-Huber")
        hits = shown.locator(".md-search-result__link")
        hits.first.wait_for()
        places = [hit.get_attribute("href") or "" for hit in hits.all()]
        assert any("/docs/methods/lcm.html" in place for place in places), places
        assert wrong == []
        context.browser.close()
