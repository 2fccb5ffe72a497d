"""The contract between a distillation method and whoever runs it. A useful method fits in 60 lines.

A method owns its mathematics: losses, targets, update order. The runner owns budget, batches, evaluation EMA,
precision, checkpoints, logging and distribution, and hands out metered networks through a ``Context``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from baselines.diffusion.cond import SIZES, Cond
from baselines.diffusion.denoiser import Denoiser, Scaling
from baselines.diffusion.noise import EDM_LAW, Grid, KarrasGrid, SigmaLaw


@dataclass(frozen=True)
class Space:
    """Coordinates in which methods work; encoding, decoding and pixels belong to the teacher.

    Attributes:
        shape: of one sample, without the batch axis.
        n_classes: 0 for unconditional data.
        sigma_min, sigma_max: range of noise levels; sigma_data: scale of the data (EDM).
        text: tokens and width of an encoded caption, None for models without text.
        pooled: width of a caption as one vector (SDXL), beside which networks see sizes; 0: they see neither.
        unconditional: networks also know samples without a condition, so they can be guided.
        process: levels of a discrete process (``baselines.diffusion.vp``); None for EDM's.
        law: of the noise level in the denoising loss that its networks are trained with.
    """

    shape: tuple[int, ...]
    n_classes: int = 0
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    text: tuple[int, int] | None = None
    pooled: int = 0
    unconditional: bool = False
    process: Grid | None = None
    law: SigmaLaw = EDM_LAW

    @property
    def grid(self) -> Grid:
        """The noise levels of this space: Karras' (rho = 7), or those of its process."""
        return self.process or KarrasGrid(self.sigma_min, self.sigma_max)

    def blank(self, count: int, device: torch.device | str = "cpu") -> Cond:
        """A condition of the right form for ``count`` samples: the first class, captions of zeros."""
        label = torch.zeros(count, dtype=torch.long, device=device) if self.n_classes else None
        text = None if self.text is None else torch.zeros(count, *self.text, device=device)
        pooled = torch.zeros(count, self.pooled, device=device) if self.pooled else None
        sizes = torch.zeros(count, SIZES, device=device) if self.pooled else None
        return Cond(label=label, text=text, pooled=pooled, sizes=sizes)


class Network(Protocol):
    """A denoiser as handed to methods: a counting shell around ``Denoiser`` with the same calls.

    ``plain`` is the module inside; methods call the shell, so that every forward and backward is metered.
    """

    plain: Denoiser

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor: ...
    def raw(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor: ...
    def features(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor: ...
    def jvp(
        self, direction: dict[str, Tensor], x: Tensor, sigma: Tensor | float, cond: Cond | None = None
    ) -> Tensor: ...


@dataclass(frozen=True)
class Teacher:
    """The frozen model to be distilled.

    Attributes:
        space: coordinates of its samples.
        net: the network that students copy, and that methods tap.
        exact: closed-form denoiser where one exists (then ``net`` is fitted to it), else None.
        guided: ``net`` with classifier-free guidance, where that is what students learn, else None.
    """

    space: Space
    net: Network
    exact: Network | None = None
    guided: Network | None = None

    @property
    def denoiser(self) -> Network:
        """What students learn from: the guided network, the closed form, else the network."""
        return self.guided or self.exact or self.net


@dataclass(frozen=True)
class Batch:
    """One draw from the data iterator: ``x0 [B, *shape]`` and its condition.

    A data-free method must use ``cond`` only; the runner gives it no pixels (``x0`` raises).
    """

    cond: Cond
    size: int
    data: Tensor | None = None

    @property
    def x0(self) -> Tensor:
        """Clean data; raises RuntimeError in a method that declared itself data-free."""
        if self.data is None:
            raise RuntimeError(
                "this method declared needs.data = False, so its batches carry no images; "
                "declare Needs(data=True) to be given real samples"
            )
        return self.data


@dataclass(frozen=True)
class Needs:
    """What a method uses besides the teacher; shown in every table.

    Attributes:
        data: real samples (False: data-free, labels only).
        labels: a class label for every sample (so label-free data will not do).
        pairs: teacher-sampled (noise, sample) pairs, paid for in the budget.
        features: encoder features of the network (so a plain MLP teacher will not do).
    """

    data: bool = False
    labels: bool = False
    pairs: bool = False
    features: bool = False


class Draws(Protocol):
    """Random numbers of one named stream at one iteration (device tensors, fp32 unless named)."""

    def normal(self, *shape: int) -> Tensor: ...
    def uniform(self, count: int) -> Tensor: ...
    def integers(self, low: int, high: int, count: int) -> Tensor: ...


class Optimizer(Protocol):
    """The part of ``torch.optim.Optimizer`` that methods use."""

    param_groups: list[dict[str, Any]]
    state: Any

    def zero_grad(self, set_to_none: bool = True) -> None: ...
    def step(self) -> Any: ...


class Context(Protocol):
    """What the runner gives a method. Everything obtained here is saved and restored by the runner.

    Attributes:
        iteration: number of the current training iteration, from 0.
        progress: share of the training budget spent before this iteration, in [0, 1).
        work: units spent so far (one unit is a forward of the suite's reference network on one sample).
        batch_size: samples per batch.
        device: where tensors live.
    """

    iteration: int
    batch_size: int
    device: torch.device

    @property
    def progress(self) -> float: ...
    @property
    def work(self) -> float: ...

    def network(self, role: str, init: Network, *, scaling: Any = None, trainable: bool = True) -> Network:
        """A new metered copy of ``init`` under a role of its own, optionally under another scaling."""

    def module(self, role: str, module: torch.nn.Module, example: Tensor | None = None) -> Any:
        """Register an extra trainable module (a GAN head); ``example`` is one input, for its cost."""

    def optimizer(self, name: str, *owners: Any, lr: float, **adam: Any) -> Optimizer:
        """Adam over the parameters of networks or modules; takes ``betas``, ``eps``, ``weight_decay``."""

    def draws(self, stream: str = "train-noise") -> Draws:
        """The stream's draws of this iteration; repeated calls continue the same sequence."""

    def next_batch(self) -> Batch:
        """One more batch from the data iterator (for methods that need fresh labels within a step)."""


class Noise(Protocol):
    """Gaussian noise of a batch of samples, unit variance, ``[B, *shape]`` (see ``baselines.streams``)."""

    def initial(self) -> Tensor:
        """The latent."""

    def at(self, step: int) -> Tensor:
        """Fresh noise for sampler step ``step`` (0 is the latent)."""


class Generator(Protocol):
    """A finished few-step generator."""

    def sample(self, noise: Noise, cond: Cond, nfe: int) -> Tensor:
        """Samples ``[B, *shape]`` for the keyed noise, with ``nfe`` evaluations each."""


class Settings(BaseModel):
    """Typed options of a method: every field has a default and a description with its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Distiller(ABC):
    """A distillation method; subclass it, name it, and the runner does the rest."""

    name: ClassVar[str]
    paper: ClassVar[str]  # BibTeX key
    summary: ClassVar[str]  # one line for tables
    needs: ClassVar[Needs] = Needs()
    Config: ClassVar[type[Settings]] = Settings

    def __init__(self, teacher: Teacher, config: Any, context: Context) -> None:
        self.teacher, self.config, self.context = teacher, config, context
        self.space = teacher.space

    @classmethod
    def served_nfe(cls, config: Any) -> tuple[int, ...]:
        """Step counts that one training serves, ascending."""
        return (1,)

    @abstractmethod
    def step(self, batch: Batch) -> dict[str, float | Tensor]:
        """One training iteration with all of its updates; returns scalars to log."""

    @abstractmethod
    def students(self) -> dict[int, Network]:
        """The networks to be evaluated, by the step count they serve (so far, for staged methods)."""

    @classmethod
    @abstractmethod
    def generator(cls, students: Mapping[int, Any], config: Any, space: Space) -> Generator:
        """A generator from networks by step count: live, averaged, or loaded from disk."""

    @classmethod
    def student_scaling(cls, config: Any, space: Space) -> Scaling | None:
        """Preconditioning of the students; None keeps that of the teacher's network."""
        return None

    def work_by_nfe(self) -> dict[int, float]:
        """Units spent up to each finished step count; empty if all of the budget serves every one."""
        return {}

    def extra_state(self) -> dict[str, Any]:
        """State that the context did not hand out (JSON values and tensors)."""
        return {}

    def load_extra_state(self, state: dict[str, Any]) -> None:  # noqa: B027 (most methods have none)
        """Restore ``extra_state``."""


@contextmanager
def frozen(*networks: Network) -> Iterator[None]:
    """Gradients flow through these networks but not into their weights (inside, each backward costs half)."""
    weights = [p for network in networks for p in network.plain.parameters() if p.requires_grad]
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)


def descend(loss: Tensor, optimizer: Optimizer, *, clip: float | None = None, finite: bool = False) -> None:
    """One optimiser step on ``loss``.

    Args:
        clip: L2 norm at which all gradients of the optimiser together are cut.
        finite: replace nan by 0 and infinities by +-1e5 in gradients (SiD's training loop).
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if finite:
        for grad in grads:
            torch.nan_to_num_(grad, nan=0.0, posinf=1e5, neginf=-1e5)
    if clip is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()
