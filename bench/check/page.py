"""The page of the rules, docs/rules.md, made from the rules: ``bench check --rules > docs/rules.md``."""

from __future__ import annotations

import textwrap

from bench.check.examples import BASE, EXAMPLES
from bench.check.rules import RULES, Rule

HEAD = """# Rules for methods

`bench check my_method.py` runs a method for a few iterations under observation and judges these rules; see
the [command line](command-line.md#bench-check). A rule that cannot be judged because another one is broken is
skipped. What a check can and cannot show is in the [threat model](threat-model.md).

This page is made by `bench check --rules`. The tests run every example in it: what breaks a rule breaks
exactly that one.

| id | rule |
|---|---|
"""


def page() -> str:
    """The whole page as Markdown."""
    table = "".join(f"| [{rule.id}](#{rule.id.lower()}) | {rule.title} |\n" for rule in RULES)
    base = f"\nThe examples replace members of this method, which keeps every rule:\n\n```python\n{BASE}```\n"
    return HEAD + table + base + "".join(map(section, RULES))


def section(rule: Rule) -> str:
    """A rule with its examples."""
    example = EXAMPLES[rule.id]
    after = f"\n\nJudged after {', '.join(rule.after)}." if rule.after else ""
    return (
        f"\n## {rule.id}\n\n{wrapped(f'**{rule.title}.** {rule.why}')}{after}\n\n"
        f"Keeps it:\n\n```python\n{example.keeps}```\n\nBreaks it:\n\n```python\n{example.breaks}```\n"
    )


def wrapped(text: str) -> str:
    """Text on lines of the page."""
    return "\n".join(textwrap.wrap(text, 118, break_on_hyphens=False))
