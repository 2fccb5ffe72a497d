"""A pickle is read about as fast as torch reads the same tensors, and in about the same memory.

Each way runs in a process of its own. ``proven`` is what a run does: names are checked, and the cache has the
digest already; ``whole`` takes the sha256 of the file too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from published_files import write_edm

from baselines.checkpoints.architecture import SongConfig

LARGE = SongConfig(
    32, 3, 3, 0, 9, 128, (2, 2), 4, 1, (16,)
)  # 11 million parameters; as many to a tensor as published
MEASURE = """
import json, resource, sys, time
from pathlib import Path
import torch
from baselines.checkpoints.modules import state_dict
from baselines.checkpoints.reading import read_checkpoint
from baselines.checkpoints.unpickle import unpickle
ways = {
    "torch": lambda path: torch.load(path, map_location="cpu", weights_only=True),
    "tensors": lambda path: state_dict(unpickle(path)["ema"]),
    "proven": lambda path: read_checkpoint(path, proven="0" * 64).tensors,
    "whole": lambda path: read_checkpoint(path).tensors,
}
way, path = ways[sys.argv[1]], Path(sys.argv[2])
path.read_bytes()  # both from the page cache
def peak():
    return int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1]) * 1024
open("/proc/self/clear_refs", "w").write("5")
before, times = peak(), []
kept = way(path)
memory = peak() - before
for _ in range(5):
    kept = None
    start = time.perf_counter()
    kept = way(path)
    times.append(time.perf_counter() - start)
print(json.dumps({"seconds": min(times), "bytes": memory}))
"""


def measured(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-c", MEASURE, way, str(path)]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


@pytest.mark.slow
def test_memory_and_time_of_a_large_pickle(tmp_path: Path) -> None:
    state = write_edm(tmp_path / "edm.pkl", LARGE)
    torch.save(state, tmp_path / "edm.pt")
    del state
    reference = measured("torch", tmp_path / "edm.pt")
    for way in ("tensors", "proven", "whole"):
        found = measured(way, tmp_path / "edm.pkl")
        ratios = {key: found[key] / reference[key] for key in reference}
        print(way, ratios, found, reference)
        assert ratios["bytes"] <= 2.2
        assert way == "whole" or ratios["seconds"] <= 2
