"""What the digits protocol can tell apart: writes power-digits.md beside this file.

    python docs/studies/power_digits.py [--samples NAME=FILE.npz ...] [--out FILE]

A samples file holds ``images`` (uint8 [N, 1, 8, 8]) and ``labels`` (the classes asked for, [N]); it is
measured in blocks of 2,000. Runs in about two minutes on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from baselines.datasets.digits import load_digits
from baselines.streams import numpy_generator
from metrics.class_frechet import class_frechet_distance
from metrics.features.digits import load_digits_features
from metrics.features.digits_training import accuracy
from metrics.floor import class_frechet_floor, frechet_floor
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.nearest import memorisation
from metrics.prdc import precision_recall
from metrics.statistics import detectable_difference, summarise

COUNT, REPEATS = 2000, 3  # frozen: the protocol
BLOCKS, DRAWS, SIZES = 8, 30, (500, 1000, 2000, 5000)  # of this study
KEYS = ("fd", "cfd", "precision", "recall", "accuracy", "copies")
TRAIN, HELD_OUT = load_digits()
EXTRACTOR = load_digits_features()
TRAIN_FEATURES = EXTRACTOR.features(TRAIN.images)
REFERENCE = Moments.of(TRAIN_FEATURES)

Block = tuple[np.ndarray, np.ndarray]  # images, labels asked for


@dataclass(frozen=True)
class Measured:
    """A generator's values per metric, one per block."""

    name: str
    values: dict[str, list[float]]

    def cell(self, key: str) -> str:
        """Mean and spread over blocks."""
        found = summarise(self.values[key])
        return f"{found.mean:.3f}" if found.std is None else f"{found.mean:.3f} ± {found.std:.3f}"


def measure(name: str, blocks: Iterator[Block]) -> Measured:
    """All metrics of every block."""
    values: dict[str, list[float]] = {key: [] for key in KEYS}
    for images, labels in blocks:
        features = EXTRACTOR.features(images)
        covered = precision_recall(real=TRAIN_FEATURES, fake=features)
        copied = memorisation(fake=images, train=TRAIN.images, held_out=HELD_OUT.images)
        by_class = class_frechet_distance(
            real=TRAIN_FEATURES, real_labels=TRAIN.labels, fake=features, fake_labels=labels, classes=10
        )
        found = (
            frechet_distance(Moments.of(features), REFERENCE),
            by_class,
            *covered,
            accuracy(EXTRACTOR, images, labels),
            copied.copies,
        )
        for key, value in zip(KEYS, found, strict=True):
            values[key].append(value)
    return Measured(name, values)


# ---- generators made from the data, each worse than the data in one known way


def blurred(images: np.ndarray, std: float) -> np.ndarray:
    """Gaussian blur, std in pixels."""
    return np.rint(gaussian_filter(images.astype(float), (0, 0, std, std))).astype(np.uint8)


def noisy(images: np.ndarray, std: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, std for pixels in [0, 1]."""
    return np.clip(np.rint(images + 255 * std * rng.standard_normal(images.shape)), 0, 255).astype(np.uint8)


def resampled(images: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Block:
    """A block with 200 images of every class, drawn with replacement."""
    rows = np.concatenate([rng.choice(np.flatnonzero(labels == c), COUNT // 10) for c in range(10)])
    return images[rows], labels[rows]


def mislabelled(block: Block, share: float, rng: np.random.Generator) -> Block:
    """A share of the labels shuffled among themselves."""
    images, labels = block
    rows = rng.choice(COUNT, round(share * COUNT), replace=False)
    wrong = labels.copy()
    wrong[rows] = labels[rng.permutation(rows)]
    return images, wrong


def without_eights(rng: np.random.Generator) -> Block:
    """Draws a three whenever an eight is asked for."""
    images, labels = resampled(TRAIN.images, TRAIN.labels, rng)
    images[labels == 8] = images[labels == 3]
    return images, labels


def class_means(rng: np.random.Generator) -> Block:
    """The mean training image of the class asked for."""
    labels = np.arange(COUNT) % 10
    means = [np.rint(TRAIN.images[TRAIN.labels == c].mean(axis=0)).astype(np.uint8) for c in range(10)]
    return np.stack(means)[labels], labels


def few(rng: np.random.Generator) -> Block:
    """Knows 14 training images of each class, a tenth of them."""
    rows = np.concatenate([np.flatnonzero(TRAIN.labels == c)[:14] for c in range(10)])
    return resampled(TRAIN.images[rows], TRAIN.labels[rows], rng)


def train_block(rng: np.random.Generator) -> Block:
    """Copies of training images."""
    return resampled(TRAIN.images, TRAIN.labels, rng)


def spoilt(spoil: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable[..., Block]:
    """Copies of training images, then spoilt."""

    def draw(rng: np.random.Generator) -> Block:
        images, labels = train_block(rng)
        return spoil(images, rng), labels

    return draw


GENERATORS: dict[str, Callable[[np.random.Generator], Block]] = {
    "train, resampled": train_block,
    "held-out, resampled": lambda rng: resampled(HELD_OUT.images, HELD_OUT.labels, rng),
    "2 % wrong labels": lambda rng: mislabelled(train_block(rng), 0.02, rng),
    "10 % wrong labels": lambda rng: mislabelled(train_block(rng), 0.10, rng),
    "noise 0.05": spoilt(lambda x, rng: noisy(x, 0.05, rng)),
    "noise 0.10": spoilt(lambda x, rng: noisy(x, 0.10, rng)),
    "noise 0.20": spoilt(lambda x, rng: noisy(x, 0.20, rng)),
    "blur 0.4 pixels": spoilt(lambda x, rng: blurred(x, 0.4)),
    "blur 0.6 pixels": spoilt(lambda x, rng: blurred(x, 0.6)),
    "blur 1.0 pixels": spoilt(lambda x, rng: blurred(x, 1.0)),
    "threes for eights": without_eights,
    "14 images a class": few,
    "class means": class_means,
}


def made(draw: Callable[[np.random.Generator], Block], name: str) -> Measured:
    """Measure a generator made from the data."""
    return measure(name, (draw(numpy_generator(i, "metric-subset")) for i in range(BLOCKS)))


def loaded(argument: str) -> Measured:
    """Measure a samples file, ``NAME=FILE.npz``."""
    name, _, path = argument.partition("=")
    with np.load(path) as file:
        images, labels = file["images"], file["labels"]
    if len(images) < COUNT:
        raise SystemExit(f"{path}: found {len(images)} images; expected {COUNT} or more")
    starts = range(0, len(images) - COUNT + 1, COUNT)
    return measure(name, ((images[i : i + COUNT], labels[i : i + COUNT]) for i in starts))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def floor_table() -> str:
    """The floor by N."""
    rows = []
    for size in SIZES:
        rng = numpy_generator(size, "metric-subset")
        plain = frechet_floor(TRAIN_FEATURES, size, rng, DRAWS)
        by_class = class_frechet_floor(TRAIN_FEATURES, TRAIN.labels, 10, size, rng, DRAWS)
        rows.append([f"{size:,}", *(f"{s.mean:.4f} | {s.std:.4f}" for s in (plain, by_class))])
    return table(["N", "FD floor", "std", "class FD floor", "std"], rows)


def power_table(measured: list[Measured]) -> str:
    """Spread of one repeat, and the difference it lets show."""
    rows = []
    for one in measured:
        cells = [one.name]
        for key in ("fd", "cfd"):
            spread = summarise(one.values[key]).std
            cells += ["-", "-"] if spread is None else [f"{spread:.4f}", f"{resolved(spread):.3f}"]
        rows.append(cells)
    return table(["generator", "FD std", "FD difference", "class FD std", "class FD difference"], rows)


def resolved(std: float) -> float:
    """Smallest difference that the protocol's repeats show at this spread."""
    return detectable_difference(std, REPEATS, alpha=0.05, power=0.80)


def separation(one: Measured, other: Measured, key: str) -> str:
    """The gap between two generators, in detectable differences at the larger of their spreads."""
    a, b = summarise(one.values[key]), summarise(other.values[key])
    spread = max(a.std or 0.0, b.std or 0.0)
    return "-" if one is other or spread == 0 else f"{(a.mean - b.mean) / resolved(spread):+.1f}"


def page(measured: list[Measured]) -> str:
    """The whole page."""
    train, held_out = measured[:2]
    gaps = ((train, "fd"), (train, "cfd"), (held_out, "fd"))
    quality = [
        [m.name, *(m.cell(k) for k in KEYS), *(separation(m, base, k) for base, k in gaps)] for m in measured
    ]
    heads = ["generator", "FD", "class FD", "precision", "recall", "accuracy", "copies"]
    heads += ["FD to train", "class FD to train", "FD to held-out"]
    return TEXT.format(
        digest=EXTRACTOR.digest,
        reference=len(TRAIN),
        held_out=len(HELD_OUT),
        direct=frechet_distance(Moments.of(EXTRACTOR.features(HELD_OUT.images)), REFERENCE),
        draws=DRAWS,
        blocks=BLOCKS,
        floor=floor_table(),
        power=power_table(measured),
        quality=table(heads, quality),
    )


TEXT = """# What the digits protocol can tell apart

Written by `python docs/studies/power_digits.py`; every number below is measured by it.

## Frozen

From here on these are fixed; a change of any of them is a new protocol version.

- N = 2,000 samples per repeat, 200 of every class, and 3 repeats with their own noise.
- The reference: the features of all {reference:,} training digits. The {held_out} held-out digits
  train nothing.
- The extractor: 32 features, sha256 `{digest}`.
- FD is the Frechet distance of the features, class FD the mean of the per-class Frechet distances; precision
  and recall have k = 3. Covariances divide by N - 1, in fp64.

## Floor

Bootstrap draws of N images from the reference, measured against the reference: {draws} draws, the std of one.

{floor}

The {held_out} held-out digits as they are lie at FD {direct:.3f}: real images, but few of them, and none of
the reference's. What a generator gains beyond unseen real digits, it gains by knowing the reference.

## Smallest difference that shows

Between two generators at N = 2,000 with 3 repeats each: two-sided t-test at 5 %, power 80 %, equal spreads,
here over {blocks} blocks of samples. The spread between training seeds comes on top.

{power}

## Good and bad generators

Mean ± std over blocks. The last columns give the difference to "train, resampled", which the spoilt sets are
made from, and to "held-out, resampled", in units of the smallest difference that shows: beyond ±1 the two are
told apart by 3 repeats. "Copies" is the share of samples nearer to a training image than the nearest 1 % of
held-out digits.

{quality}

- Accuracy is perfect for class means: it says whether a digit can be read, and never ranks.
- Precision is high for class means too; recall is what they lose.
- Sets of few images repeated have low recall even where the images are real (held-out), because balls between
  copies have no radius: recall is for generators, which do not repeat themselves, at equal N.
- Wrong labels leave FD where it is; class FD shows them.
- "train, resampled" is the perfect copier: only "copies" tells it from a perfect generator.
"""


def main() -> None:
    """Measure all generators and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", action="append", default=[], metavar="NAME=FILE.npz")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("power-digits.md"))
    options = parser.parse_args()
    measured = [made(draw, name) for name, draw in GENERATORS.items()]
    measured += [loaded(argument) for argument in options.samples]
    options.out.write_text(page(measured))
    print(options.out)


if __name__ == "__main__":
    main()
