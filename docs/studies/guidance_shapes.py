"""How guidance trades distance against CLIP score on shapes; writes guidance-shapes.md and its picture.

Run it from the root of the repository: ``python docs/studies/guidance_shapes.py`` (ten minutes, one core).
Samples are those of the curve's block: a scale chosen here was not chosen on what rows are made of.
"""

from __future__ import annotations

from pathlib import Path

import torch

from bench.cell import reference_cells
from bench.lab import Lab
from bench.making import draw_block
from bench.report.pictures import COLOURS, FAINT, INK, new_figure, save
from bench.suite import load_suite
from bench.suite_presets import SolverRows

SCALES = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
CALLS, SAMPLES = 25, 500
SOLVER = "dpmpp_2m"
SHOWN = ("fd", "clip_score", "r_colour", "r_shape", "r_binding", "r_relation", "r_size", "r_place")
HERE = Path(__file__).parent

TEXT = """# The guidance scale on shapes

Written by `python docs/studies/guidance_shapes.py`; every number below is measured by it.

The teacher by {solver} with {calls} calls, {samples} samples of the captions of block {seed}, one repeat. At
scale 1 a call is one evaluation, else two. Metrics are those of the [suite](../suites/shapes.md).

![FD and CLIP score by guidance scale](../pictures/guidance-shapes.png)

| scale | NFE | {titles} |
| ---: | ---: | {rule} |
{rows}
"""


def measured(lab: Lab, scale: float) -> tuple[int, dict[str, float]]:
    """Evaluations per sample and metrics of the teacher at a guidance scale."""
    rows = SolverRows(solver=SOLVER, guidance=scale, nfe=(CALLS,))
    cell = reference_cells(lab.suite.model_copy(update={"solver_rows": (rows,)}), "standard")[-1]
    seed = lab.suite.protocol.curve_seed
    x, evaluations = draw_block(lab, cell, None, CALLS, seed, SAMPLES)
    return round(sum(evaluations.values()) / SAMPLES), lab.evaluator.score(lab.evaluator.pixels(x), seed)


def picture(found: dict[float, tuple[int, dict[str, float]]], path: Path) -> None:
    """FD against CLIP score, a point a scale."""
    figure = new_figure(5.6, 3.6)
    axis = figure.subplots()
    x, y = ([scores[key] for _, scores in found.values()] for key in ("clip_score", "fd"))
    axis.plot(x, y, "o-", color=COLOURS[0], mec="white")
    for scale, a, b in zip(found, x, y, strict=True):
        axis.annotate(f"{scale:g}", (a, b), (5, 5), textcoords="offset points", fontsize=9, color=FAINT)
    axis.set_xlabel("CLIP score", fontsize=9, color=INK)
    axis.set_ylabel("FD", fontsize=9, color=INK)
    axis.grid(True, color="#DDDDDD", lw=0.6)
    save(figure, path)


def main() -> None:
    """Measure every scale, then write."""
    torch.set_num_threads(1)
    suite = load_suite("shapes")
    lab = Lab.open(suite)
    found = {}
    for scale in SCALES:
        found[scale] = measured(lab, scale)
        print(scale, found[scale], flush=True)
    lines = [
        f"| {scale:g} | {nfe} | " + " | ".join(f"{scores[key]:.3f}" for key in SHOWN) + " |"
        for scale, (nfe, scores) in found.items()
    ]
    text = TEXT.format(
        solver=SOLVER,
        calls=CALLS,
        samples=f"{SAMPLES:,}",
        seed=suite.protocol.curve_seed,
        titles=" | ".join(suite.column(key).title for key in SHOWN),
        rule=" | ".join("---:" for _ in SHOWN),
        rows="\n".join(lines),
    )
    (HERE / "guidance-shapes.md").write_text(text, encoding="utf-8")
    picture(found, HERE.parent / "pictures" / "guidance-shapes.png")


if __name__ == "__main__":
    main()
