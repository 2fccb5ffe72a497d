"""Do 95 % intervals of a Frechet distance hold the true one? Simulated where it is known; writes coverage.md.

Run it from the root of the repository: ``python docs/studies/coverage.py`` (a quarter of an hour, one core).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metrics.frechet import Moments, frechet_distance
from metrics.intervals import frechet_interval, jackknife_interval

SIZES = ((16, 1000), (16, 5000), (64, 1000), (64, 5000))
RESAMPLES = 60  # of a bootstrap
RIVALS = ("equal", "mean moved")  # laws that the slower rivals are tried on
Span = tuple[float, float]


@dataclass(frozen=True)
class Law:
    """Features ``mean + root e`` with e of unit covariance, against a reference with known moments."""

    name: str
    mean: np.ndarray
    root: np.ndarray
    reference: Moments
    skewed: bool = False

    @property
    def truth(self) -> float:
        """The distance at infinite N."""
        return frechet_distance(Moments(10**9, self.mean, self.root @ self.root.T), self.reference)

    def draw(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """Features ``[rows, d]``."""
        shape = (rows, len(self.mean))
        unit = rng.standard_exponential(shape) - 1 if self.skewed else rng.standard_normal(shape)
        return np.asarray(self.mean + unit @ self.root.T)


def laws(d: int) -> list[Law]:
    """From no difference to a large one, with flat and steep spectra, and one law that is not Gaussian."""
    flat, steep, zero = np.eye(d), 1 / np.arange(1, d + 1), np.zeros(d)
    turned = np.linalg.qr(np.random.default_rng(1).standard_normal((d, d)))[0]
    unit, fading = Moments(10**9, zero, flat), Moments(10**9, zero, np.diag(steep))
    other = Moments(10**9, zero, (turned * steep) @ turned.T)
    return [
        Law("equal", zero, flat, unit),
        Law("equal, steep spectrum", zero, np.diag(np.sqrt(steep)), fading),
        Law("mean moved a little", np.full(d, 0.1 / np.sqrt(d)), flat, unit),
        Law("mean moved", np.full(d, 0.5 / np.sqrt(d)), flat, unit),
        Law("variance 1.5 times", zero, np.sqrt(1.5) * flat, unit),
        Law("turned, steep spectrum", np.full(d, 0.3 / np.sqrt(d)), np.diag(np.sqrt(1.2 * steep)), other),
        Law("skewed (exponential)", np.full(d, 0.5 / np.sqrt(d)), turned, unit, skewed=True),
    ]


def score(x: np.ndarray, law: Law, rng: np.random.Generator) -> Span:
    """The interval of ``metrics.intervals``."""
    return frechet_interval(x, law.reference, rng=rng).ci95


def score_sampled(x: np.ndarray, law: Law, rng: np.random.Generator) -> Span:
    """The same with the reference known by as many rows only (of a Gaussian law)."""
    rows = rng.multivariate_normal(law.reference.mean, law.reference.cov, len(x), method="cholesky")
    return frechet_interval(x, rows, rng=rng).ci95


def jackknife(x: np.ndarray, law: Law, rng: np.random.Generator) -> Span:
    """Delete-group jackknife of the plain distance."""

    def distance(rows: np.ndarray) -> float:
        return frechet_distance(Moments.of(x[rows]), law.reference)

    return jackknife_interval(distance, len(x), estimand="distance", rng=rng).ci95


def bootstraps(x: np.ndarray, law: Law, rng: np.random.Generator) -> tuple[Span, Span]:
    """Percentile and reflected (basic) bootstrap of the plain distance, from the same resamples."""
    plain = frechet_distance(Moments.of(x), law.reference)
    draws = []
    for _ in range(RESAMPLES):
        weight = rng.multinomial(len(x), np.full(len(x), 1 / len(x)))
        mean = weight @ x / len(x)
        cov = (x * weight[:, None]).T @ x / len(x) - np.outer(mean, mean)
        draws.append(frechet_distance(Moments(len(x), mean, cov), law.reference))
    low, high = np.quantile(draws, [0.025, 0.975])
    return (float(low), float(high)), (float(2 * plain - high), float(2 * plain - low))


def coverage(
    law: Law, d: int, n: int, trials: int, span: Callable[[np.ndarray, Law, np.random.Generator], Span]
) -> float:
    """Share of trials whose interval holds the true distance."""
    truth, held = law.truth, 0
    for trial in range(trials):
        rng = np.random.default_rng([trial, d, n])
        low, high = span(law.draw(n, rng), law, rng)
        held += low - 1e-9 <= truth <= high + 1e-9
    return held / trials


def bootstrap_coverage(law: Law, d: int, n: int, trials: int) -> tuple[float, float]:
    """Coverage of the percentile and of the reflected bootstrap."""
    truth, held = law.truth, np.zeros(2)
    for trial in range(trials):
        rng = np.random.default_rng([trial, d, n])
        held += [low <= truth <= high for low, high in bootstraps(law.draw(n, rng), law, rng)]
    return float(held[0] / trials), float(held[1] / trials)


HEAD = """# Coverage of the intervals of a Frechet distance

Written by `python docs/studies/coverage.py`; every number below is measured by it.

The estimand is the distance at infinite N: that of the generator's law to the reference. Features are drawn
from a law with known moments; a 95 % interval should hold the true distance in 95 % of the trials. {trials}
trials each (two standard errors at 95 %: {error:.1f} points), {few} for sampled and jackknife
({few_error:.0f} points), half as many for the bootstraps.

- **score**: `metrics.intervals.frechet_interval`, the reference given by its moments.
- **sampled**: the same, the reference known by N rows only.
- **jackknife**: `metrics.intervals.jackknife_interval` of the plain distance, 20 groups.
- **percentile**, **reflected**: bootstrap of the plain distance, {resamples} resamples.

| d | N | law | true | plain, mean | score | sampled | jackknife | percentile | reflected |
| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
"""

TAIL = """
The plain distance of N samples lies far above the true one, and resampling adds the same bias once more: the
percentile interval covers a biased number. Reflection takes the bias out to first order. The score interval
removes it to second order, needs no resampling, and knows that the spread of the estimate falls with the
distance. Where there is no difference at all it starts at 0 and misses on one side only.
"""


def main(trials: int = 300, few: int = 60) -> None:
    """Measure and write the page."""
    lines, pooled = [], []
    for d, n in SIZES:
        held = []
        for law in laws(d):
            rng = np.random.default_rng(0)
            plain = np.mean([frechet_distance(Moments.of(law.draw(n, rng)), law.reference) for _ in range(5)])
            held.append(coverage(law, d, n, trials, score))
            found = [held[-1], np.nan if law.skewed else coverage(law, d, n, few, score_sampled)]
            if law.name in RIVALS:
                found += [coverage(law, d, n, few, jackknife), *bootstrap_coverage(law, d, n, few // 2)]
            cells = [f"{100 * share:.1f} %" if share == share else "" for share in found]
            cells += [""] * (5 - len(cells))
            lines.append(
                f"| {d} | {n:,} | {law.name} | {law.truth:.4f} | {plain:.4f} | {' | '.join(cells)} |"
            )
            print(lines[-1], flush=True)
        pooled.append(f"- d = {d}, N = {n:,}: {100 * np.mean(held):.1f} %")
    errors = [200 * (0.0475 / count) ** 0.5 for count in (trials, few)]
    head = HEAD.format(trials=trials, few=few, resamples=RESAMPLES, error=errors[0], few_error=errors[1])
    page = head + "\n".join(lines) + "\n\nScore, all laws together:\n\n" + "\n".join(pooled) + "\n" + TAIL
    (Path(__file__).parent / "coverage.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
