"""Variance-preserving models that count discrete timesteps (Stable Diffusion), behind the house convention.

Such a network sees ``z = alpha_t x0 + sigma_t n`` and a timestep. With ``X = z / alpha_t`` and the level
``sigma_t / alpha_t`` that is ``X = x0 + sigma n``, and DDIM is Euler's method in sigma. All of that is here:
level to timestep, what the network predicts, a consistency student's boundary, the grid of levels.
Sources: DDPM (Ho et al., 2020), DDIM (Song et al., 2021), v (Salimans and Ho, 2022), LCM (Luo et al., 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from baselines.diffusion.denoiser import Scaling
from baselines.diffusion.scalings import NoisePrediction

SNAP = 1e-3  # timesteps; a level that fp32 has rounded is still that of a whole timestep


def linear(start: float, end: float, count: int) -> Tensor:
    """Noise rates of DDPM."""
    return torch.linspace(start, end, count)


def scaled_linear(start: float, end: float, count: int) -> Tensor:
    """Noise rates of latent diffusion: their roots are linear."""
    return torch.linspace(start**0.5, end**0.5, count) ** 2


def cosine(start: float, end: float, count: int) -> Tensor:
    """Noise rates of improved DDPM; knows neither start nor end."""
    bar = [math.cos((i / count + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(count + 1)]
    return torch.tensor([min(1 - bar[i + 1] / bar[i], 0.999) for i in range(count)])


RATES: dict[str, Callable[[float, float, int], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": cosine,
}


@dataclass(frozen=True)
class VPSchedule:
    """A discrete process: ``alpha_bar[t]`` is the share of the signal's variance left at timestep t."""

    alpha_bar: tuple[float, ...] = field(repr=False)

    @classmethod
    def of_rates(cls, betas: Tensor) -> VPSchedule:
        """From noise rates, multiplied up in fp32 as where the networks were trained."""
        return cls(tuple((1 - betas.float()).cumprod(0).double().tolist()))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> VPSchedule:
        """From the config of a diffusers scheduler.

        Raises:
            ValueError: an unknown law of the rates, a missing key, or a last timestep without signal.
        """
        law = config.get("beta_schedule")
        if config.get("rescale_betas_zero_snr"):
            raise ValueError(
                "rescale_betas_zero_snr: no signal is left at the last timestep, so it has no level"
            )
        if config.get("trained_betas") is not None:
            return cls.of_rates(torch.tensor(config["trained_betas"]))
        if law not in RATES:
            raise ValueError(f"beta_schedule is {law!r}, expected one of {', '.join(RATES)}")
        if missing := {"beta_start", "beta_end", "num_train_timesteps"} - set(config):
            raise ValueError(f"no {', '.join(sorted(missing))}")
        return cls.of_rates(
            RATES[law](config["beta_start"], config["beta_end"], config["num_train_timesteps"])
        )

    def __len__(self) -> int:
        return len(self.alpha_bar)

    @cached_property
    def levels(self) -> Tensor:
        """Level of every timestep, ascending, fp64 ``[T]``."""
        bar = torch.tensor(self.alpha_bar, dtype=torch.float64)
        return ((1 - bar) / bar).sqrt()

    def sigma(self, timestep: Tensor) -> Tensor:
        """Level at timesteps, fp64; between whole ones ln sigma is linear."""
        time = timestep.double()
        levels = self.levels.to(time.device)
        below = time.floor().clamp(0, len(self) - 2)
        part, index = time - below, below.long()
        low, high = levels[index], levels[index + 1]
        between = low * (high / low) ** part
        return torch.where(part == 0, low, torch.where(part == 1, high, between))

    def timestep(self, sigma: Tensor) -> Tensor:
        """Inverse of ``sigma``, fp64: whole numbers at the levels of whole timesteps, 0 .. T - 1 at most."""
        logs = self.levels.log().to(sigma.device)
        wanted = sigma.double().log()
        index = torch.searchsorted(logs, wanted).clamp(1, len(self) - 1)
        low, high = logs[index - 1], logs[index]
        time = (index - 1 + (wanted - low) / (high - low)).clamp(0, len(self) - 1)
        whole = time.round()
        return torch.where((time - whole).abs() < SNAP, whole, time)


@dataclass(frozen=True)
class EpsilonScaling(NoisePrediction):
    """F predicts the noise at ``z`` and a timestep: ``x0 = X - sigma F``."""

    schedule: VPSchedule

    @property
    def sigma_min(self) -> float:
        return float(self.schedule.levels[0])

    @property
    def sigma_max(self) -> float:
        return float(self.schedule.levels[-1])

    def nearest(self, sigma: Tensor) -> Tensor:
        """The level of the nearest whole timestep, in sigma's shape and precision."""
        return self.schedule.sigma(self.schedule.timestep(sigma).round()).to(sigma.dtype)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return self.schedule.timestep(sigma).to(sigma.dtype)


@dataclass(frozen=True)
class VelocityScaling(EpsilonScaling):
    """F predicts ``v = alpha n - sigma_t x0``: ``x0 = alpha z - sigma_t F``."""

    def c_skip(self, sigma: Tensor) -> Tensor:
        return 1 / (sigma**2 + 1)

    def c_out(self, sigma: Tensor) -> Tensor:
        return -sigma / (sigma**2 + 1).sqrt()


PREDICTIONS: dict[str, type[EpsilonScaling]] = {"epsilon": EpsilonScaling, "v_prediction": VelocityScaling}


@dataclass(frozen=True)
class TimestepBoundary:
    """LCM's consistency scaling around a prediction: ``c_skip z + c_out x0_hat`` with ``tau = 10 t``.

    At timestep 0 it is the identity in z. c_out has no factor sigma_data, unlike EDM's.
    """

    inner: EpsilonScaling
    sigma_data: float = 0.5
    stretch: float = 10.0

    def _tau(self, sigma: Tensor) -> Tensor:
        return self.stretch * self.inner.c_noise(sigma)

    def _end(self, sigma: Tensor) -> Tensor:
        """Weight of the estimate."""
        tau = self._tau(sigma)
        return tau / (tau**2 + self.sigma_data**2).sqrt()

    def c_skip(self, sigma: Tensor) -> Tensor:
        stay = self.sigma_data**2 / (self._tau(sigma) ** 2 + self.sigma_data**2)
        return stay * self.inner.c_in(sigma) + self._end(sigma) * self.inner.c_skip(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return self._end(sigma) * self.inner.c_out(sigma)

    def c_in(self, sigma: Tensor) -> Tensor:
        return self.inner.c_in(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return self.inner.c_noise(sigma)


@dataclass(frozen=True)
class AtTimestep:
    """A one-step student that takes pure noise for the state of one timestep (DMD2 on SDXL: 399).

    Whatever the level, ``z`` is what it is given: ``x0 = (z - sigma_t F) / alpha_t`` where F predicts noise.
    """

    inner: EpsilonScaling
    timestep: int

    def _level(self, sigma: Tensor) -> Tensor:
        return torch.full_like(sigma, float(self.inner.schedule.levels[self.timestep]))

    def c_skip(self, sigma: Tensor) -> Tensor:
        level = self._level(sigma)
        return self.inner.c_skip(level) * (1 + level**2).sqrt() * self.inner.c_in(sigma)

    def c_out(self, sigma: Tensor) -> Tensor:
        return self.inner.c_out(self._level(sigma))

    def c_in(self, sigma: Tensor) -> Tensor:
        return self.inner.c_in(sigma)

    def c_noise(self, sigma: Tensor) -> Tensor:
        return torch.full_like(sigma, self.timestep)


@dataclass(frozen=True)
class TimestepGrid:
    """Levels uniform in the timesteps of a network (see ``baselines.diffusion.noise.Grid``).

    ``grid(1 - t / (T - 1))`` is the level of timestep t, so laws over 1000 indices are laws over timesteps.
    """

    scaling: EpsilonScaling

    @property
    def sigma_min(self) -> float:
        return self.scaling.sigma_min

    @property
    def sigma_max(self) -> float:
        return self.scaling.sigma_max

    @property
    def floor(self) -> float:
        """LCM takes its students' estimates for clean."""
        return 0.0

    def __call__(self, u: Tensor) -> Tensor:
        """Level in fp64 at position u in [0, 1]; u = 0 is the last timestep, u = 1 timestep 0."""
        time = (1 - u.double()) * (len(self.scaling.schedule) - 1)
        whole = time.round()
        return self.scaling.schedule.sigma(torch.where((time - whole).abs() < 1e-9, whole, time))

    def nodes(self, intervals: int) -> Tensor:
        """``intervals + 1`` descending nodes from the last timestep to timestep 0."""
        return self(torch.arange(intervals + 1, dtype=torch.float64) / intervals)

    def solver(self, steps: int) -> Tensor:
        """Levels of a sampler, then 0: timesteps ``T - 1, T - 1 - T / steps`` ... (trailing)."""
        count = len(self.scaling.schedule)
        down = torch.arange(steps, dtype=torch.float64) * count / steps
        levels = self.scaling.schedule.sigma((count - down).round() - 1)
        return torch.cat([levels, levels.new_zeros(1)])

    def aligned(self, fine: int, skip: int) -> Tensor:
        """LCM's nodes: timesteps ``T - 1, T - 1 - skip, ..., skip - 1``, then 0.

        Raises:
            ValueError: ``fine`` is not the number of timesteps.
        """
        count = len(self.scaling.schedule)
        if fine != count:
            raise ValueError(f"fine = {fine}: the teacher has {count} timesteps; take fine = {count}")
        starts = torch.arange(count - 1, 0, -skip, dtype=torch.float64)[: count // skip]
        return self.scaling.schedule.sigma(torch.cat([starts, starts.new_zeros(1)]))

    def start(self, sigma: float) -> float:
        """Samplers begin with ``z ~ N(0, I)``, which is ``1 / alpha`` in X."""
        return math.sqrt(1 + sigma**2)

    def consistency(self, sigma_data: float) -> Scaling:
        """LCM's boundary; its constants are of time, not of the data."""
        return TimestepBoundary(self.scaling)
