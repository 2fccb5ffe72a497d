"""First samples of published rows, kept beside a board, and the grid drawn from them.

Imports matplotlib and numpy, so import this lazily.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.datasets.scene_captions import captioned
from baselines.datasets.scenes import SPLITS
from bench.atomic import write_atomic
from bench.record import Record, Row
from bench.report.collect import record_name
from bench.report.pictures import sample_grid_png
from bench.report.prompts import ROWS, prompt_grid_png
from bench.report.run_pictures import modes_of
from bench.suite import Suite
from bench.suite_protocol import CaptionProtocol

FOLDER = "samples"  # beside the board
IMAGES, POINTS = 40, 1000  # of a row, that are kept at most
LARGEST = 64  # pixels of a side of a kept image
PANELS = 12  # of a grid at most
ORDER = ("anchor", "teacher", "student", "solver")  # in which kinds are shown


def keep_samples(record: Record, row: Row, samples: NDArray[Any], board: Path) -> Path | None:
    """Keep the first samples of a row, with the digest of all of them; returns the file.

    Of several trainings only the first is shown, so samples of other seeds are not kept: None.

    Args:
        samples: the first of the row or all, images uint8 ``[n, C, H, W]`` or points ``[n, 2]``.
    """
    if record.seed or record.kind not in ORDER or row.samples_sha256 is None:
        return None
    path = samples_file(record, row, board)
    packed = BytesIO()
    np.savez_compressed(packed, samples=first_of(samples), digest=np.array(row.samples_sha256))
    write_atomic(path, packed.getvalue())
    return path


def first_of(samples: NDArray[Any]) -> NDArray[Any]:
    """As many samples as a panel shows, and no more than 100 kB of images but for eight at least.

    Images of more than 64 pixels are averaged over blocks: a panel shows them smaller yet.
    """
    if samples.ndim == 2:
        return samples[:POINTS]
    side = samples.shape[2]
    block = -(-side // LARGEST)
    if block > 1:
        fitting = samples[:ROWS, :, : side // block * block, : samples.shape[3] // block * block]
        parts = fitting.reshape(*fitting.shape[:2], side // block, block, -1, block)
        return parts.mean((3, 5)).round().astype(np.uint8)
    return samples[: min(IMAGES, max(ROWS, 100_000 // samples[0].nbytes))]


def samples_file(record: Record, row: Row, board: Path) -> Path:
    """Where samples of a row are kept."""
    return board / FOLDER / f"{record_name(record)}.{row.steps}.npz"


def kept_samples(record: Record, row: Row, board: Path) -> NDArray[Any] | None:
    """The first samples of a row; None where none are kept, or those of an earlier training."""
    path = samples_file(record, row, board)
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as stored:
        found = str(stored["digest"]) == row.samples_sha256
        return np.asarray(stored["samples"]) if found else None


def shown_samples(records: Sequence[Record], suite: Suite, board: Path) -> dict[str, NDArray[Any]]:
    """Kept samples by "label, NFE": real data, the teacher's longest row, students by step count and score.

    Where students are more than fit, the best of each step count are taken, one after another; those of
    smaller budgets than the largest are left out. Plain solvers fill what is left.
    """
    own = [r for r in records if (r.suite_version, r.protocol) == (suite.version, suite.protocol.id)]
    budgets = {r.budget: suite.budgets[r.budget].work for r in own if r.kind == "student"}
    largest = max(budgets, key=lambda name: budgets[name], default=None)
    sign = -1 if suite.column(suite.primary).better == "higher" else 1
    found: list[tuple[tuple[int, int, float, str], NDArray[Any]]] = []
    for record in own:
        for row in rows_shown(record, largest):
            if (kept := kept_samples(record, row, board)) is not None:
                name = f"{record.label}, NFE {row.nfe}" if row.nfe else record.label
                score = sign * row.metrics[suite.primary].mean
                found.append(((ORDER.index(record.kind), row.steps, score, name), kept))
    found.sort(key=lambda one: one[0])
    places = [place[:2] for place, _ in found]
    ranks = [(kind, places[:i].count((kind, steps)), steps) for i, (kind, steps) in enumerate(places)]
    taken = sorted(sorted(range(len(found)), key=lambda i: ranks[i])[:PANELS])
    return {found[i][0][3]: found[i][1] for i in taken}


def rows_shown(record: Record, budget: str | None) -> list[Row]:
    """Rows of a record that a grid may show."""
    if record.kind not in ORDER or (record.kind == "student" and record.budget != budget):
        return []
    if record.kind == "anchor" and record.label != "real":
        return []
    return [max(record.rows, key=lambda row: row.steps)] if record.kind == "teacher" else record.rows


def grid_png(records: Sequence[Record], suite: Suite, board: Path) -> Path | None:
    """Draw kept samples side by side, of captions each beside its caption; None where none are kept."""
    tiles = shown_samples(records, suite, board)
    if not tiles:
        return None
    path = board / "grid.png"
    if isinstance(suite.protocol, CaptionProtocol):
        split, seed = SPLITS[suite.protocol.split], suite.protocol.seed
        captions = [captioned(split, seed, index).caption for index in range(ROWS)]
        return prompt_grid_png(tiles, captions, path)
    return sample_grid_png(tiles, path, modes=modes_of(suite.name))
