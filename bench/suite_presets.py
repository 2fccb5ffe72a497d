"""How a suite runs what it shows: plain solvers, and methods by their presets."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from bench.parts import Part, check_scales


class SolverRows(Part):
    """A plain solver on the teacher and the evaluations at which it is shown."""

    solver: str
    nfe: tuple[int, ...] = Field(description="calls of the denoiser; a guided one takes two evaluations")
    guidance: float | None = Field(None, ge=1, description="scale; null: that of the suite's pipeline")

    @property
    def label(self) -> str:
        """As tables name the rows."""
        return self.solver if self.guidance is None else f"{self.solver}[guidance={self.guidance:g}]"


class Preset(Part):
    """How a method is run on this suite."""

    batch: int = Field(gt=0, description="samples per batch")
    ema_half_life: float = Field(
        0, ge=0, description="of the evaluation average, images; 0 evaluates live weights"
    )
    ema_ramp: float | None = Field(0.05, description="half-life is at most this share of the images seen")
    learned: tuple[float, float] | None = Field(
        None, description="range of guidance scales that students learn as an input; null: the pipeline's"
    )
    asked: float | None = Field(
        None, ge=1, description="guidance scale that such students are asked for; null: the pipeline's"
    )
    options: dict[str, Any] = Field(default_factory=dict, description="fields of the method's Config")
    tuning: str = Field(description="trials behind these values, and on what they were chosen")

    @model_validator(mode="after")
    def scales_of_students(self) -> Preset:
        """Students are asked for a scale that they take as an input and learned."""
        check_scales(self.learned)
        if self.asked is None:
            return self
        if self.learned is None:
            raise ValueError(
                f"found asked = {self.asked:g} without learned; expected both: other students learn one scale"
            )
        low, high = self.learned
        if not low <= self.asked <= high:
            raise ValueError(
                f"found asked = {self.asked:g}; expected a scale that is learned, {low:g} to {high:g}"
            )
        return self

    @property
    def scales(self) -> dict[str, Any]:
        """``learned`` and ``asked``, as JSON values, where they are set."""
        found = {"learned": self.learned and list(self.learned), "asked": self.asked}
        return {key: value for key, value in found.items() if value is not None}

    def restated(self, stated: dict[str, Any] | None) -> Preset:
        """With what a record states; what it does not state, as older ones do not, stays."""
        return Preset.model_validate(self.model_dump() | (stated or {}))


class WrapperPreset(Part):
    """What a wrapper sets on top of the preset of the method it wraps."""

    bases: tuple[str, ...] = Field((), description="methods it is run over if no method is named")
    options: dict[str, Any] = Field(default_factory=dict, description="fields of the wrapper's Config")
    tuning: str = Field(description="trials behind these values, and on what they were chosen")
