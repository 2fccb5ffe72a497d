"""docs/benchmarks.md from docs/benchmarks.json: ``python tests/benchmarks/benchmark_page.py [JSON]``.

Another JSON, such as the one that ``make bench`` writes, becomes a page beside it.
"""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from timing import NOT, Took, told

MEASURED = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.json"
HEAD = """# Speed

Written by `make bench`, from one run. Every line is timed beside its references, turn by turn, in the same
process on the same inputs and weights; the ratio is of the two medians, so below 1 this code is the
quicker. Times are processor time, at the number of threads below, but where a heading says otherwise. Seconds
depend on the machine and on what else ran there; ratios less so, and they are what this page is for.

Measured on {date}: {processor}, {threads}, torch {torch}, code {code}.
{load}

An iteration of the runner cannot be quicker than the step in it: how far such a ratio lies below 1 is how far
ratios scatter in this run. Everything runs on the CPU but what a heading says of a GPU; where there was none,
a line says *not measured*.
"""
AFTER = """
*Alone* means: the very calls of networks that the step made, forwards and backwards with the same inputs,
made again with nothing between them. The rest of a step is its losses, optimisers, clipping and random
numbers; it weighs most where networks are small. *What bench plan predicts*: the units of the step, each as
long as a forward of the reference network on one sample; the ratio less 1 is the error of the prediction.
`adm32` is ImageNet-64's architecture in a smaller size (32 x 32 pixels, 32 channels, random weights), under
the defaults of each method.

Memory is what an iteration allocates at its peak beyond what the training keeps: activations, gradients,
scratch. On a GPU the network is ImageNet-64's own (296 M parameters, random weights, bf16; the published
loops in their fp16). The peak of a GPU is that of its datasheet, dense; a ratio of 2.22 is 45 % of it, in the
FLOPs of the calls that the meter counts and no others.

Several processes share the batch of the suite's preset, so 0.625 is 1.6 times as many images per second. They
need as many free cores: where the machine was busy, their line says *not measured*. *Half the batch* is what
each of them computes: its ratio less 1 is what sharing costs, and the rest of the way to 0.5 is what small
networks lose on small batches.

The published loops are the networks and losses of their authors, in the order of their updates, without
loading of data. They lie outside this repository; `DISTILLBENCH_OFFICIAL=FOLDER make bench` finds them in
`FOLDER/SiD` and `FOLDER/DMD2`, clones of [SiD](https://github.com/mingyuanzhou/SiD) and
[DMD2](https://github.com/tianweiy/DMD2). Without them a line says
*not measured*. The aim 0.77 is 1.3 times as many images per second.
"""


def page(measured: dict[str, Any]) -> str:
    """The page of a run."""
    machine = measured["machine"]
    plural = "thread" if machine["threads"] == 1 else "threads"
    load = f"Programs that wanted a processor meanwhile, on average: {machine['load']}, this one among them."
    facts = {**machine, "threads": f"{machine['threads']} {plural}", "load": load}
    rows = sorted(measured["rows"], key=lambda row: row["part"])
    parts = "".join(section(part, list(group)) for part, group in groupby(rows, key=lambda row: row["part"]))
    return HEAD.format(**facts) + parts + "\n## How to read it\n" + AFTER


def section(part: str, rows: list[dict[str, Any]]) -> str:
    """A heading and its table."""
    lines = [line for row in rows for line in lines_of(row)]
    head = "| what | median | beside | ratio | aim |\n|---|---:|---|---:|---:|\n"
    return f"\n## {part}\n\n{head}" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def lines_of(row: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line for each reference, or one without."""
    median = row["median"]
    own = (row["what"], NOT if median is None else told(median, row.get("unit", Took.unit)))
    if not row["ratios"]:
        return [(*own, "", "", "")]
    return [
        (*own, name, NOT if ratio is None else f"{ratio:.2f}", aim(row["aims"].get(name)))
        for name, ratio in row["ratios"].items()
    ]


def aim(value: float | None) -> str:
    return "" if value is None else f"≤ {value:g}"


def main(words: list[str]) -> None:
    """Write the page and print it."""
    source = Path(words[0]) if words else MEASURED
    text = page(json.loads(source.read_text(encoding="utf-8")))
    source.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
