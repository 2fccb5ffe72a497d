"""Trainings that are ready to step, and their network calls made again alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from timing import Took, processor_seconds
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.ema import EMALaw
from baselines.distiller import Distiller, Space, Teacher
from baselines.networks.dhariwal_unet import DhariwalUNet
from baselines.streams import torch_generator
from bench.budget import Budget
from bench.cell import student_cells
from bench.context import RunContext
from bench.keeping import WHOLE, Keeping
from bench.lab import Lab
from bench.making import training_of
from bench.meter import Meter, Metered, Sharing, denoiser_flops
from bench.methods import MethodRegistry, typed_options
from bench.selector import parse_selector
from bench.suite import load_suite
from bench.training import Training

ADM, IMAGENET64 = "adm32", "imagenet64"
FORWARDS = 5  # in which a unit is timed


@dataclass(frozen=True)
class Adm:
    """ImageNet-64's architecture at a size; weights and images are drawn at random: they change no times.

    Attributes:
        shape: of an image; body: precision of the activations, None for that of the weights.
    """

    shape: tuple[int, int, int]
    classes: int
    batch: int
    options: Mapping[str, Any]
    device: str = "cpu"
    body: torch.dtype | None = None

    def network(self) -> Denoiser:
        """Frozen, on its device."""
        network = DhariwalUNet(self.shape[-1], self.shape[0], self.classes, **self.options)
        generator = torch_generator(0, "init")
        for p in network.parameters():  # published zeros at the ends would hide differences
            nn.init.normal_(p, std=0.02, generator=generator)
        plain = Denoiser(network, EDMScaling(0.5), self.body).eval().requires_grad_(False)
        return plain.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def conditions(self) -> Cond:
        """Of a batch: classes in turn."""
        return Cond(label=torch.arange(self.batch) % self.classes)


NARROW = {
    "model_channels": 32, "channel_mult": (2, 4), "num_blocks": 1, "attn_resolutions": (16,), "dropout": 0.0,
}  # fmt: skip
PUBLISHED = {
    "model_channels": 192, "channel_mult": (1, 2, 3, 4), "num_blocks": 3, "attn_resolutions": (32, 16, 8),
    "dropout": 0.0,
}  # fmt: skip
SIZES = {
    ADM: Adm((3, 32, 32), 10, 8, NARROW),
    IMAGENET64: Adm((3, 64, 64), 1000, 32, PUBLISHED, "cuda", torch.bfloat16),
}


def missing(where: str) -> bool:
    """Whether a size needs a GPU that is not here."""
    return where in SIZES and SIZES[where].device == "cuda" and not torch.cuda.is_available()


@dataclass
class Call:
    """A network call of a training: what went in, what was asked of the backward pass."""

    module: nn.Module
    method: str
    args: list[Any]
    kwargs: dict[str, Any]
    grad: bool
    trained: list[bool]
    gradient: Tensor | None = None

    def take(self, gradient: Tensor) -> None:
        """Remember the gradient with which a backward pass began."""
        self.gradient = gradient.detach().clone()

    def again(self) -> float:
        """Make the call, and its backward pass if there was one; returns the seconds of both."""
        weights = list(self.module.parameters())
        for p, wanted in zip(weights, self.trained, strict=True):
            p.requires_grad_(wanted)
        inputs = [x for x in [*self.args, *weights] if isinstance(x, Tensor) and x.requires_grad]
        start = processor_seconds()
        with torch.set_grad_enabled(self.grad):
            out = getattr(self.module, self.method)(*self.args, **self.kwargs)
        if self.gradient is not None:
            torch.autograd.grad(out, inputs, self.gradient, allow_unused=True)
        return processor_seconds() - start


@dataclass
class Tape:
    """Shares out nothing and remembers the calls made while it records (``bench.meter.Sharing``)."""

    slack: float = 1.0
    processes: int = 1
    keeps: Keeping = WHOLE  # weights, in this process
    recording: bool = False
    calls: list[Call] = field(default_factory=list)

    def call(self, module: nn.Module, method: str, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = getattr(module, method)(*args, **kwargs)
        if self.recording:
            kept = [alone(one) for one in args]
            trained = [p.requires_grad for p in module.parameters()]
            call = Call(module, method, kept, kwargs, torch.is_grad_enabled(), trained)
            self.calls.append(call)
            if out.requires_grad:
                out.register_hook(call.take)
        return out

    def agreed(self, value: bool) -> bool:
        return value

    def again(self) -> Took:
        """All calls one after the other, nothing between them; returns their seconds."""
        weights = [p for call in self.calls for p in call.module.parameters()]
        before = [p.requires_grad for p in weights]
        total = sum(call.again() for call in self.calls)
        for p, wanted in zip(weights, before, strict=True):
            p.requires_grad_(wanted)
        return Took(total)


def alone(value: Any) -> Any:
    """A tensor cut from what made it; anything else as it is."""
    return value.detach().clone().requires_grad_(value.requires_grad) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Case:
    """A training ready to step, and the tape of its calls.

    Attributes:
        cycle: iterations after which the same calls come again (DMD2 trains its generator every other time).
    """

    training: Training
    tape: Tape
    cycle: int

    @property
    def method(self) -> Distiller:
        return self.training.method

    @property
    def context(self) -> RunContext:
        return self.training.context

    def step(self) -> None:
        """One cycle of the method alone."""
        for _ in range(self.cycle):
            self.method.step(self.context.next_batch())
            self.context.advance()

    def iterate(self) -> None:
        """One cycle of the runner: the step, its watchdog, the evaluation average, the counters."""
        for _ in range(self.cycle):
            self.training.iterate()

    def recorded(self) -> Case:
        """The same once its calls are on the tape."""
        self.tape.recording = True
        self.step()
        self.tape.recording = False
        return self


def case(where: str, selector: str, folder: Path) -> Case:
    """A training of a method on a suite, or on a size of ADM, warmed up."""
    tape, name = Tape(), selector.split("[")[0]
    if where in SIZES:
        found = on_adm(SIZES[where], selector, folder, tape)
    else:
        found = on_suite(where, selector, folder, tape)
    made = Case(found, tape, 2 if name in ("dmd2", "moment_matching") else 1)
    for _ in range(2 // made.cycle):  # DMD samples its pairs, DDIL makes its first rollouts
        made.step()
    return made


def on_suite(suite: str, selector: str, folder: Path, share: Sharing, *, part: int = 1) -> Training:
    """With the suite's preset, on a ``part``-th of its batch."""
    loaded = load_suite(suite)
    (cell, *_), _ = student_cells(loaded, MethodRegistry(), (selector,), "quick", (1, 8), 1)
    assert cell.preset is not None
    cell = replace(cell, preset=cell.preset.model_copy(update={"batch": cell.preset.batch // part}))
    return training_of(Lab.open(loaded), cell, folder, lambda *_: None, share)


def on_adm(size: Adm, selector: str, folder: Path, tape: Tape) -> Training:
    """With the method's own defaults and an average."""
    space, meter, net = Space(size.shape, size.classes), Meter(), size.network()
    cond = size.conditions()
    batch = torch.randn(size.batch, *size.shape, generator=torch_generator(0, "data"))
    context = RunContext(
        space, lambda number, count: (batch, cond), meter, budget=1e9, batch_size=size.batch, seed=0,
        share=tape, device=size.device,
        reference_flops=denoiser_flops(net, size.shape, cond[:1].to(size.device)),
    )  # fmt: skip
    parsed = parse_selector(selector)
    method = MethodRegistry().find(parsed.name)
    teacher = Teacher(space, Metered(net, "teacher", meter, share=tape))
    distiller = method.cls(teacher, typed_options(method, {}, parsed), context)
    law = EMALaw(half_life=500_000 if parsed.name == "sid" else 0)
    return Training(distiller, context, law, folder, Budget(work=1e9), lambda *_: None)


def predicted(where: str, made: Case) -> Callable[[], Took]:
    """What ``bench plan`` expects of a cycle: its units, each a forward of the reference network."""
    before = made.context.work
    made.step()
    units, batch = made.context.work - before, made.context.batch_size
    if where in SIZES:
        size = SIZES[where]
        net, x, cond = size.network(), torch.zeros(batch, *size.shape), size.conditions()
    else:
        lab = Lab.open(load_suite(where))
        noise, cond = lab.inputs(0, range(batch), lab.device)
        net, x = lab.net, noise.initial()

    def timed() -> Took:
        start = processor_seconds()
        with torch.no_grad():
            for _ in range(FORWARDS):
                net(x, 1.0, cond)
        return Took((processor_seconds() - start) / FORWARDS / batch * units)

    return timed
