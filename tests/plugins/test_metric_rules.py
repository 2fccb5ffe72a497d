"""The rules of metrics: every example is run, and what ``bench new metric`` writes keeps them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.check.metric_evidence import gather_metric
from bench.check.metric_examples import METRIC_BASE, METRIC_EXAMPLES, metric_source
from bench.check.metric_rules import METRIC_RULES
from bench.check.rules import judge
from bench.check.run import check
from bench.cli import main
from bench.plugins.loading import load_plugin

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith(("bench_plugin_", "mine_all"))]:
        del sys.modules[name]


def verdicts(members: str, folder: Path) -> dict[str, tuple[str, str]]:
    path = folder / "example_of_rule.py"
    path.write_text(metric_source(members))
    cls = load_plugin(path).metrics["example"].cls
    return {v.rule.id: (v.state, v.note) for v in judge(gather_metric(cls), METRIC_RULES)}


def test_ids_titles_and_examples_go_together() -> None:
    ids = [rule.id for rule in METRIC_RULES]
    assert ids == [f"DB{201 + i}" for i in range(len(METRIC_RULES))] == list(METRIC_EXAMPLES)
    assert all(set(rule.after) < set(ids) for rule in METRIC_RULES)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    parts = [part for e in METRIC_EXAMPLES.values() for part in (e.keeps, e.breaks)]
    assert blocks[-len(parts) - 1 :] == [METRIC_BASE, *parts]


@pytest.mark.parametrize("rule", METRIC_EXAMPLES)
def test_what_breaks_a_rule_breaks_exactly_that_one(rule: str, tmp_path: Path) -> None:
    found = verdicts(METRIC_EXAMPLES[rule].breaks, tmp_path)
    assert [name for name, (state, _) in found.items() if state == "failed"] == [rule]


@pytest.mark.parametrize("rule", METRIC_EXAMPLES)
def test_what_keeps_a_rule_keeps_all(rule: str, tmp_path: Path) -> None:
    found = verdicts(METRIC_EXAMPLES[rule].keeps, tmp_path)
    assert {name for name, (state, _) in found.items() if state != "passed"} == set()


@pytest.mark.parametrize(
    ("members", "rule", "said"),
    [
        ("def value(self):\n    raise SystemExit(1)\n", "DB202", "on samples of gmm2d: SystemExit: 1"),
        ("def update(self, batch):\n    batch.samples[0] = 0\n", "DB202", "read-only"),
        ('needs = Needs(space="points", labels=True)\n', "DB202", "none of gmm2d, digits can feed it"),
        ('about = "two\\nlines"\n', "DB201", "one line"),
        ("needs = None\n", "DB201", "expected metrics.plugin.Needs"),
        ('version = "<b>"\n', "DB201", "version is '<b>'"),
    ],
)
def test_other_ways_to_break_a_rule(members: str, rule: str, said: str, tmp_path: Path) -> None:
    state, note = verdicts(members, tmp_path)[rule]
    assert state == "failed" and said in note


def test_a_new_metric_is_small_and_keeps_every_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["new", "metric", "mine_all", "--out", str(tmp_path)]) == 0
    folder = tmp_path / "mine_all"
    shown = capsys.readouterr().out
    assert f"next: bench check {folder}" in shown and f"--plugin {folder} --method sid" in shown
    source = (folder / "src" / "mine_all" / "metric.py").read_text()
    assert len(source.splitlines()) <= 32 and max(map(len, source.splitlines())) <= 110
    ast.parse((folder / "tests" / "test_mine_all.py").read_text())
    assert {verdict.state for verdict in check(folder)["mine_all"]} == {"passed"}
    assert main(["new", "metric", "swd", "--out", str(tmp_path)]) == 2
    assert "metric name 'swd' is taken" in capsys.readouterr().err
