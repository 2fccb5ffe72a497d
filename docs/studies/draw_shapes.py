"""Scenes of the drawn world with their captions: writes ../pictures/shapes.png.

    python docs/studies/draw_shapes.py [--out FILE]

Two rows of held-out scenes and one of the compositional split, the first of seed 0.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from baselines.datasets.captioned_scenes import CaptionedScenes
from baselines.datasets.scenes import COMPOSITIONAL, HELD_OUT

PICTURE = Path(__file__).resolve().parents[1] / "pictures" / "shapes.png"
COLUMNS, LETTERS = 6, 28  # of the picture, and of a line of a caption


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=PICTURE)
    out = parser.parse_args().out
    parts = [
        CaptionedScenes(HELD_OUT, 0).rows(0, 2 * COLUMNS),
        CaptionedScenes(COMPOSITIONAL, 0).rows(0, COLUMNS),
    ]
    shown = [pair for part in parts for pair in zip(part.images, part.shown, strict=True)]
    figure, axes = plt.subplots(3, COLUMNS, figsize=(2 * COLUMNS, 8))
    for axis, (image, one) in zip(axes.flat, shown, strict=True):
        axis.imshow(image.transpose(1, 2, 0), interpolation="nearest")
        axis.set_title(textwrap.fill(one.caption, LETTERS), fontsize=8)
        axis.axis("off")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=80, metadata={"Software": None})


if __name__ == "__main__":
    main()
