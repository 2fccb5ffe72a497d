"""Our networks, samplers, losses and augmentation against numbers that the official modules gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from published_law import NETWORKS, TABLE, close, denoiser, inputs, normal, projections, summary
from torch import Tensor

from baselines.datasets.augment import Augmentation
from baselines.diffusion.cond import Cond
from baselines.diffusion.edm2 import EDM2Denoiser, uncertain_loss
from baselines.diffusion.noise import KarrasGrid
from baselines.diffusion.samplers import Sampler, euler, heun
from baselines.diffusion.scalings import IDDPMScaling, supported_levels
from baselines.diffusion.seeds import SeededNoise
from baselines.diffusion.stochastic import StochasticHeun
from baselines.losses import denoising_loss
from baselines.networks.magnitude import normalise_weights


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "last"])
def test_outputs_and_gradients(name: str, layout: torch.memory_format) -> None:
    net = denoiser(name).to(memory_format=layout)  # type: ignore[call-overload]
    x, sigma, cond = inputs(name)
    x = x.to(memory_format=layout).requires_grad_()
    out, row = net(x, sigma, cond), NETWORKS[name]
    close(summary(out), row["output"], 1e-5)
    weights = [p for key, p in net.named_parameters() if "logvar" not in key]
    direction = normal(row["seed"] + 100, *x.shape) / sigma[:, None, None, None]
    gradients = torch.autograd.grad((out * direction).sum(), [x, *weights])
    close(projections(gradients, row["seed"]), row["gradients"], 1e-5)
    for ours, theirs in zip(projections(gradients, row["seed"]), row["gradients"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4, abs=1e-6 * max(map(abs, row["gradients"])))


class Spy:
    """A denoiser that keeps what it was asked."""

    def __init__(self, net: Any) -> None:
        self.net, self.seen = net, list[Tensor]()

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None) -> Tensor:
        self.seen.append(x)
        return self.net(x, sigma, cond)  # type: ignore[no-any-return]


@torch.no_grad()
@pytest.mark.parametrize("row", TABLE["samplers"], ids=lambda r: f"{r['network']}-churn{len(r['churn'])}")
def test_trajectories_of_edm(row: dict[str, Any]) -> None:
    net, options = denoiser(row["network"]), NETWORKS[row["network"]]["network"]
    classes = 0 if row["labels"] is None else options["label_dim"]
    noise = SeededNoise(row["seeds"], (options["channels"], *[options["resolution"]] * 2), classes=classes)
    levels = supported_levels(net.scaling, KarrasGrid(), row["steps"])
    x = (noise.initial() * levels[0]).float()
    label = None if row["labels"] is None else noise.labels
    assert label is None or label.tolist() == row["labels"]
    nearest = getattr(net.scaling, "nearest", lambda sigma: sigma)
    churn = {f"{key[2:]}": value for key, value in row["churn"].items()}
    sampler: Sampler = heun
    if churn:
        sampler = StochasticHeun(
            noise,
            churn["churn"],
            churn.get("min", 0.0),
            churn.get("max", float("inf")),
            churn.get("noise", 1.0),
            lambda sigma: float(nearest(torch.tensor(sigma, dtype=torch.float64))),
        )
    spy = Spy(net)
    final = sampler(spy, x, levels, Cond(label=label))
    assert len(spy.seen) == len(row["calls"])
    for seen, expected in zip(spy.seen, row["calls"], strict=True):
        close(summary(seen)[: len(expected)], expected, 1e-5)
    close(summary(final), row["final"], 1e-5)


@torch.no_grad()
def test_euler_of_edm() -> None:
    row = TABLE["euler"]
    x = normal(row["latent_seed"], 2, 3, 8, 8) * 80
    label = torch.tensor(row["labels"])
    out = euler(denoiser(row["network"]), x, KarrasGrid().solver(row["steps"]), Cond(label=label))
    close(summary(out), row["final"], 1e-5)


@torch.no_grad()
@pytest.mark.parametrize("row", TABLE["losses"], ids=lambda r: r["network"])
def test_losses(row: dict[str, Any]) -> None:
    net, options = denoiser(row["network"]), NETWORKS[row["network"]]["network"]
    seed, side = NETWORKS[row["network"]]["seed"], options["resolution"]
    images = normal(300 + seed, row["batch"], options["channels"], side, side) * 0.5
    generator = torch.Generator().manual_seed(row["seed"])
    levels = torch.randn(row["batch"], 1, 1, 1, generator=generator) * row["std"] + row["mean"]
    sigma = levels.exp().flatten()
    noisy = images + torch.randn(images.shape, generator=generator) * sigma[:, None, None, None]
    label = torch.arange(row["batch"]) % options["label_dim"]
    loss = denoising_loss(net(noisy, sigma, Cond(label=label)), images, sigma, 0.5)
    if isinstance(net, EDM2Denoiser):
        loss = uncertain_loss(loss, net.log_variance(sigma))
    assert loss.double().mean().item() == pytest.approx(row["loss"], rel=1e-6)
    close(summary(loss), row["elements"], 1e-5)


@torch.no_grad()
def test_forced_normalisation_and_uncertainty_of_edm2() -> None:
    row = TABLE["forced"]
    net = denoiser(row["network"])
    assert isinstance(net, EDM2Denoiser)
    normalise_weights(net)
    sigma, label = torch.tensor(row["sigma"]), torch.tensor(row["labels"])
    close(
        summary(net(normal(row["input_seed"], 2, 4, 16, 16), sigma, Cond(label=label))), row["output"], 1e-5
    )
    close(summary(net.log_variance(sigma)), row["log_variance"], 1e-6)


@pytest.mark.parametrize("row", TABLE["augment"], ids=lambda r: f"p{r['probability']}")
def test_augmentation(row: dict[str, Any]) -> None:
    images = normal(row["seed"], *row["shape"]).clamp(-1, 1)
    generator = torch.Generator().manual_seed(row["seed"])
    augmented, labels = Augmentation(row["probability"])(images, generator)
    assert labels.shape == (row["shape"][0], 9)
    close(labels.flatten().tolist(), row["labels"], 1e-6)
    close(summary(augmented), row["images"], 2e-5)


def test_levels_of_improved_ddpm() -> None:
    close(summary(IDDPMScaling().levels), TABLE["iddpm_levels"], 1e-7)
