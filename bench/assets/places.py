"""Where files are kept, and whether the network may be used: from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from bench.assets.registry import Asset
from bench.errors import UsageError

TRUE, FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}
HUB_FILE = re.compile(r"https://huggingface\.co/(?P<repo>[^/]+/[^/]+)(/resolve/(?P<rev>[^/]+)/(?P<path>.+))?")
COMMIT = re.compile(r"[0-9a-f]{40}")


def base_cache(env: Mapping[str, str]) -> Path:
    """``XDG_CACHE_HOME``, else ``~/.cache``."""
    return absolute(env, "XDG_CACHE_HOME") or Path.home() / ".cache"


def absolute(env: Mapping[str, str], name: str) -> Path | None:
    """A folder named by a variable, None if it is not set; raises UsageError for a relative one."""
    text = env.get(name, "")
    if not text:
        return None
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise UsageError(f"{name}: found {text!r}, expected an absolute path")
    return path


def cache_root(env: Mapping[str, str] = os.environ) -> Path:
    """``BENCH_CACHE``, else ``distillbench`` in the user's cache folder."""
    return absolute(env, "BENCH_CACHE") or base_cache(env) / "distillbench"


def is_offline(env: Mapping[str, str] = os.environ) -> bool:
    """Whether ``BENCH_OFFLINE`` or ``HF_HUB_OFFLINE`` forbids the network.

    Raises:
        UsageError: a value that is neither yes nor no.
    """
    found = False
    for name in ("BENCH_OFFLINE", "HF_HUB_OFFLINE"):
        text = env.get(name, "").strip().lower()
        if text not in TRUE | FALSE:
            raise UsageError(f"{name}: found {text!r}, expected 1 or 0")
        found = found or text in TRUE
    return found


def forbid_network() -> None:
    """Tell this process and all it starts, the hub's library among them, to stay off the network."""
    os.environ.update({"BENCH_OFFLINE": "1", "HF_HUB_OFFLINE": "1"})


def hub_root(env: Mapping[str, str] = os.environ) -> Path:
    """Cache of the Hugging Face hub: ``HF_HUB_CACHE``, ``HF_HOME/hub``, or its default."""
    home = absolute(env, "HF_HOME") or base_cache(env) / "huggingface"
    return absolute(env, "HF_HUB_CACHE") or home / "hub"


def in_hub(asset: Asset, root: Path) -> Path | None:
    """The asset where the hub's own tools have put it (a file, or a snapshot's folder); None if nowhere."""
    match = HUB_FILE.fullmatch(asset.url)
    if match is None:
        return None
    repo = root / f"models--{match['repo'].replace('/', '--')}"
    revision = match["rev"] or "main"
    if not COMMIT.fullmatch(revision):
        try:
            revision = (repo / "refs" / revision).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
        if not COMMIT.fullmatch(revision):
            return None
    found = repo / "snapshots" / revision / (match["path"] or "")
    wanted = found.is_file() if match["path"] else found.is_dir()
    return found if wanted else None
