"""The typed suite: data, teacher, budgets, protocol, presets, read from a TOML file. Imports no numerics."""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, model_validator

from bench.budget import Budget
from bench.errors import UsageError, asked, mismatch, unknown
from bench.parts import Files, Model, Part, Pipeline, PublishedStudent, Resources, Smoke, is_place, placed
from bench.plugins.suites import brought_suites
from bench.reported import ReportedOn
from bench.suite_presets import Preset, SolverRows, WrapperPreset
from bench.suite_protocol import CaptionProtocol, Protocol, PublishedProtocol


class MetricColumn(Part):
    """One metric as tables show it."""

    key: str
    title: str
    better: Literal["lower", "higher", "none"] = Field(description="'none' is shown and never ranked by")
    digits: int = Field(3, ge=0, description="decimals in tables")
    about: str = Field(description="one sentence: what it measures, and its unit")


class Suite(Part):
    """A suite file. ``name@version`` names it; rows compare inside one major.minor version."""

    name: str
    version: str = Field(pattern=r"^\d+\.\d+$")
    title: str
    about: str
    teacher: str = Field(description="key of baselines.teachers.registry; a name where 'model' is given")
    primary: str = Field(description="metric that ranks")
    nfe: tuple[int, ...] = Field(description="step counts asked of every method by default")
    seeds: int = Field(1, gt=0, description="training seeds by default")
    protocol: Protocol | CaptionProtocol | PublishedProtocol = Field(discriminator="evaluator")
    metrics: tuple[MetricColumn, ...]
    budgets: dict[str, Budget]
    teacher_rows: SolverRows
    solver_rows: tuple[SolverRows, ...]
    anchors: tuple[str, ...] = Field(
        description="reference generators that are not models: real data, collapses"
    )
    methods: dict[str, Preset] = Field(description="presets; these methods run if none is named")
    wrappers: dict[str, WrapperPreset] = Field(
        default_factory=dict, description="presets of methods that wrap one of the others"
    )
    reported: ReportedOn | None = Field(None, description="the papers' numbers to show; they decide nothing")
    model: Model | None = Field(None, description="network of a published teacher")
    files: Files | None = Field(None, description="what a suite with 'model' reads")
    pipeline: Pipeline | None = Field(None, description="a text-to-image teacher")
    reference: str | None = Field(
        None, description="of a published protocol with captions: real pictures, or their statistics"
    )
    published: tuple[PublishedStudent, ...] = Field((), description="students with released weights")
    smoke: Smoke = Smoke()
    resources: dict[str, Resources] = Field(
        default_factory=dict, description="of a job on a cluster: by method, 'references', or 'default'"
    )
    assets: tuple[str, ...] = Field((), description="further files to fetch; they decide no number")

    @model_validator(mode="after")
    def whole(self) -> Suite:
        """A pipeline and captions come together; so do model, files and a published protocol without them."""
        published, captions = isinstance(self.protocol, PublishedProtocol), self.protocol.labels == "captions"
        given = {
            "model": self.model is not None,
            "files": self.files is not None,
            "protocol.evaluator = 'published'": published and not captions,
        }
        if self.pipeline and any(given.values()):
            raise ValueError("found a pipeline beside a model of images; expected one of both")
        if (self.pipeline is not None) is not captions:
            raise ValueError("found a pipeline or captions; expected both or none")
        if (self.reference is not None) is not (published and captions):
            raise ValueError("found a reference or a published protocol with captions; expected both or none")
        for preset in self.methods.values():
            self.teaching(preset)
        rows = (self.teacher_rows, *self.solver_rows)
        if not self.pipeline and any((*(r.guidance for r in rows), *(s.prompted for s in self.published))):
            raise ValueError("found a guidance scale or a timestep of rows or students, and no pipeline")
        if len(set(given.values())) > 1:
            found = ", ".join(name for name, there in given.items() if there)
            raise ValueError(f"found only {found}; expected all or none of {', '.join(given)}")
        return self

    @property
    def labelled(self) -> bool:
        """Whether samples are asked for by class."""
        return self.model.classes > 0 if self.model else self.protocol.labels == "balanced"

    @property
    def all_assets(self) -> tuple[str, ...]:
        """Ids of every asset that it can use, each once."""
        students = [one.file for one in self.published]
        wanted = dict.fromkeys([*self.own_files, *students, *self.assets])
        return tuple(name for name in wanted if not is_place(name))

    @property
    def own_files(self) -> tuple[str, ...]:
        """Files of teacher, evaluation and data under its protocol, by name; none where all ships."""
        if not isinstance(self.protocol, PublishedProtocol):
            return ()
        if self.files is not None:
            return self.files.needed(self.protocol.law)
        assert self.pipeline is not None
        own = self.pipeline
        found = (own.folder, *self.protocol.assets, self.reference, own.data, own.pictures)
        return tuple(dict.fromkeys(filter(None, found)))

    def under(self, protocol: str) -> Suite:
        """The same suite under another of its protocols; raises UsageError if it has none of that name."""
        if not isinstance(self.protocol, PublishedProtocol):
            raise UsageError(f"--protocol: suite {self.name} has one protocol only, {self.protocol.id}")
        return self.model_copy(update={"protocol": self.protocol.under(protocol)})

    def teaching(self, preset: Preset) -> Suite:
        """The same suite as students of a preset know it: under the guidance scales that they learn.

        Raises:
            ValueError: no pipeline, a range that says nothing, or students that cannot take a scale.
        """
        if preset.learned is None:
            return self
        if self.pipeline is None:
            raise ValueError("learned: a range of guidance scales, and the suite has no pipeline")
        own = {"learned": preset.learned, "guidance": preset.asked or self.pipeline.guidance}
        return self.model_copy(update={"pipeline": Pipeline(**{**self.pipeline.model_dump(), **own})})

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def default_methods(self) -> tuple[str, ...]:
        """Runs if no method is named: published students, methods with a preset, wrappers over ``bases``."""
        wrapped = [f"{name}[base={base}]" for name, preset in self.wrappers.items() for base in preset.bases]
        return (*(one.label for one in self.published), *self.methods, *wrapped)

    def column(self, key: str) -> MetricColumn:
        """The column of a metric; raises UsageError for an unknown key."""
        for column in self.metrics:
            if column.key == key:
                return column
        raise unknown("metric", key, [c.key for c in self.metrics])

    def budget(self, name: str) -> Budget:
        """A named budget; raises UsageError for an unknown name."""
        if name not in self.budgets:
            raise unknown("budget", name, self.budgets, f"suite {self.name}")
        return self.budgets[name]


def suite_names() -> list[str]:
    """Names of the suites that ship, and of those that installed packages bring.

    Raises:
        UsageError: a package brings a suite under the name of one that ships, or see ``brought_suites``.
    """
    folder = resources.files("bench") / "suites"
    shipped = {Path(item.name).stem for item in folder.iterdir() if item.name.endswith(".toml")}
    brought = brought_suites()
    for name in sorted(shipped & set(brought)):
        raise UsageError(
            f"{brought[name]} brings suite {name!r}, which is the name of a built-in one; rename it"
        )
    return sorted({*shipped, *brought})


def load_suite(name: str) -> Suite:
    """Load a shipped suite by name, or a suite file by path (``*.toml``).

    Raises:
        UsageError: unknown name (with the nearest one), unreadable file, or a key that breaks the schema.
    """
    if name.endswith(".toml"):
        return parse_suite(Path(name))
    if name not in suite_names():
        raise unknown("suite", name, suite_names())
    if name in (brought := brought_suites()):
        return parse_suite(brought[name])
    with resources.as_file(resources.files("bench") / "suites" / f"{name}.toml") as path:
        return parse_suite(path)


def parse_suite(path: Path) -> Suite:
    """Read one suite file; see ``load_suite`` for errors."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot read the suite file ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML ({error})") from error
    try:
        suite = anchored(Suite.model_validate(raw, context={"file": path}), path.resolve().parent)
    except ValidationError as error:
        raise UsageError(describe(path, error)) from error
    if suite.primary not in {column.key for column in suite.metrics}:
        raise unknown("metric", suite.primary, [c.key for c in suite.metrics], f"{path}: key 'primary'")
    return suite


def anchored(suite: Suite, folder: Path) -> Suite:
    """The same suite with the paths in it made absolute from the folder of its file."""
    own = {
        "pipeline": suite.pipeline and suite.pipeline.placed(folder),
        "files": suite.files and suite.files.placed(folder),
        "reference": placed(suite.reference, folder),
        "published": tuple(
            one.model_copy(update={"file": placed(one.file, folder)}) for one in suite.published
        ),
    }
    return suite.model_copy(update=own)


def describe(path: Path | str, error: ValidationError) -> str:
    """One sentence for the first broken key: file, key, found, expected (nearest name for an unknown key)."""
    errors = error.errors()  # a misspelt key is the cause of the missing one
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    loc = [str(part) for part in first["loc"]]
    if not loc:  # parts that do not go together
        return f"{path}: {asked(first)}"
    if loc[0] == "protocol" and len(loc) > 2:  # the evaluator, by which pydantic chose the part
        del loc[1]
    if first["type"] == "extra_forbidden":
        known = known_keys(loc[:-1])
        return (
            str(unknown("key", loc[-1], known, f"{path}: {'.'.join(loc[:-1]) or 'top level'}"))
            if known
            else (f"{path}: unknown key {'.'.join(loc)!r}")
        )
    if first["type"].startswith("union_tag"):  # no such evaluator, or none given
        found = repr(first["input"].get("evaluator", "nothing"))
        expected = first.get("ctx", {}).get("expected_tags", "'points', 'images', 'captions', 'published'")
        return f"{path}: key 'protocol.evaluator': found {found}, expected: one of {expected}"
    return f"{path}: key {'.'.join(loc)!r}: {mismatch(first)}"


def known_keys(loc: list[str]) -> list[str]:
    """Field names of the part that a location of the suite schema points into."""
    parts: dict[str, type[BaseModel]] = {
        "protocol": Protocol,
        "model": Model,
        "files": Files,
        "pipeline": Pipeline,
        "published": PublishedStudent,
        "smoke": Smoke,
        "metrics": MetricColumn,
        "budgets": Budget,
        "teacher_rows": SolverRows,
        "solver_rows": SolverRows,
        "methods": Preset,
        "wrappers": WrapperPreset,
        "reported": ReportedOn,
    }
    part = parts.get(loc[0]) if loc else Suite
    return sorted(part.model_fields) if part else []
