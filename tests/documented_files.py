"""What a reader of the documents has before the first command of a page: files of the real formats, small."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from documented import ROOT
from miniature import (
    CONFIGS,
    weights,
    without_digests,
    write_asset,
    write_extractor,
    write_mirror,
    write_reference,
)
from published_files import openai_state, write_edm
from sample_files import noise, write_folder, write_npz, write_zip
from tiny import tiny_suite

import bench.suite
from bench.assets.registry import find
from bench.suite import Suite, load_suite
from metrics.protocols.registry import shipped_protocols

PARSE = bench.suite.parse_suite
SAMPLES = 48  # of the protocols of published models, in place of 50,000
MIRRORED = {"imagenet64": (), "cifar10": ("edm/cifar10-cond-vp",)}


def small_gmm2d(folder: Path) -> Callable[[Path], Suite]:
    """A reader of suite files for which gmm2d is its tiny relative: finished cells in seconds."""
    path = tiny_suite(folder)
    return lambda file: PARSE(path if file.stem == "gmm2d" else file)


def write_files(folder: Path) -> None:
    """Checkout and files that the pages name."""
    shutil.copytree(ROOT / "leaderboards", folder / "leaderboards")
    (folder / "docs").mkdir()
    shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
    digits = noise(2000, channels=1)
    write_zip(folder / "samples.zip", digits, np.arange(2000) % 10)
    write_npz(folder / "samples.npz", noise(SAMPLES, size=32))
    write_folder(folder / "photos", noise(9, size=32))
    write_edm(folder / "my_teacher.pkl", CONFIGS["cifar10"], weights(CONFIGS["cifar10"], 0))
    write_edm(
        folder / "edm-imagenet-64x64-cond-adm.pkl", CONFIGS["imagenet64"], weights(CONFIGS["imagenet64"], 0)
    )
    torch.save(openai_state(), folder / "cd_imagenet64_l2.pt")
    write_extractor(folder / "inception-2015-12-05.pt")
    write_reference(folder / "cifar10-32x32.npz")
    row = "gmm2d@1.0/sid/standard/nfe1"
    (folder / "paper.tex").write_text(f"SiD reaches \\benchval{{{row}}}{{swd}}.\n", encoding="utf-8")
    suite = (ROOT / "bench" / "suites" / "gmm2d.toml").read_text(encoding="utf-8")
    needs = suite.replace('anchors = ["real"', 'assets = ["edm/cifar10-cond-vp"]\nanchors = ["real"')
    (folder / "my_suite.toml").write_text(
        needs.replace('name = "gmm2d"', 'name = "my_suite"'), encoding="utf-8"
    )
    for run, names in {"runs-a": ("sid", "dmd"), "runs-b": ("dmd", "lcm")}.items():
        for name in names:
            record = ROOT / "leaderboards" / "records" / "gmm2d" / f"{name}.student.standard.seed0.json"
            cell = folder / run / "gmm2d@1.0" / json.loads(record.read_text(encoding="utf-8"))["cell"]
            cell.mkdir(parents=True)
            shutil.copy(record, cell / "record.json")


def write_published(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A mirror of the published files under ``folder``; their protocols ask for fewer samples."""
    for name, more in MIRRORED.items():
        suite = load_suite(name)
        without_digests(suite, patch)
        write_mirror(folder, suite)
        for asset in map(find, more):
            place = folder / asset.id / asset.file
            place.parent.mkdir(parents=True, exist_ok=True)
            write_asset(asset, place, suite)
    law = shipped_protocols()["suite-fid50k@1"]
    sampling = law.sampling.model_copy(update={"samples": SAMPLES})
    patch.setitem(shipped_protocols(), law.id, law.model_copy(update={"sampling": sampling}))
