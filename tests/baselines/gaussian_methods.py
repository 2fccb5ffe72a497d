"""Closed-form denoisers, quadrature and a small training harness for the tests of DMD, DMD2 and LCM."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling, per_sample
from baselines.diffusion.noise import KarrasGrid
from baselines.distiller import Distiller, Space, Teacher
from baselines.networks.mlp import ResidualMLP
from baselines.streams import torch_generator
from bench.context import RunContext
from bench.meter import Meter, Metered

GRID = KarrasGrid()
BINS = GRID(1 - torch.arange(1000, dtype=torch.float64) / 999)  # index 0 is sigma_min


class GaussianDenoiser(Denoiser):
    """``E[x0 | x]`` for x0 ~ N(mean, std^2) in every pixel; mean and std are parameters."""

    def __init__(self, mean: float, std: float) -> None:
        super().__init__(nn.Identity(), EDMScaling(0.5))
        self.mean = nn.Parameter(torch.tensor(mean, dtype=torch.float64))
        self.std = nn.Parameter(torch.tensor(std, dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = per_sample(sigma, x)
        return self.mean + self.std**2 / (self.std**2 + level**2) * (x - self.mean)


class AffineGenerator(Denoiser):
    """``G(sigma z; sigma) = mu + tau z``."""

    def __init__(self, mu: float, tau: float) -> None:
        super().__init__(nn.Identity(), EDMScaling(0.5))
        self.mu = nn.Parameter(torch.tensor(mu, dtype=torch.float64))
        self.tau = nn.Parameter(torch.tensor(tau, dtype=torch.float64))

    def forward(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        return self.mu + self.tau * x / per_sample(sigma, x)


class StratifiedDraws:
    """Draws whose integers run through their whole range in turn."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        self.generator, self.dtype = torch_generator(0, "train-noise"), dtype

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, dtype=self.dtype)

    def uniform(self, count: int) -> Tensor:
        return (torch.arange(count, dtype=torch.float64) + 0.5) / count

    def integers(self, low: int, high: int, count: int) -> Tensor:
        return low + torch.arange(count) % (high - low)


def gauss_hermite(count: int = 48) -> tuple[Tensor, Tensor]:
    """Nodes and weights (summing to 1) of the standard normal law."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    return torch.from_numpy(nodes), torch.from_numpy(weights / math.sqrt(2 * math.pi))


def normal_plane(count: int = 48) -> tuple[Tensor, Tensor, Tensor]:
    """Two independent standard normals by quadrature: nodes ``[n^2]`` of each and joint weights."""
    nodes, weights = gauss_hermite(count)
    first, second = torch.meshgrid(nodes, nodes, indexing="ij")
    return first.flatten(), second.flatten(), weights.outer(weights).flatten()


def many_normals(log2: int, dimension: int = 2) -> Tensor:
    """``[2^log2, dimension]`` scrambled Sobol points of equal weight, normal in every column."""
    points = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=1).draw(
        2**log2, dtype=torch.float64
    )
    return math.sqrt(2) * torch.erfinv(2 * points.clamp(1e-9, 1 - 1e-9) - 1)


SPACE = Space(shape=(2,))


def small_net(seed: int = 0, dimension: int = 2) -> Denoiser:
    """A ResidualMLP denoiser with a live output layer."""
    denoiser = Denoiser(ResidualMLP(dimension, width=16, depth=1), EDMScaling(0.5))
    denoiser.model.initialise(torch_generator(seed, "init"))
    with torch.no_grad():
        denoiser.model.out.weight.mul_(50)
    return denoiser


def gaussian_batches(number: int, size: int) -> tuple[Tensor, Cond]:
    """Unconditional data N(0.2, 0.5^2), 2-D."""
    return 0.2 + 0.5 * torch.randn(size, 2, generator=torch_generator(0, "data", number)), Cond()


def run_context(
    space: Space = SPACE,
    draw: Callable[[int, int], tuple[Tensor, Cond]] = gaussian_batches,
    **options: object,
) -> RunContext:
    """A run of practically unlimited budget with batches of 8."""
    settings = {"budget": 1e12, "batch_size": 8, "seed": 3, **options}
    return RunContext(space, draw, Meter(), **settings)  # type: ignore[arg-type]


def build(
    method: type[Distiller],
    config: dict[str, object] | None = None,
    context: RunContext | None = None,
    net: Denoiser | None = None,
    exact: Denoiser | None = None,
) -> Distiller:
    """A method on a small teacher."""
    context = context or run_context()
    shell = Metered((net or small_net()).eval().requires_grad_(False), "teacher", context.meter)
    closed = None if exact is None else Metered(exact.requires_grad_(False), "teacher", context.meter)
    teacher = Teacher(context.space, shell, closed)  # type: ignore[arg-type]
    return method(teacher, method.Config(**(config or {})), context)


def train(method: Distiller, iterations: int) -> list[dict[str, float | Tensor]]:
    """Train as the runner does; what each iteration logged."""
    context: RunContext = method.context  # type: ignore[assignment]
    logs = []
    for _ in range(iterations):
        logs.append(method.step(context.next_batch()))
        context.advance()
    return logs


def reloaded(method: Distiller, fresh: Callable[[], Distiller]) -> Distiller:
    """A new method that continues from the saved state of another one, through bytes."""
    file = io.BytesIO()
    torch.save({"context": method.context.state_dict(), "extra": method.extra_state()}, file)  # type: ignore[attr-defined]
    file.seek(0)
    state = torch.load(file, weights_only=True)
    new = fresh()
    new.context.load_state_dict(state["context"])  # type: ignore[attr-defined]
    new.load_extra_state(state["extra"])
    return new


def weights_of(method: Distiller) -> dict[str, Tensor]:
    """All weights of a run, by role and name."""
    networks = method.context.networks  # type: ignore[attr-defined]
    return {
        f"{role}.{name}": value.detach().clone()
        for role, shell in networks.items()
        for name, value in shell.plain.state_dict().items()
    }


def check_resume(fresh: Callable[[], Distiller]) -> None:
    """7 iterations equal 3, saving, loading and 4 more: weights, meter and logs, bit for bit."""
    whole = fresh()
    logs = train(whole, 7)
    first = fresh()
    train(first, 3)
    second = reloaded(first, fresh)
    rest = train(second, 4)
    assert [{k: float(v) for k, v in log.items()} for log in rest] == [
        {k: float(v) for k, v in log.items()} for log in logs[3:]
    ]
    expected, found = weights_of(whole), weights_of(second)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert second.context.meter.state_dict() == whole.context.meter.state_dict()  # type: ignore[attr-defined]
