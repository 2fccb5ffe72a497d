"""The exact mixture denoiser against brute force, and the order in which data come."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits as sklearn_digits

from baselines.datasets.digits import load_digits
from baselines.datasets.images import LabelledImages, epoch_rows, to_model, to_uint8
from baselines.datasets.mixtures import MIXTURES, Mixture, grid, ring
from baselines.streams import numpy_generator, torch_generator
from baselines.teachers.mixture import ExactMixture, mixture_denoiser

UNEVEN = Mixture(np.array([[-0.6, 0.2], [0.5, 0.5], [0.1, -0.7]]), np.array([0.5, 0.3, 0.2]), 0.15)


def points(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch_generator(0, "train-noise"), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.1, 0.4, 2.0])
def test_exact_denoiser_is_the_posterior_mean(sigma: float) -> None:
    """Against the integral of x0 p(x0) p(x | x0) on a fine lattice."""
    axis = torch.linspace(-2.0, 2.0, 401, dtype=torch.float64)
    x0 = torch.cartesian_prod(axis, axis)
    prior = sum(
        weight * (-((x0 - torch.from_numpy(mean)) ** 2).sum(1) / (2 * UNEVEN.std**2)).exp()
        for weight, mean in zip(UNEVEN.weights, UNEVEN.means, strict=True)
    )
    x = points(6, 2) * 0.7
    found = ExactMixture(UNEVEN)(x, sigma)
    for row, estimate in zip(x, found, strict=True):
        mass = prior * (-((row - x0) ** 2).sum(1) / (2 * sigma**2)).exp()
        torch.testing.assert_close(estimate, mass @ x0 / mass.sum(), rtol=1e-9, atol=1e-11)


def test_exact_denoiser_gradient_and_limits() -> None:
    exact = ExactMixture(UNEVEN)
    x = points(4, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: exact(x, 0.3), x)
    x = x.detach()
    torch.testing.assert_close(exact(x, 1e-6), x, atol=1e-4, rtol=0)
    centre = torch.from_numpy(UNEVEN.weights @ UNEVEN.means).expand(4, 2)
    torch.testing.assert_close(exact(x, 1e4), centre, atol=1e-3, rtol=0)
    sigmas = torch.tensor([0.05, 0.3, 1.0, 80.0], dtype=torch.float64)
    singly = torch.cat([exact(x[i : i + 1], float(sigmas[i])) for i in range(4)])
    torch.testing.assert_close(exact(x, sigmas), singly)


def test_exact_denoiser_satisfies_tweedie() -> None:
    """``D = x + sigma^2 grad log p(x; sigma)``."""
    x, sigma = points(5, 2).requires_grad_(), 0.5
    variance = UNEVEN.std**2 + sigma**2
    offsets = ((x[:, None] - torch.from_numpy(UNEVEN.means)) ** 2).sum(-1)
    log_p = (torch.from_numpy(UNEVEN.weights).log() - offsets / (2 * variance)).logsumexp(1)
    (score,) = torch.autograd.grad(log_p.sum(), x)
    torch.testing.assert_close(ExactMixture(UNEVEN)(x, sigma), x + sigma**2 * score)


def test_raw_output_of_the_exact_denoiser_inverts_its_scaling() -> None:
    exact, x = ExactMixture(UNEVEN), points(3, 2)
    torch.testing.assert_close(exact.assemble(exact.raw(x, 0.7), x, 0.7), exact(x, 0.7))
    with pytest.raises(NotImplementedError):
        exact.features(x, 0.7)


def test_fitted_network_has_the_call_of_the_exact_one() -> None:
    net = mixture_denoiser()
    net.model.initialise(torch_generator(0, "init"))
    assert net(points(3, 2).float(), 0.5).shape == (3, 2)
    assert net.features(points(3, 2).float(), 0.5).shape == (3, 128)


def test_mixtures_draw_their_law() -> None:
    draws = UNEVEN.draw(40_000, numpy_generator(0, "data"))
    np.testing.assert_allclose(draws.mean(0), UNEVEN.weights @ UNEVEN.means, atol=0.01)
    centred = UNEVEN.means - UNEVEN.weights @ UNEVEN.means
    covariance = (centred.T * UNEVEN.weights) @ centred + UNEVEN.std**2 * np.eye(2)
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.01)


def test_shipped_mixtures() -> None:
    assert {"gmm2d": ring, "gmm2d-grid": grid} == MIXTURES
    for mixture, modes in ((ring(), 8), (grid(), 25)):
        assert mixture.means.shape == (modes, 2) and math.isclose(mixture.weights.sum(), 1)
    np.testing.assert_allclose(np.linalg.norm(ring().means, axis=1), 0.7)
    first, _ = ring().batch(0, 3, 16)
    assert torch.equal(first, ring().batch(0, 3, 16)[0])
    assert not torch.isclose(first, ring().batch(0, 4, 16)[0]).any()


def test_digits_split_is_disjoint_and_whole() -> None:
    train, held_out = load_digits()
    assert (len(train), len(held_out)) == (1438, 359)
    assert train.images.shape[1:] == (1, 8, 8) and train.images.dtype == np.uint8
    raw = sklearn_digits()
    pixels = np.rint(raw.images * (255 / 16)).astype(np.uint8).reshape(-1, 64)
    everything = np.column_stack([pixels, raw.target])
    ours = [np.column_stack([s.images.reshape(-1, 64), s.labels]) for s in (train, held_out)]
    both = np.concatenate(ours)
    assert sorted(map(bytes, both.astype(np.int16))) == sorted(map(bytes, everything.astype(np.int16)))
    assert not {bytes(row) for row in ours[0]} & {bytes(row) for row in ours[1]}


@settings(deadline=None, max_examples=40)
@given(length=st.integers(1, 20), size=st.integers(1, 30), seed=st.integers(0, 3))
def test_epochs_cover_every_row_once(length: int, size: int, seed: int) -> None:
    batches = 3 * length
    order = np.concatenate([epoch_rows(seed, i * size, size, length) for i in range(batches)])
    for epoch in range(len(order) // length):
        assert sorted(order[epoch * length : (epoch + 1) * length]) == list(range(length))
    assert np.array_equal(order, epoch_rows(seed, 0, batches * size, length))


def test_batches_are_a_function_of_their_number() -> None:
    images = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
    data = LabelledImages(images, np.arange(10), 10)
    x0, cond = data.batch(0, 5, 4)
    again, labels = data.batch(0, 5, 4)
    assert torch.equal(x0, again) and torch.equal(cond.label, labels.label)
    assert to_uint8(x0).flatten().tolist() == cond.label.tolist()
    assert data.batch(1, 5, 4)[1].label.tolist() != cond.label.tolist()
    epochs = [epoch_rows(0, e * 10, 10, 10).tolist() for e in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_pixels_survive_the_round_trip() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    model = to_model(pixels)
    assert model.min() == -1 and model.max() == 1
    assert np.array_equal(to_uint8(model), pixels)
    assert to_uint8(torch.tensor([[-3.0, 0.0, 3.0]])).tolist() == [[0, 128, 255]]
