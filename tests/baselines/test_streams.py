"""Random streams: counter-based, named, and the only source of randomness there is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pd_stage_properties import tiny_pd
from sid_step_properties import tiny_sid

from baselines import progressive, sid
from baselines.datasets.mixtures import ring
from baselines.diffusion.cond import Cond
from baselines.streams import STREAMS, SampleNoise, numpy_generator, stream_key, torch_generator
from baselines.teachers.digits import digits_training
from baselines.teachers.mixture import mixture_training
from baselines.teachers.training import TeacherRecipe


def test_sample_noise_does_not_depend_on_the_batch() -> None:
    whole = SampleNoise(7, range(10), (2, 3))
    for part in ([4], [9, 0, 4], list(range(5, 10))):
        for step in (0, 3):
            assert torch.equal(SampleNoise(7, part, (2, 3)).at(step), whole.at(step)[part])
    assert torch.equal(whole.initial(), whole.at(0))


def test_sample_noise_differs_by_seed_sample_and_step() -> None:
    noise = SampleNoise(0, range(4), (8,))
    rows = torch.cat([noise.at(0), noise.at(1), SampleNoise(1, range(4), (8,)).at(0)])
    distances = torch.cdist(rows, rows) + 10 * torch.eye(len(rows))
    assert distances.min() > 0.5


def test_sample_noise_is_standard_normal() -> None:
    values = SampleNoise(3, range(2000), (16,), dtype=torch.float64).initial()
    assert values.mean().abs() < 0.02 and abs(values.std() - 1) < 0.02
    assert abs((values**4).mean() - 3) < 0.2
    assert (values[:-1] * values[1:]).mean().abs() < 0.02
    assert SampleNoise(0, [0], (1,)).initial().dtype == torch.float32


def test_streams_differ_and_repeat() -> None:
    places = [(seed, stream, index) for seed in (0, 1) for stream in STREAMS for index in (0, 1)]
    assert len({stream_key(*place) for place in places}) == len(places)
    first = [torch.randn(4, generator=torch_generator(*place)) for place in places]
    again = [torch.randn(4, generator=torch_generator(*place)) for place in reversed(places)]
    assert all(torch.equal(a, b) for a, b in zip(first, reversed(again), strict=True))
    numbers = {tuple(numpy_generator(*place).integers(0, 2**60, 3)) for place in places}
    assert len(numbers) == len(places)


@pytest.mark.parametrize("make", [stream_key, torch_generator, numpy_generator])
def test_unknown_stream_is_an_error(make: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="unknown random stream 'noise'; expected one of init"):
        make(0, "noise")


def train_sid() -> None:
    method, made = tiny_sid(sid)
    method.step(made.context.next_batch())
    noise = SampleNoise(0, range(2), (2,))
    sid.SiD.generator(method.students(), method.config, method.space).sample(noise, Cond(), 1)


def train_pd() -> None:
    method, made = tiny_pd(progressive)
    for _ in range(7):
        method.step(made.context.next_batch())
        made.context.advance()
    noise = SampleNoise(0, range(2), (2,))
    generator = progressive.ProgressiveDistillation.generator(method.students(), method.config, method.space)
    generator.sample(noise, Cond(), 8)


def train_mixture_teacher() -> None:
    mixture_training(ring(), TeacherRecipe(iterations=2, batch=8, lr=1e-3)).step()


def train_digits_teacher() -> None:
    digits_training(TeacherRecipe(iterations=2, batch=4, lr=1e-3)).step()


@pytest.mark.parametrize("act", [train_sid, train_pd, train_mixture_teacher, train_digits_teacher])
def test_global_generators_are_untouched(act: Callable[[], None]) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    act()
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
