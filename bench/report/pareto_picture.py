"""Quality against latency, drawn: every row of a board as a point, those that nothing beats on a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.ticker import LogFormatter

from bench.record import Record
from bench.report.pareto import Point, points
from bench.report.pictures import COLOURS, FAINT, INK, MARKERS, new_figure, save
from bench.report.table import Table, tables
from bench.report.text import printable
from bench.suite import MetricColumn, Suite

SHOWN = ("clip_score",)  # drawn beside the metric that ranks, where the suite has it


def pareto_png(records: Sequence[Record], suite: Suite, path: Path) -> Path:
    """Draw the rows of the suite's own protocol, one panel a metric. Returns the path.

    The latency is that of one sample over one forward of the teacher's network; both axes of distances are
    logarithmic.

    Raises:
        ValueError: no row has a latency.
    """
    own = [table for table in tables(records, suite) if table.protocol == suite.protocol.id]
    columns = [suite.column(suite.primary), *(c for c in suite.metrics if c.key in SHOWN)]
    drawn = [(table, column) for table in own for column in columns if points(table, column)]
    if not drawn:
        raise ValueError(f"no row of {suite.id} under {suite.protocol.id} has a latency")
    figure = new_figure(8.2, 3.4 * len(drawn) + 0.8)
    axes = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
    names = sorted({point.line.label for table, column in drawn for point in points(table, column)})
    for axis, (table, column) in zip(axes, drawn, strict=True):
        _panel(axis, table, column, names)
    handles = {
        label: handle
        for axis in axes
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles, loc="outside lower left", ncols=3, fontsize=8, frameon=False)
    return save(figure, path)


def _panel(axis: Any, table: Table, column: MetricColumn, names: Sequence[str]) -> None:
    found = points(table, column)
    for i, name in enumerate(names):
        own = [point for point in found if point.line.label == name]
        if own:
            shape = {"color": COLOURS[i % 7], "marker": MARKERS[i // 7 % 7]}
            x, y = _coordinates(own)
            axis.plot(x, y, ls="none", ms=6, mec="white", mew=0.6, label=printable(name), **shape)
    x, y = _coordinates([point for point in found if point.front])
    axis.plot(x, y, color=FAINT, lw=1.2, ls=(0, (6, 3)), zorder=0, label="nothing is faster and better")
    for point in found:
        axis.annotate(str(point.line.nfe), (point.latency, point.value), (4, 4), textcoords="offset points",
                      fontsize=7, color=FAINT)  # fmt: skip
    positive = column.better == "lower" and all(point.value > 0 for point in found)
    axis.set(xscale="log", yscale="log" if positive else "linear")
    for logarithmic in (axis.xaxis, axis.yaxis)[: 1 + positive]:
        logarithmic.set_major_formatter("{x:g}")
        logarithmic.set_minor_formatter(LogFormatter())  # plain numbers, where there is room
    axis.set_title(
        printable(f"{column.title} against latency, budget {table.budget}; beside each point its NFE"),
        fontsize=10,
        color=INK,
        loc="left",
    )
    axis.set_xlabel("latency, teacher forwards", fontsize=9, color=INK)
    axis.margins(0.06, 0.12)
    axis.tick_params(labelsize=9, colors=INK)
    axis.grid(True, which="major", color="#DDDDDD", lw=0.6)


def _coordinates(found: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.latency for point in found], [point.value for point in found]
