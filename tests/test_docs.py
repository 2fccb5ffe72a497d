"""What the documents state about the code is compared with the code."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from pydantic import BaseModel

from bench.anatomy import Anatomy, dissect
from bench.catalog import METHODS
from bench.cli import VERBS, command
from bench.context import RunContext
from bench.events import ALWAYS, KINDS
from bench.lab import Lab
from bench.latency import TIMED, WARM_UP
from bench.meter import Meter
from bench.methods import MethodRegistry, built_in, typed_options
from bench.plugins.loading import load_methods
from bench.presets import named_presets
from bench.record import (
    Cost,
    CurvePoint,
    Failure,
    Latency,
    MetricValue,
    PluginMetric,
    Provenance,
    Record,
    Row,
)
from bench.references import bibliography
from bench.report.describe import value_text
from bench.report.protocols import value_text as protocol_value
from bench.selector import parse_selector
from bench.stages import AROUND
from bench.suite import load_suite, suite_names
from bench.suite_protocol import PublishedProtocol
from metrics.protocols.registry import shipped_protocols

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
EXAMPLE = DOCS / "examples" / "one_step_regression.py"
PRESETS = ROOT / "bench" / "presets"
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*DOCS.rglob("*.md"), *PRESETS.glob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
)
METHOD_PAGES = sorted(path.stem for path in (DOCS / "methods").glob("*.md") if path.stem != "README")
SUITE_PAGES = sorted(path.stem for path in (DOCS / "suites").glob("*.md") if path.stem != "real")


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next heading of any level."""
    parts = re.split(r"^#+ (.+)$", text_of(page), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in found, f"{page}: no heading {heading!r}; found: {', '.join(found)}"
    return found[heading]


def rows(text: str) -> list[list[str]]:
    """Cells of the body of the only table in a text, code marks removed."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in lines]
    return cells[2:]


def test_contributing_quotes_the_example_file() -> None:
    quoted = re.search(r"```python\n(.*?)```", text_of("CONTRIBUTING.md"), re.DOTALL)
    assert quoted and quoted[1] == EXAMPLE.read_text(encoding="utf-8")


def test_the_example_trains() -> None:
    cls = load_methods(EXAMPLE)["one_step_regression"].cls
    lab, meter, size = Lab.open(load_suite("gmm2d")), Meter(), 4

    def draw(batch: int, count: int):  # type: ignore[no-untyped-def]
        return lab.entry.draw(0, batch, count)

    context = RunContext(lab.space, draw, meter, budget=1e4, batch_size=size, seed=0, data_free=True)
    config = cls.Config()
    method = cls(lab.teacher(meter), config, context)
    before = [p.detach().clone() for p in method.student.plain.parameters()]
    first = float(method.step(context.next_batch())["loss"])
    assert first > 0
    assert any((p != q).any() for p, q in zip(before, method.student.plain.parameters(), strict=True))
    assert meter.by_role() == {"student": 3 * size, "teacher": (2 * config.solver_steps - 1) * size}


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_options_of_a_method_are_those_of_its_config(name: str) -> None:
    fields = MethodRegistry().find(name).cls.Config.model_fields
    expected = [[key, value_text(field.default), field.description] for key, field in fields.items()]
    assert rows(section(f"docs/methods/{name}.md", "Options")) == expected


def test_every_method_has_a_page() -> None:
    assert sorted(METHODS) == METHOD_PAGES


def units(cell: str, extra: float) -> float:
    """A sum such as ``4 + 6 g``, where g is the cost that a page names so."""
    return sum(
        float(term.removesuffix("g") or 1) * (extra if term.endswith("g") else 1) for term in cell.split("+")
    )


def stated_work(name: str, extra: float) -> list[float]:
    """Sums of the columns of a page's table of work, each compared with its own lines."""
    lines = [line for line in section(f"docs/methods/{name}.md", "Work").splitlines() if line.startswith("|")]
    first = [cell.strip() for cell in lines[0].strip("|").split("|")].index("call") + 1
    columns = list(zip(*(row[first:] for row in rows("\n".join(lines))), strict=True))
    for *calls, total in columns:
        assert sum(units(call, extra) for call in calls) == pytest.approx(units(total, extra))
    return [units(column[-1], extra) for column in columns]


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_work_of_a_method_is_what_iterations_are_charged(name: str) -> None:
    lab, extra = Lab.open(load_suite("gmm2d")), 0.0
    label = "ddil[base=lcm]" if name == "ddil" else name
    cls = MethodRegistry().resolve(parse_selector(label))[0].cls
    counted = dissect(label, cls, lab).work
    if "gan" in cls.Config.model_fields:  # g: encoder and head, six times in an iteration of the critic
        plain = dissect(label, cls, lab, cls.Config(gan="off")).work
        assert stated_work(name, 0.0) == list(dict.fromkeys(plain))
        extra = (counted[1] - plain[1]) / 6
    found = list(dict.fromkeys(round(work, 9) for work in counted))
    assert list(dict.fromkeys(stated_work(name, extra))) == pytest.approx(found)


def test_work_of_the_instant_variant() -> None:
    measured, after = 3.0, 10.0
    cls = MethodRegistry().find("mm").cls
    config = cls.Config(variant="instant", real_batches=2)
    found = dissect("mm", cls, Lab.open(load_suite("gmm2d")), config).work
    assert found[:3] == (measured, measured, after)
    assert f"takes {measured:g} while Lambda is measured" in text_of("docs/methods/moment_matching.md")
    assert f"then {after:g}: student forward" in text_of("docs/methods/moment_matching.md")


EVALUATIONS = rows(section("docs/methods/README.md", "Network evaluations per training step"))
Range = tuple[float, float]


def span(text: str) -> Range:
    """``1 to 4``, or one number twice."""
    first, _, last = text.partition(" to ")
    return float(first), float(last or first)


def iterations_of(cell: str) -> list[int]:
    """``0, 5`` or ``1 to 4``."""
    if " to " in cell:
        first, last = map(int, cell.split(" to "))
        return list(range(first, last + 1))
    return [int(number) for number in cell.split(", ")]


def calls_of(cell: str) -> dict[str, Range]:
    """``fake 2, student 1 to 4``."""
    return (
        {} if cell == "none" else {r: span(n) for r, n in (each.split(" ", 1) for each in cell.split(", "))}
    )


def counted(label: str, **limits: float) -> Anatomy:
    """What the meter counts for a selector on gmm2d."""
    method, selector = MethodRegistry().resolve(parse_selector(label))
    lab = Lab.open(load_suite("gmm2d"))
    return dissect(label, method.cls, lab, typed_options(method, {}, selector), **limits)  # type: ignore[arg-type]


@pytest.mark.parametrize("label", list(dict.fromkeys(row[0] for row in EVALUATIONS)))
def test_evaluations_per_step_are_what_the_meter_counts(label: str) -> None:
    found, seen = counted(label), []
    for _, where, _, forwards, backwards in (row for row in EVALUATIONS if row[0] == label):
        for iteration in iterations_of(where):
            seen.append(iteration)
            for stated, calls in ((forwards, found.forwards), (backwards, found.backwards)):
                expected, got = calls_of(stated), calls[iteration]
                assert expected.keys() == got.keys(), f"iteration {iteration}: {got}"
                assert all(low <= got[r] <= high for r, (low, high) in expected.items()), got
    assert sorted(seen) == list(range(len(found.work)))


@pytest.mark.parametrize("steps", [2, 4, 8])
def test_every_length_of_backward_simulation_occurs(steps: int) -> None:
    found = counted(f"dmd2[gan=off,steps={steps}]", iterations=50)
    assert {calls["student"] for calls in found.forwards} == set(range(1, steps + 1))


def test_every_method_and_variant_has_its_evaluations_stated() -> None:
    stated = {row[0] for row in EVALUATIONS}
    assert {label.partition("[")[0] for label in stated} == set(METHODS)
    assert {f"dmd2[gan={gan},steps={n}]" for gan in ("on", "off") for n in (1, 2, 4, 8)} <= stated
    assert {f"lcm[solver={solver}]" for solver in ("euler", "heun")} <= stated
    for word in (
        *(f"base={base}" for base in METHODS["ddil"].wraps),
        "variant=alternating",
        "variant=instant",
    ):
        assert any(word in label for label in stated), word


def test_later_stages_of_a_ladder_ask_their_own_teacher() -> None:
    found = counted("progressive[first=2,serves=1+2]", budget=6 * 4 * 5)  # two stages of three iterations
    assert [calls.get("teacher-of-stage", 0) for calls in found.forwards] == [0, 0, 0, 2, 2, 2]


def test_named_presets_are_listed() -> None:
    expected = [
        [name, ", ".join(named_presets(name, built_in(name).Config))]
        for name in METHODS
        if named_presets(name, built_in(name).Config)
    ]
    assert rows(section("docs/methods/README.md", "Named presets")) == expected


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_differences_lie_beside_the_presets_only(name: str) -> None:
    heading = (PRESETS / f"{name}.md").read_text(encoding="utf-8").splitlines()[0].partition(": ")[2]
    text = section(f"docs/methods/{name}.md", heading[:1].upper() + heading[1:])
    assert f"(../../bench/presets/{name}.md)" in text and "- **" not in text


@pytest.mark.parametrize("name", METHOD_PAGES)
def test_page_of_a_method_cites_its_paper(name: str) -> None:
    assert f"[@{METHODS[name].paper}]" in text_of(f"docs/methods/{name}.md")


def test_every_suite_has_a_page() -> None:
    assert suite_names() == SUITE_PAGES


@pytest.mark.parametrize("name", SUITE_PAGES)
def test_tables_of_a_suite_are_those_of_its_file(name: str) -> None:
    suite, page = load_suite(name), f"docs/suites/{name}.md"
    budgets = [[key, f"{budget.work:,.0f}"] for key, budget in suite.budgets.items()]
    assert [row[:2] for row in rows(section(page, "Budgets"))] == budgets
    metrics = [[m.key, m.title, m.better, str(m.digits)] for m in suite.metrics]
    assert [row[:4] for row in rows(section(page, "Metrics"))] == metrics
    solvers = [suite.teacher_rows, *suite.solver_rows]
    assert [row[1:] for row in rows(section(page, "References"))] == [
        [line.solver, ", ".join(map(str, line.nfe))] for line in solvers
    ]
    anchors = section(page, "Anchors")
    assert re.findall(r"^- `(.+?)`", anchors, re.MULTILINE) == list(suite.anchors)


PUBLISHED = [n for n in SUITE_PAGES if isinstance(load_suite(n).protocol, PublishedProtocol)]


@pytest.mark.parametrize("name", PUBLISHED)
def test_page_of_a_real_suite_names_its_protocols_and_students(name: str) -> None:
    suite, page = load_suite(name), f"docs/suites/{name}.md"
    assert isinstance(suite.protocol, PublishedProtocol)
    named = re.findall(r"`([\w-]+@\d+)`", section(page, "Protocols"))
    beside = [suite.protocol.clip] if suite.protocol.clip else []
    assert named == [suite.protocol.id, *beside, *suite.protocol.others]
    listed = [[one.label, one.file] for one in suite.published]
    assert [row[:2] for row in rows(section(page, "Published students"))] == listed


@pytest.mark.parametrize("name", [name for name in SUITE_PAGES if name not in PUBLISHED])
def test_fields_of_a_protocol_are_those_of_the_suite(name: str) -> None:
    protocol = load_suite(name).protocol
    expected = [
        [key, "none" if value is None else str(value)] for key, value in protocol.model_dump().items()
    ]
    assert sorted(row[:2] for row in rows(section("docs/protocols.md", protocol.id))) == sorted(expected)


def protocol_page(name: str) -> str:
    """The page that the index names for a protocol."""
    found = re.search(rf"\[{re.escape(name)}\]\(([\w/.]*)#([\w-]+)\)", text_of("docs/protocols.md"))
    assert found and found[2] == name.replace("@", "")
    return f"docs/{found[1] or 'protocols.md'}"


@pytest.mark.parametrize("name", shipped_protocols())
def test_every_protocol_has_a_section_and_a_line_in_the_index(name: str) -> None:
    protocol, page = shipped_protocols()[name], protocol_page(name)
    line = next(x for x in text_of("docs/protocols.md").splitlines() if x.startswith(f"| [{name}]"))
    assert ("provisional" in line) == bool(protocol.provisional())
    assert re.findall(r"\[@([\w-]+)\]", line) == list(protocol.used_by)
    text = section(page, name)
    if page != "docs/protocols.md":
        fields = [[key, protocol_value(value)] for key, value in protocol.fields().items()]
        assert rows(text) == fields
        assert ("Provisional:" in text) == bool(protocol.provisional())
        assert set(re.findall(r"\[@([\w-]+)\]", text)) == set(protocol.used_by)
        words = " ".join(text.split())
        assert [line for line in protocol.adapted if line not in words] == []


def test_latency_protocols_are_what_is_timed() -> None:
    for name in ("latency-b1-cpu@1", "latency-b1@1", "throughput-bmax@1"):
        timing = shipped_protocols()[name].timing
        assert timing and (timing.warm_up, timing.timed) == (WARM_UP, TIMED)
        assert set(timing.stages) == {*AROUND, "network"}


def test_latency_protocol_states_its_calls() -> None:
    stated = {row[0]: row[1] for row in rows(section("docs/protocols.md", "latency-b1-cpu@1"))}
    assert (stated["warm-up"], stated["timed"], stated["batch"]) == (str(WARM_UP), str(TIMED), "1")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_and_option_is_documented(verb: str) -> None:
    params = command().get_command(None, verb).params
    options = [max(p.opts, key=len) for p in params if p.param_type_name == "option"]
    stated = re.findall(r"^\| `(--[\w-]+)", section("docs/command-line.md", f"bench {verb}"), re.MULTILINE)
    assert stated == [option for option in options if option != "--help"]


@pytest.mark.parametrize(
    "part",
    [Record, Row, MetricValue, PluginMetric, Latency, CurvePoint, Cost, Failure, Provenance],
    ids=lambda p: p.__name__,
)
def test_fields_of_a_record_are_documented(part: type[BaseModel]) -> None:
    stated = [row[0] for row in rows(section("docs/records.md", part.__name__))]
    assert stated == list(part.model_fields)


def test_events_are_documented() -> None:
    kinds = [[kind, key, what] for kind, fields in KINDS.items() for key, what in fields.items()]
    assert rows(section("docs/records.md", "Events")) == kinds
    assert all(f"`{key}`" in section("docs/records.md", "Events") for key in ALWAYS)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere_and_keys_are_in_the_bibliography(page: str) -> None:
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?://)([^)#\s]+)", text_of(page))
    assert [link for link in links if not (folder / link).exists()] == []
    assert [key for key in re.findall(r"\[@([\w-]+)\]", text_of(page)) if key not in bibliography()] == []


@pytest.mark.parametrize("page", PAGES)
def test_lines_fit(page: str) -> None:
    long = [line for line in text_of(page).splitlines() if len(line) > 130 and not line.startswith("|")]
    assert long == []
