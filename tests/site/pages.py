"""Pages for tests: boards of the factory, and names that try to act."""

from pathlib import Path

from record_factory import board, record, references, row

from bench.report.html import page
from bench.report.table import tables
from bench.report.views import Shown
from bench.suite import load_suite

SUITES = ("gmm2d", "gmm2d-grid")
PAYLOADS = (
    "<script>window.hit=1</script>",
    "</script><script>window.hit=1</script>",
    '"><img src=x onerror="window.hit=1">',
    "' onmouseover='window.hit=1",
    "javascript:window.hit=1",
    "<!--<script>",
    "{{ 7*7 }}{% raw %}",
    "</table></dialog><iframe src=//evil.example>",
    "=HYPERLINK(\"http://evil.example\",\"x\")",
    "\x1b]0;owned\x07\x1b[31m\u202eevil",
    "]]>&lt;b&gt;&#0;",
    "\u2028alert(1)\u2029",
)  # fmt: skip


def hostile(suite="gmm2d"):
    """Students whose label, notes, command, method, options and paper are all a payload."""
    made = []
    for i, bad in enumerate(PAYLOADS):
        one = record(
            "sid", [row(1, 9.0 + i / 10)], suite=suite, protocol=f"{suite}@1", notes=[bad], paper=bad
        )
        changes = {"label": bad, "method": bad, "command": bad, "config": {bad: bad}, "cell": f"{i:016x}"}
        maker = one.provenance.model_copy(update={"device": bad, "packages": {bad: bad}})
        made.append(one.model_copy(update={**changes, "provenance": maker}))
    return made


def shown(records, suite):
    """One suite's records as a page shows them."""
    return Shown(suite, records, tables(records, suite))


def usual(root=Path("/nonexistent")):
    """A page of two suites."""
    boards = []
    for name in SUITES:
        suite = load_suite(name)
        own = [r.model_copy(update={"suite": name, "protocol": suite.protocol.id}) for r in board()]
        boards.append(shown(own, suite))
    return page(boards, root)


def attacked(root=Path("/nonexistent")):
    """A page of payloads."""
    return page([shown([*hostile(), *references()], load_suite("gmm2d"))], root)
