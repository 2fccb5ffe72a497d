"""``bench doctor``: is this installation able to run the bench, and what does it run on."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

from bench.errors import AssetError, BenchError
from bench.report.text import compact

CACHES = ("HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME")
LEAST_FREE = 2**30  # bytes; runs of embedded suites take a few hundred MB


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``good`` is False for what must be mended."""

    name: str
    good: bool
    text: str


def doctor(
    out: Annotated[Path, typer.Option(help="folder of runs that must be writable")] = Path("runs"),
) -> None:
    """Check Python, packages, device, folders and shipped weights. Exit status 1 if something is wrong."""
    findings = [finding for check in CHECKS for finding in check(out)]
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        typer.echo(f"{'ok   ' if finding.good else 'WRONG'}  {finding.name.ljust(width)}  {finding.text}")
    wrong = sum(not finding.good for finding in findings)
    if wrong:
        raise BenchError(f"{wrong} of {len(findings)} checks failed")


def python(out: Path) -> Iterator[Finding]:
    """The interpreter."""
    good = sys.version_info >= (3, 11)
    yield Finding("python", good, platform.python_version() + ("" if good else "; 3.11 or newer is needed"))
    yield Finding("platform", True, f"{platform.system()} {platform.release()} {platform.machine()}")


def packages(out: Path) -> Iterator[Finding]:
    """The packages that the distribution requires, without its extras."""
    from packaging.requirements import Requirement

    try:
        lines = requires("distillbench") or []
    except PackageNotFoundError:
        yield Finding("distillbench", False, "not installed; run 'pip install -e .' in the repository")
        return
    for requirement in map(Requirement, lines):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            try:
                found = version(requirement.name)
                good = requirement.specifier.contains(found, prereleases=True)
                wanted = "" if good else f"; needed {requirement.specifier}"
                yield Finding(requirement.name, good, found + wanted)
            except PackageNotFoundError:
                yield Finding(requirement.name, False, f"not installed; 'pip install \"{requirement}\"'")


def device(out: Path) -> Iterator[Finding]:
    """What torch sees."""
    try:
        import torch
    except ImportError as error:
        yield Finding("device", False, f"torch cannot be imported: {error}")
        return
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("device", True, ", ".join(names) or "cpu only")
    wished = os.environ.get("OMP_NUM_THREADS")
    source = f"OMP_NUM_THREADS={wished}" if wished else "OMP_NUM_THREADS is not set"
    yield Finding("threads", True, f"{torch.get_num_threads()} of {os.cpu_count()} cores ({source})")


def folders(out: Path) -> Iterator[Finding]:
    """Where results and downloads go."""
    yield writable("output", out)
    home = Path.home() / ".cache"
    for name in CACHES:
        if os.environ.get(name):
            yield writable(name, Path(os.environ[name]))
    if not os.environ.get("XDG_CACHE_HOME"):
        yield writable("cache", home)


def writable(name: str, folder: Path) -> Finding:
    """Whether a folder, or the nearest one above it that exists, can be written and has room."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return Finding(name, False, f"{existing} is a file where a folder is needed")
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding(name, False, f"{folder}: no permission to write in {existing}")
    free = shutil.disk_usage(existing).free
    text = f"{folder}, {compact(free)}B free"
    return Finding(name, free >= LEAST_FREE, text if free >= LEAST_FREE else f"{text}; too little")


def weights(out: Path) -> Iterator[Finding]:
    """The networks that ship, against the digests of their records."""
    from bench.shipped import shipped_weights

    shipped = shipped_weights()
    if not shipped:
        yield Finding(
            "weights", False, "no shipped weights found; reinstall, or train them with 'bench teach'"
        )
    for one in shipped:
        try:
            one.verify()
            yield Finding(one.name, True, f"sha256 {one.expected[:12]} matches")
        except AssetError as error:
            yield Finding(one.name, False, str(error))


CHECKS: tuple[Callable[[Path], Iterator[Finding]], ...] = (python, packages, device, folders, weights)
