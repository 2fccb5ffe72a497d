"""DDIL-style: distillation as imitation learning, a wrapper over PD, LCM and DMD2 (Garrepalli et al., 2024).

"Style": the paper's algorithm and values were not available, only its abstract and reviews. The student is
trained where it will be used: at noised data, and at states visited by the teacher's sampler and by its own;
labels always come from the teacher at that state. Reflected: estimates in targets, samplers and rollouts are
thresholded, the student's output in its loss is not. A rollout of an N-step sampler costs, per sample, N - 1
steps of the student or of the teacher; one per source is made in ``refresh`` iterations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, create_model, model_validator
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.reflection import named_box
from baselines.distiller import Batch, Context, Draws, Generator, Network, Settings, Space, Teacher
from baselines.replay import ReplayBuffer
from baselines.states import DATA, SOURCES, STUDENT, TEACHER, StateDistiller, join, take

Shares = tuple[float, float, float]  # of the sources in this order
NAMES = ("data", "teacher", "student")
SCHEDULES: dict[int, tuple[Shares, Shares]] = {  # from, to; by the source that the base method draws itself
    DATA: ((0.9, 0.1, 0.0), (0.5, 0.1, 0.4)),
    STUDENT: ((0.0, 0.0, 1.0), (0.4, 0.1, 0.5)),
}


class DDILConfig(Settings):
    """Options beside those of the base method; the values are ours, the paper's are not known."""

    base: str = Field("progressive", description="method that is wrapped: progressive, lcm or dmd2")
    start: Shares = Field(
        SCHEDULES[DATA][0], description="shares of data, teacher and student states at first"
    )
    end: Shares = Field(SCHEDULES[DATA][1], description="shares after the ramp")
    ramp: float = Field(0.5, gt=0, le=1, description="part of a stage in which the shares move, linearly")
    mixed: float = Field(0.0, ge=0, le=1, description="chance of a teacher step within student rollouts")
    capacity: int = Field(64, ge=1, description="rollout batches kept per source")
    refresh: int = Field(4, ge=1, description="iterations per new rollout batch")
    longest: int = Field(8, ge=1, description="longer samplers are trained without rollouts")
    reflect: Literal["static", "dynamic", "off"] = Field("static", description="threshold of estimates")
    bound: float = Field(1.0, gt=0, description="half-width of the data's box, data units")
    quantile: float = Field(0.995, gt=0, lt=1, description="of the dynamic threshold")

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        for shares in (self.start, self.end):
            if min(shares) < 0 or abs(sum(shares) - 1) > 1e-12:
                raise ValueError(f"shares {shares} must not be negative and must add up to 1")
        return self


class DDIL(StateDistiller):
    """``DDIL.bind(Base)`` is the method; by itself this class wraps nothing and cannot be made."""

    name: ClassVar[str] = "ddil"
    paper: ClassVar[str] = "garrepalli2024ddil"
    summary: ClassVar[str] = "DDIL-style imitation learning over progressive, lcm or dmd2"
    Config: ClassVar[type[Settings]] = DDILConfig

    @classmethod
    def bind(cls, base: type[StateDistiller]) -> type[Self]:
        """The wrapper over one method, with the options of both; its schedule is the one for that method."""
        start, end = SCHEDULES[base.NATIVE]
        values = {"base": base.name, "start": start, "end": end}
        known = DDILConfig.model_fields
        changed: Any = {
            k: (known[k].annotation, Field(v, description=known[k].description)) for k, v in values.items()
        }
        if base.NATIVE == STUDENT:  # it rolls out by itself, with no teacher step to mix in
            changed["mixed"] = (float, Field(0.0, ge=0, le=0, description="0: DMD2 simulates by itself"))
        config = create_model(f"DDIL{base.Config.__name__}", __base__=(DDILConfig, base.Config), **changed)
        own = {"Config": config, "needs": base.needs, "__module__": cls.__module__}
        return type(f"DDIL{base.__name__}", (cls, base), own)

    def __init__(self, teacher: Teacher, config: Any, context: Context) -> None:
        self.box = named_box(config, latent=teacher.space.text is not None)
        super().__init__(teacher, config, context)
        self.buffers = {source: ReplayBuffer(config.capacity) for source in (TEACHER, STUDENT)}
        self.teaching = {TEACHER: 1.0, STUDENT: config.mixed}  # chance of a teacher step in rollouts
        self.present, self.counts = self.span(), dict[str, float]()

    def bounded(self, network: Network) -> Network:
        return self.box.wrap(network)

    def shares(self) -> list[float]:
        """Shares of the sources at this iteration; the base's own gets all if its sampler is too long."""
        if len(self.sampler_levels()) > self.config.longest:
            return [float(source == self.NATIVE) for source in SOURCES]
        u = min(1.0, self.spent() / self.config.ramp)
        return [a + u * (b - a) for a, b in zip(self.config.start, self.config.end, strict=True)]

    def draw_state(self, batch: Batch) -> Any:
        """The base's own states, some of them replaced; all other draws are from the stream "rollout"."""
        if self.present != (span := self.span()):  # a new stage has other nodes
            self.present = span
            for buffer in self.buffers.values():
                buffer.clear()
        states = {self.NATIVE: super().draw_state(batch)}
        shares, draws = self.shares(), self.context.draws("rollout")
        for source in SOURCES:
            if shares[source] > 0 and source != self.NATIVE:
                states[source] = self.foreign(source, batch, draws)
        if len(states) == 1:
            self.counts = {}
            return states[self.NATIVE]
        chances = torch.tensor([shares[source] for source in states], dtype=torch.float64)
        pick = (draws.uniform(batch.size).cpu()[:, None] >= chances.cumsum(0)[:-1]).sum(1)
        self.counts = {f"from_{NAMES[source]}": float((pick == i).sum()) for i, source in enumerate(states)}
        rows = pick * batch.size + torch.arange(batch.size)
        return take(join(list(states.values())), rows.to(self.context.device))

    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        return {**super().step(batch), **self.counts}  # type: ignore[safe-super]

    def foreign(self, source: int, batch: Batch, draws: Draws) -> Any:
        """States from a source that is not the base's own."""
        if source == DATA:
            return self.noised_state(batch, draws)
        buffer = self.buffers[source]
        if not len(buffer) or self.context.iteration % self.config.refresh == 0:
            buffer.push(self.rollout(batch.cond, batch.size, self.teaching[source], draws))
        return buffer.draw(batch.size, draws)

    @classmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> Generator:
        box = named_box(config, latent=space.text is not None)
        return super().generator({n: box.wrap(net) for n, net in students.items()}, config, space)

    def extra_state(self) -> dict[str, Any]:
        buffers = {str(source): buffer.state() for source, buffer in self.buffers.items()}
        return {"base": super().extra_state(), "buffers": buffers}

    def load_extra_state(self, state: dict[str, Any]) -> None:
        super().load_extra_state(state["base"])
        self.present = self.span()
        x = torch.zeros(1, *self.space.shape, device=self.context.device)
        kind = type(self.state_at(x, torch.zeros(1, dtype=torch.long, device=x.device), Cond()))
        for source, buffer in self.buffers.items():
            buffer.load(state["buffers"][str(source)], kind, self.context.device)
