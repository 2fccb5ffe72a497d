"""The site has the paths of the repository, so that a link which works on a git host works in it."""

from __future__ import annotations

import re
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "bench/presets/*.md")
BOARDS = ("leaderboards/CLAIMS.md", "leaderboards/index.html", "leaderboards/*/*.*", "docs/**/*.*")
LINK = re.compile(r"(?<=\]\()(?![a-z]+:)([^)#\s]+)")
VIEW = "---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n# `{path}`\n\n{fence}{language}\n{text}\n{fence}\n"
KEPT = (".md", ".html", ".png", ".csv", ".css", ".js", ".svg")  # no records, no Python


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the address of the repository from the citation file, where it states one."""
    cited = yaml.safe_load(Path(root(config), "CITATION.cff").read_text(encoding="utf-8"))
    config.repo_url = cited.get("repository-code")
    return config


def root(config: MkDocsConfig) -> str:
    """The folder of the repository."""
    return str(Path(config.config_file_path).parent)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Pages and pictures under the paths that they have in the repository; sources they link to, shown."""
    base = Path(root(config))
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    found = sorted({path for pattern in PAGES + BOARDS for path in base.glob(pattern) if path.suffix in KEPT})
    for path in found:
        name = path.relative_to(base).as_posix()
        files.append(File(name, str(base), config.site_dir, config.use_directory_urls))
    if not config.repo_url:
        for path in (path for path in found if path.suffix == ".md"):
            for name in linked(path.relative_to(base).as_posix(), path.read_text(encoding="utf-8")):
                if base.joinpath(name).is_file() and not {name, f"{name}.md"} & set(files.src_uris):
                    files.append(File.generated(config, f"{name}.md", content=view(base / name, name)))
    return files


def linked(page: str, text: str) -> list[str]:
    """Paths in the repository that a page links to."""
    return [normpath(join(dirname(page), target)) for target in LINK.findall(text)]


def view(path: Path, name: str) -> str:
    """A page that shows a source file."""
    text, language = path.read_text(encoding="utf-8"), path.suffix[1:] or "text"
    return VIEW.format(path=name, fence="`" * 8, language=language, text=text)


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """Links to files that are no page lead to the repository if its address is known, else to their view."""

    def address(link: re.Match[str]) -> str:
        (name,) = linked(page.file.src_uri, f"]({link[0]}")
        if name in files.src_uris or not Path(root(config), name).exists():
            return link[0]
        return f"{config.repo_url}/blob/main/{name}" if config.repo_url else f"{link[0]}.md"

    if page.is_homepage:
        page.meta["hide"] = ["navigation"]  # the README has no head of its own
    return LINK.sub(address, markdown)
