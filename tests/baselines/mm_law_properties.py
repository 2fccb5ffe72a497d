"""Moment matching: the posterior step, the law of its levels, and the ancestral sampler, in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from mm_properties import close, columns
from oracles import Formula, gauss_hermite
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.posterior import StepPairs, posterior
from baselines.generators import Ancestral
from baselines.streams import torch_generator


def posterior_is_gaussian_conditioning() -> None:
    """q(z_s | z_t, x) by precisions; marginal x + sigma_s n with the true x; ends r = 1 and sigma_s = 0."""
    x, eps, xi = columns(4, 3)
    x, sigma_t, sigma_s = 0.7 * x, torch.tensor(2.0), torch.tensor(0.8)
    z = x + 2.0 * eps
    z_s = posterior(z, x, sigma_t, sigma_s, xi)
    precision = 1 / 0.8**2 + 1 / (2.0**2 - 0.8**2)
    mean = (z / (2.0**2 - 0.8**2) + x / 0.8**2) / precision
    assert torch.allclose(z_s, mean + xi * precision**-0.5, rtol=1e-7)
    close((z_s - x).square().mean(), 0.8**2, 1e-7)
    close(((z_s - x) * x).mean(), 0.0)
    assert torch.equal(posterior(z, x, sigma_t, sigma_t, xi), z)
    assert torch.allclose(posterior(z, x, sigma_t, torch.tensor(1e-30), xi), x)


def time_law() -> None:
    """s uniform, 0 <= t - s <= 1/k, P(t = 1) = 1 / (2k); s given t = 1 has mean 2/3 for k = 1."""
    n, grid = 100_000, KarrasGrid()
    generator = torch_generator(0, "train-noise")
    for k in (1, 2, 8):
        u, v = torch.rand(n, generator=generator), torch.rand(n, generator=generator)
        sigma_s, sigma_t = StepPairs(grid, k)(u, v)
        top, bottom = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
        s, t = ((sigma ** (1 / 7) - bottom) / (top - bottom) for sigma in (sigma_s, sigma_t))
        assert bool((t >= s - 1e-12).all()) and bool((t - s <= 1 / k + 1e-9).all())
        ranks = torch.arange(1, n + 1) / n
        assert float((s.sort().values - ranks).abs().max()) < 1.95 / n**0.5  # Kolmogorov-Smirnov, 1e-3
        atom = sigma_t >= 80 - 1e-9
        share = 1 / (2 * k)
        assert abs(float(atom.double().mean()) - share) < 4 * (share * (1 - share) / n) ** 0.5
        if k == 1:
            assert abs(float(s[atom].mean()) - 2 / 3) < 0.01
        assert bool(
            torch.isfinite(posterior(sigma_t[:, None], sigma_s[:, None], sigma_t, sigma_s, u[:, None])).all()
        )


@dataclass
class DesignNoise:
    """Orthogonal columns for the latent and every step; the latent has variance s^2 + 80^2."""

    table: list[Tensor]
    s: float = 0.5

    def initial(self) -> Tensor:
        return self.table[0] * (1 + (self.s / 80) ** 2) ** 0.5

    def at(self, step: int) -> Tensor:
        return self.table[step]


def sampler_has_the_published_variance() -> None:
    """The denoiser as a student, started at the marginal: short of the data variance by a known amount."""
    published = {1: 9.7652e-6, 2: 0.0091432, 4: 0.032219, 8: 0.080775, 64: 0.20830, 1024: 0.24705}
    teacher = Formula(lambda x, sigma: 0.25 / (0.25 + sigma**2) * x)
    for k, variance in published.items():
        rows = 2 ** (k.bit_length() + 1)
        samples = Ancestral({k: teacher}, KarrasGrid()).sample(DesignNoise(columns(rows, k + 1)), Cond(), k)  # type: ignore[arg-type]
        close(samples.square().mean(), variance, 5e-5)


def sampler_is_exact_with_a_perfect_student() -> None:
    for k in (1, 2, 4, 8):
        table = columns(32, 2 * k)
        zetas = iter(table[k:])

        def student(x: Tensor, sigma: Tensor, cond: Cond, zetas: Any = zetas) -> Tensor:
            v = 0.25 + float(sigma) ** 2
            return 0.25 / v * x + (0.25 * float(sigma) ** 2 / v) ** 0.5 * next(zetas)

        samples = Ancestral({k: student}, KarrasGrid()).sample(DesignNoise(table[:k]), Cond(), k)  # type: ignore[arg-type]
        close(samples.square().mean(), 0.25)


def sampler_levels() -> None:
    seen: list[float] = []

    def student(x: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
        seen.append(float(sigma))
        return x

    Ancestral({8: student}, KarrasGrid()).sample(DesignNoise(columns(16, 9)), Cond(), 8)  # type: ignore[arg-type]
    expected = [80, 39.02, 17.53, 7.10, 2.515, 0.7434, 0.1698, 0.0261]
    assert seen == [float(v) for v in KarrasGrid().nodes(8)[:-1]]
    assert all(abs(a / b - 1) < 2e-3 for a, b in zip(seen, expected, strict=True)), seen


def mixture_fixed_point() -> None:
    """E[(x_hat - D(z_s)) h(z_s)] is 0 for the exact posterior sampler and as published for the denoiser."""
    weights = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    means = torch.tensor([-1, 0.2, 1.3], dtype=torch.float64)
    stds = torch.tensor([0.3, 0.15, 0.5], dtype=torch.float64)
    nodes, mass = gauss_hermite(24)

    def shares(x: Tensor, sigma: Tensor) -> Tensor:
        variance = stds**2 + sigma**2
        return (weights.log() - variance.log() / 2 - (x - means) ** 2 / (2 * variance)).softmax(-1)

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        gain = stds**2 / (stds**2 + sigma**2)
        return (shares(x, sigma) * (means + gain * (x - means))).sum(-1, keepdim=True)

    def moments(x_hat: Tensor, z: Tensor, chance: Tensor, high: Tensor, low: Tensor) -> list[float]:
        """For every h; x_hat and z ``[n, 1]`` with probabilities ``[n]``."""
        x_hat, z = x_hat.repeat_interleave(24, 0), z.repeat_interleave(24, 0)
        p = chance.repeat_interleave(24) * mass.repeat(len(chance))
        z_s = posterior(z, x_hat, high, low, nodes.repeat(len(chance))[:, None])
        error = x_hat - denoise(z_s, low)
        tests = (torch.ones_like(z_s), z_s, (3 * z_s).cos(), (2 * z_s).tanh())
        return [float(((error * h)[:, 0] * p).sum()) for h in tests]

    published = {
        (1.0, 0.4): (0.00342, -0.11267, -0.05595, -0.09109),
        (2.0, 1.0): (0.00419, -0.32139, -0.00483, -0.20245),
    }
    for levels, values in published.items():
        high, low = (torch.tensor(level, dtype=torch.float64) for level in levels)
        z = torch.linspace(-9, 9, 451, dtype=torch.float64)[:, None]
        variance = stds**2 + high**2
        normal = (-((z - means) ** 2) / (2 * variance)).exp() / (2 * torch.pi * variance).sqrt()
        p = (weights * normal).sum(-1) * 0.04
        found = moments(denoise(z, high), z, p, high, low)
        assert all(abs(a - b) < 1.1e-5 for a, b in zip(found, values, strict=True)), found
        # the exact sampler: x given z_t is a mixture again, integrated by its own nodes
        gain = stds**2 / variance
        x = (means + gain * (z - means))[..., None] + (stds**2 * (1 - gain)).sqrt()[:, None] * nodes
        chance = (p[:, None, None] * shares(z, high)[..., None] * mass).flatten()
        keep = chance > 1e-12
        at = z[..., None].expand(x.shape).reshape(-1, 1)[keep]
        found = moments(x.reshape(-1, 1)[keep], at, chance[keep], high, low)
        assert all(abs(value) < 2e-6 for value in found), found


PROPERTIES = (
    posterior_is_gaussian_conditioning,
    time_law,
    sampler_has_the_published_variance,
    sampler_is_exact_with_a_perfect_student,
    sampler_levels,
    mixture_fixed_point,
)
