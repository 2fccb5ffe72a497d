"""Where a result came from: code, packages, hardware, seeds, digests."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from bench.record import Provenance

if TYPE_CHECKING:
    from bench.cell import Cell
    from bench.lab import Lab

PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "safetensors", "torch-fidelity", "distillbench")


@cache
def code_state() -> tuple[str | None, bool, str | None]:
    """Commit of the package's own repository, whether the tree differs, and the digest of the difference.

    An installed package without a repository gives (None, False, None); its version stands in ``packages``.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None, False, None

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout

    sha = git("rev-parse", "HEAD").strip() or None
    code = ["--", "bench", "baselines", "metrics"]
    diff = git("diff", "HEAD", *code) + git("ls-files", "--others", "--exclude-standard", *code)
    return sha, bool(diff), hashlib.sha256(diff.encode()).hexdigest() if diff else None


@cache
def packages() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(
    lab: Lab, cell: Cell, processes: int = 1, compiled: bool = False, sharded: bool = False
) -> Provenance:
    """Provenance of a cell's result, now."""
    sha, dirty, diff = code_state()
    protocol = cell.suite.protocol
    device = torch.cuda.get_device_name(lab.device) if lab.device.type == "cuda" else cpu_name()
    return Provenance(
        code_sha=sha,
        dirty=dirty,
        diff_sha256=diff,
        method_closure_sha256=cell.method.closure_sha256 if cell.method else None,
        packages=packages(),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        device=device,
        threads=torch.get_num_threads(),
        processes=processes,
        compiled=compiled and cell.kind == "student",
        sharded=sharded and cell.kind == "student",
        seeds={"train": cell.seed, "sample": protocol.seed, "curve": protocol.curve_seed},
        teacher_sha256=lab.teacher_sha256,
        teacher_form="network" if lab.exact is None else "exact",
        reference_sha256=lab.evaluator.reference_sha256,
        extractor_sha256=lab.evaluator.extractor_sha256,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )


@cache
def cpu_name() -> str:
    """Model name of the processor and the number of its cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)
    return f"{model or platform.processor() or platform.machine()} ({os.cpu_count()} cores)"
