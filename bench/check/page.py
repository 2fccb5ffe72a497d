"""The page of the rules, docs/rules.md, made from the rules: ``bench check --rules > docs/rules.md``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from bench.check.examples import BASE, EXAMPLES, Example
from bench.check.metric_examples import METRIC_BASE, METRIC_EXAMPLES
from bench.check.metric_rules import METRIC_RULES
from bench.check.rules import RULES, Rule

HEAD = """# Rules for methods and metrics

`bench check my_method.py` runs a method for a few iterations, or a metric on a few samples, under observation
and judges these rules; see the [command line](command-line.md#bench-check). A rule that cannot be judged
because another one is broken is skipped. What a check can and cannot show is in the
[threat model](threat-model.md).

This page is made by `bench check --rules`. The tests run every example in it: what breaks a rule breaks
exactly that one.
"""


def page() -> str:
    """The whole page as Markdown."""
    return (
        HEAD
        + part("method", RULES, BASE, EXAMPLES)
        + part("metric", METRIC_RULES, METRIC_BASE, METRIC_EXAMPLES)
    )


def part(word: str, rules: Sequence[Rule], base: str, examples: Mapping[str, Example]) -> str:
    """The rules of one kind of plugin."""
    table = "".join(f"| [{rule.id}](#{rule.id.lower()}) | {rule.title} |\n" for rule in rules)
    intro = (
        f"\nThe examples replace members of this {word}, which keeps every rule:\n\n```python\n{base}```\n"
    )
    sections = "".join(section(rule, examples[rule.id]) for rule in rules)
    return f"\n## {word.capitalize()}s\n\n| id | rule |\n|---|---|\n{table}{intro}{sections}"


def section(rule: Rule, example: Example) -> str:
    """A rule with its examples."""
    after = f"\n\nJudged after {', '.join(rule.after)}." if rule.after else ""
    return (
        f"\n### {rule.id}\n\n{wrapped(f'**{rule.title}.** {rule.why}')}{after}\n\n"
        f"Keeps it:\n\n```python\n{example.keeps}```\n\nBreaks it:\n\n```python\n{example.breaks}```\n"
    )


def wrapped(text: str) -> str:
    """Text on lines of the page."""
    return "\n".join(textwrap.wrap(text, 118, break_on_hyphens=False))
