"""One cell: (suite, method, options, budget, seed). Its identity is a pure function of the resolved spec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from bench.budget import Budget
from bench.errors import UsageError, unknown
from bench.methods import Method, MethodRegistry, typed_options
from bench.parts import PublishedStudent
from bench.presets import find_preset
from bench.selector import PRESET, WEIGHTS, Selector, parse_selector
from bench.store import digest
from bench.suite import Suite
from bench.suite_presets import Preset, SolverRows

UNSTATED = {"tuning", "options", "learned", "asked"}  # of a preset: elsewhere in a cell, or deciding nothing
Kind = Literal["student", "published", "teacher", "solver", "anchor"]


@dataclass(frozen=True)
class Cell:
    """A resolved cell.

    Attributes:
        label: as shown in tables; kind: what it is.
        steps: step counts to evaluate.
        config: typed options of a student, else None; preset: its batch and average, if it is trained here.
        detail: solver or anchor name; guidance: of a plain solver, if not that of the suite's pipeline.
        released: the published student whose weights are loaded, if it is one.
    """

    suite: Suite
    label: str
    kind: Kind
    steps: tuple[int, ...]
    budget_name: str
    budget: Budget
    seed: int
    method: Method | None = None
    config: Any = None
    preset: Preset | None = None
    detail: str = ""
    released: PublishedStudent | None = None
    guidance: float | None = None

    def spec(self) -> dict[str, Any]:
        """Everything that decides the result, as JSON values."""
        return {
            "suite": self.suite.id,
            "teacher": self.suite.teacher,
            "protocol": self.suite.protocol.model_dump(mode="json"),
            "label": self.label,
            "kind": self.kind,
            "detail": self.detail,
            "steps": list(self.steps),
            "budget": {"name": self.budget_name, **self.budget.model_dump(mode="json")},
            "seed": self.seed,
            "method": None if self.method is None else [self.method.cls.name, self.method.closure_sha256],
            "config": None if self.config is None else self.config.model_dump(mode="json"),
            "preset": self.training,
            **({"released": self.released.model_dump(mode="json")} if self.released else {}),
            **self.asked,
        }

    @property
    def asked(self) -> dict[str, Any]:
        """How captions guide, as JSON values; nothing where there are none."""
        if self.suite.pipeline is None:
            return {}
        pipeline = self.suite.pipeline.model_dump(mode="json", exclude={"folder"})  # its digest counts
        return {"pipeline": pipeline, **({"guidance": self.guidance} if self.guidance else {})}

    @property
    def id(self) -> str:
        """Hash of the resolved spec."""
        return digest(self.spec())[:16]

    @property
    def training(self) -> dict[str, Any] | None:
        """Batch and evaluation average, as JSON values; None where nothing is trained."""
        preset = self.preset
        return None if preset is None else preset.model_dump(mode="json", exclude=UNSTATED)

    def statement(self) -> dict[str, Any]:
        """What a record says of the cell, whatever came out."""
        method = self.method
        return {
            "cell": self.id,
            "suite": self.suite.name,
            "suite_version": self.suite.version,
            "protocol": self.suite.protocol.id,
            "method": method.cls.name if method else self.label,
            "method_version": method.version if method else "1",
            "label": self.label,
            "kind": self.kind,
            "paper": method.cls.paper if method else None,
            "config": {} if self.config is None else self.config.model_dump(mode="json"),
            "preset": None if self.preset is None else {**(self.training or {}), **self.preset.scales},
            "budget": self.budget_name,
            "seed": self.seed,
        }


def reference_cells(suite: Suite, budget: str) -> list[Cell]:
    """Anchors, teacher rows and plain solvers: what every table shows."""
    limits = suite.budget(budget)

    def solver(kind: Kind, rows: SolverRows) -> Cell:
        label = f"teacher[{rows.solver}]" if kind == "teacher" else rows.label
        detail, guidance = rows.solver, rows.guidance
        return Cell(suite, label, kind, rows.nfe, budget, limits, seed=0, detail=detail, guidance=guidance)

    anchors = [
        Cell(suite, name, "anchor", (0,), budget, limits, seed=0, detail=name) for name in suite.anchors
    ]
    return [
        *anchors,
        solver("teacher", suite.teacher_rows),
        *(solver("solver", rows) for rows in suite.solver_rows),
    ]


def student_cells(
    suite: Suite,
    registry: MethodRegistry,
    methods: tuple[str, ...],
    budget: str,
    nfe: tuple[int, ...],
    seeds: int,
    *,
    strict: bool = False,
) -> tuple[list[Cell], list[str]]:
    """Cells of the methods asked for (all of the suite's if none is named), and notes on what was left out.

    Args:
        strict: a step count that a method does not serve is an error, not a note.

    Raises:
        UsageError: unknown names or values, or step counts that are not served (see ``strict``).
    """
    cells: list[Cell] = []
    notes: list[str] = []
    for text in methods or suite.default_methods:
        selector = parse_selector(text)
        if WEIGHTS in dict(selector.options):
            found = [published_cell(suite, registry, selector, budget, nfe)]
        else:
            found = _cells_of_method(suite, registry, selector, budget, nfe, seeds)
        served = sorted({n for cell in found for n in cell.steps})
        missing = ", ".join(str(n) for n in nfe if n not in served)
        if missing and (strict or not served):
            known = served_by(suite, registry, selector)
            raise UsageError(f"--nfe: {selector.label} does not serve {missing} steps; it serves {known}")
        if missing:
            notes.append(f"{selector.label}: does not serve {missing} steps, left out")
        cells += found
    return cells, notes


def published_cell(
    suite: Suite, registry: MethodRegistry, selector: Selector, budget: str, nfe: tuple[int, ...]
) -> Cell:
    """The cell of a published student, at those of its step counts that are asked for.

    Raises:
        UsageError: the suite has no such student, or options beside ``weights``.
    """
    method = registry.find(selector.name)
    label = Selector(method.cls.name, selector.options).label
    known = {one.label: one for one in suite.published}
    if label not in known:
        raise unknown("published student", label, known or ["none"], f"suite {suite.name}")
    student = known[label]
    steps = tuple(n for n in nfe if n in student.steps)
    options = Selector(method.cls.name)
    config = typed_options(method, student.options, options)
    return Cell(
        suite, label, "published", steps, budget, suite.budget(budget), 0, method, config, released=student
    )


def _cells_of_method(
    suite: Suite, registry: MethodRegistry, selector: Selector, budget: str, nfe: tuple[int, ...], seeds: int
) -> list[Cell]:
    method, selector = registry.resolve(selector)
    preset, cells = preset_for(suite, method, dict(selector.options).get(PRESET)), []
    if method.cls.needs.labels and not suite.labelled:
        raise UsageError(
            f"--method {selector.label}: needs class labels, but the data of suite {suite.id} has none; "
            "choose a class-conditional suite"
        )
    taught = suite.teaching(preset)
    for config, options in trainings(method, preset, selector, nfe):
        steps = tuple(n for n in nfe if n in method.cls.served_nfe(config))
        label = Selector(method.cls.name, options).label
        if steps:
            cells += [
                Cell(
                    taught,
                    label,
                    "student",
                    steps,
                    budget,
                    suite.budget(budget),
                    seed,
                    method,
                    config,
                    preset,
                )
                for seed in range(seeds)
            ]
    return cells


def preset_for(suite: Suite, method: Method, named: str | None = None) -> Preset:
    """The suite's preset of a method, or a named one; without either a method runs with its own defaults.

    A wrapper has the preset of the method it wraps, with the wrapper's options on top.

    Raises:
        UsageError: no preset of that name (nearest named).
    """
    default = Preset(batch=128, tuning="no preset in the suite: the method's own defaults")
    name = method.base or method.cls.name
    preset = suite.methods.get(name, default)
    if named:
        preset = find_preset(name, method.cls.Config, named).as_preset(named)
    if not method.base or method.cls.name not in suite.wrappers:
        return preset
    over = suite.wrappers[method.cls.name]
    tuning = f"{over.tuning}; {method.base}: {preset.tuning}"
    return preset.model_copy(update={"options": {**preset.options, **over.options}, "tuning": tuning})


def served_by(suite: Suite, registry: MethodRegistry, selector: Selector) -> str:
    """Step counts that a selection can serve, for messages."""
    released = [one for one in suite.published if one.label == selector.label]
    return ", ".join(map(str, released[0].steps)) if released else served_steps(suite, registry, selector)


def served_steps(suite: Suite, registry: MethodRegistry, selector: Selector) -> str:
    """Step counts that a selection can serve, for messages."""
    method, selector = registry.resolve(selector)
    preset = preset_for(suite, method, dict(selector.options).get(PRESET))
    configs = trainings(method, preset, selector, offered_steps(method) or suite.nfe)
    return ", ".join(map(str, sorted({n for config, _ in configs for n in method.cls.served_nfe(config)})))


def trainings(
    method: Method, preset: Preset, selector: Selector, nfe: tuple[int, ...]
) -> list[tuple[Any, tuple[tuple[str, str], ...]]]:
    """Typed configs to train with the options that name them.

    A method whose Config has a field ``steps`` trains once per step count, each for a full budget; counts
    that the field does not take are left out.
    """
    fields, chosen = method.cls.Config.model_fields, dict(selector.options)
    if "steps" not in fields or "steps" in chosen:
        return [(typed_options(method, preset.options, selector), selector.options)]
    offered = offered_steps(method) or nfe
    steps = [("steps", str(n)) for n in nfe if n in offered]
    expanded = [Selector(selector.name, tuple(sorted((*selector.options, one)))) for one in steps]
    return [(typed_options(method, preset.options, one), one.options) for one in expanded]


def offered_steps(method: Method) -> tuple[int, ...]:
    """Values that a Config's field ``steps`` is limited to; empty if there is no field or no limit."""
    field = method.cls.Config.model_fields.get("steps")
    return get_args(field.annotation) if field else ()
