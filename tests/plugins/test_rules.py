"""The rules of the contract: every example is run, the page is made from them, what ships keeps them."""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path

import pytest

from bench.check.evidence import gather
from bench.check.examples import BASE, EXAMPLES, source
from bench.check.page import page
from bench.check.rules import BY_ID, RULES, judge
from bench.lab import Lab
from bench.methods import MethodRegistry
from bench.plugins.loading import load_methods
from bench.selector import parse_selector
from bench.suite import load_suite

pytestmark = pytest.mark.usefixtures("one_thread")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "rules.md"


@pytest.fixture(scope="module")
def lab() -> Lab:
    return Lab.open(load_suite("gmm2d"))


def states(cls: type, lab: Lab, folder: Path) -> dict[str, str]:
    return {verdict.rule.id: verdict.state for verdict in judge(gather(cls, lab, folder))}


def example(members: str, folder: Path) -> type:
    path = folder / "example_of_rule.py"
    path.write_text(source(members))
    return load_methods(path)["example"].cls


def test_ids_titles_and_examples_go_together() -> None:
    ids = [rule.id for rule in RULES]
    assert ids == [f"DB{101 + i}" for i in range(len(RULES))] == list(EXAMPLES)
    assert len({rule.title for rule in RULES}) == len(RULES)
    assert all(set(rule.after) < set(BY_ID) for rule in RULES)


@pytest.mark.parametrize("rule", EXAMPLES)
def test_what_breaks_a_rule_breaks_exactly_that_one(rule: str, lab: Lab, tmp_path: Path) -> None:
    found = states(example(EXAMPLES[rule].breaks, tmp_path), lab, tmp_path)
    assert [name for name, state in found.items() if state == "failed"] == [rule]
    for name, state in found.items():
        assert state != "skipped" or set(BY_ID[name].after) & {n for n, s in found.items() if s != "passed"}


@pytest.mark.parametrize("rule", EXAMPLES)
def test_what_keeps_a_rule_keeps_all(rule: str, lab: Lab, tmp_path: Path) -> None:
    found = states(example(EXAMPLES[rule].keeps, tmp_path), lab, tmp_path)
    assert {name for name, state in found.items() if state != "passed"} == set()


def test_the_page_is_made_from_the_rules() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert text == page(), "make it again: bench check --rules > docs/rules.md"
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    expected = [BASE, *(part for e in EXAMPLES.values() for part in (e.keeps, e.breaks))]
    assert blocks[: len(expected)] == expected


@pytest.mark.parametrize(
    ("members", "rule", "said"),
    [
        ('summary = "two\\nlines"\n', "DB101", "expected one line"),
        ('name = "Not-A-Name"\n', "DB101", "expected lower-case letters"),
        ("@classmethod\ndef served_nfe(cls, config):\n    return (2, 1)\n", "DB101", "ascending"),
        ("def step(self, batch):\n    raise SystemExit(1)\n", "DB102", "the training raised SystemExit"),
        ("def step(self, batch):\n    return {}\n", "DB102", "no scalar"),
        ("def students(self):\n    return {}\n", "DB103", "students() serves ()"),
        (
            "def loss(self, batch):\n    import random\n\n    return super().loss(batch) * random.random()\n",
            "DB108",
            "global generator of random",
        ),
        (
            "import os\n\ndef loss(self, batch):\n    self.os.system('true')\n"
            "    return super().loss(batch)\n",
            "DB109",
            "os.system",
        ),
        (
            "def noise(self, size):\n    with open(__file__ + '.txt', 'w') as f:\n        f.write('x')\n"
            "    return super().noise(size)\n",
            "DB110",
            "opened ",
        ),
        (
            "def target(self, x, cond):\n    for _ in range(2001):\n"
            "        self.context.meter.charge('teacher', len(x), 1.0)\n    return super().target(x, cond)\n",
            "DB107",
            "units per sample",
        ),
        (
            "def step(self, batch):\n    with torch.no_grad():\n"
            "        for w in self.teacher.net.plain.parameters():\n            w.mul_(1.001)\n"
            "    return super().step(batch)\n",
            "DB114",
            "teacher",
        ),
        (
            "def __init__(self, teacher, config, context):\n    super().__init__(teacher, config, context)\n"
            "    self.optimizer = torch.optim.SGD(self.student.plain.parameters(), lr=1e-3)\n",
            "DB114",
            "student",
        ),
    ],
)
def test_other_ways_to_break_a_rule(members: str, rule: str, said: str, lab: Lab, tmp_path: Path) -> None:
    text = members if members.startswith("name") else f'name = "example"\n{members}'
    path = tmp_path / "example_of_rule.py"
    path.write_text(f"{BASE}\n\nclass Changed(Base):\n{textwrap.indent(text, '    ')}")
    (found,) = load_methods(path).values()
    verdicts = {verdict.rule.id: verdict for verdict in judge(gather(found.cls, lab, tmp_path))}
    assert verdicts[rule].state == "failed" and said in verdicts[rule].note


@pytest.mark.slow
@pytest.mark.parametrize(
    "selector",
    ["sid", "progressive", "dmd", "dmd2", "lcm", "moment_matching"]
    + [f"ddil[base={base}]" for base in ("progressive", "lcm", "dmd2")],
)
def test_methods_that_ship_keep_every_rule(selector: str, lab: Lab, tmp_path: Path) -> None:
    cls = MethodRegistry().resolve(parse_selector(selector))[0].cls
    assert {name for name, state in states(cls, lab, tmp_path).items() if state != "passed"} == set()


@pytest.fixture(autouse=True)
def forget_examples() -> None:
    sys.modules.pop("bench_plugin_example_of_rule", None)
