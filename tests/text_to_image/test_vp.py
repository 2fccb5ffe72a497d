"""The dictionary of a discrete VP process, against closed forms and the schedulers of diffusers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, LCMScheduler
from tiny_pipeline import RATES, Recorded
from torch import Tensor

from baselines.diffusion.denoiser import Denoiser
from baselines.diffusion.samplers import dpmpp_2m, euler, euler_step
from baselines.diffusion.vp import PREDICTIONS, TimestepBoundary, TimestepGrid, VPSchedule
from baselines.distiller import Space
from baselines.generators import RenoisingSteps
from baselines.lcm import LCM, serving_levels, training_nodes

SCHEDULE = VPSchedule.from_config({**RATES, "num_train_timesteps": 1000})
MU, S = 0.3, 0.5


def wavy(z: Tensor, timestep: Tensor) -> Tensor:
    """Some smooth network output."""
    time = timestep.reshape(-1, *[1] * (z.ndim - 1)).to(z.dtype) / 1000
    return torch.tanh(0.7 * z + time) + 0.2 * (z - 2 * time).sin()


def denoiser(prediction: str) -> Denoiser:
    return Denoiser(Recorded(wavy), PREDICTIONS[prediction](SCHEDULE))


def grid(prediction: str = "epsilon") -> TimestepGrid:
    return TimestepGrid(PREDICTIONS[prediction](SCHEDULE))


def space(prediction: str = "epsilon") -> Space:
    return Space((3,), process=grid(prediction), sigma_min=grid().sigma_min, sigma_max=grid().sigma_max)


def scheduler(kind: Any, prediction: str, **options: Any) -> Any:
    made = kind(prediction_type=prediction, **RATES, **options)
    made.alphas_cumprod = made.alphas_cumprod.double()  # its arithmetic in fp64, its table as it is
    return made


def start(rows: int = 4) -> Tensor:
    return torch.randn(rows, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def alpha(sigma: float | Tensor) -> float:
    return 1 / math.sqrt(1 + float(sigma) ** 2)


# the schedule


@pytest.mark.parametrize("law", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_rates_are_those_of_diffusers(law: str) -> None:
    config = {"beta_start": 0.001, "beta_end": 0.02, "beta_schedule": law, "num_train_timesteps": 300}
    theirs = DDIMScheduler(**config).alphas_cumprod
    assert VPSchedule.from_config(config).alpha_bar == tuple(theirs.double().tolist())


def test_given_rates_are_taken() -> None:
    betas = [0.1, 0.2, 0.3]
    found = VPSchedule.from_config({**RATES, "num_train_timesteps": 1000, "trained_betas": betas})
    assert found.alpha_bar == pytest.approx((0.9, 0.72, 0.504), rel=1e-6)


def test_numbers_of_stable_diffusion() -> None:
    assert SCHEDULE.alpha_bar[999] == pytest.approx(0.00466, abs=5e-6)
    assert SCHEDULE.alpha_bar[0] == pytest.approx(0.99915, abs=1e-6)
    assert grid().sigma_max == pytest.approx(14.6146, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_and_timesteps_are_exact_on_the_grid(dtype: torch.dtype) -> None:
    times = torch.arange(1000)
    levels = SCHEDULE.sigma(times)
    assert torch.equal(levels, SCHEDULE.levels)
    assert torch.equal(SCHEDULE.timestep(levels.to(dtype)), times.double())


def test_between_timesteps_the_logarithm_is_linear_and_invertible() -> None:
    times = torch.rand(500, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 999
    levels = SCHEDULE.sigma(times)
    below = times.floor().long()
    low, high = SCHEDULE.levels[below].log(), SCHEDULE.levels[below + 1].log()
    torch.testing.assert_close(levels.log(), low + (times - below) * (high - low), rtol=1e-12, atol=0)
    torch.testing.assert_close(SCHEDULE.timestep(levels), times, rtol=0, atol=1e-3)
    outside = torch.tensor([1e-4, 1e4], dtype=torch.float64)
    assert SCHEDULE.timestep(outside).tolist() == [0, 999]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule is 'sigmoid', expected one of linear, scaled_linear"),
        ({"rescale_betas_zero_snr": True}, "no signal is left at the last timestep"),
    ],
)
def test_schedules_that_have_no_levels_are_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VPSchedule.from_config({**RATES, "num_train_timesteps": 1000, **change})
    with pytest.raises(ValueError, match="no beta_end"):
        VPSchedule.from_config({"beta_schedule": "linear", "beta_start": 0.1, "num_train_timesteps": 10})


# predictions


def exact_epsilon(z: Tensor, timestep: Tensor) -> Tensor:
    """The noise predictor of data N(MU, S^2)."""
    bar = torch.tensor(SCHEDULE.alpha_bar, dtype=z.dtype)[timestep.long()][:, None]
    x0 = (bar.sqrt() * S**2 * z + (1 - bar) * MU) / (bar * S**2 + 1 - bar)
    return (z - bar.sqrt() * x0) / (1 - bar).sqrt()


def exact_velocity(z: Tensor, timestep: Tensor) -> Tensor:
    bar = torch.tensor(SCHEDULE.alpha_bar, dtype=z.dtype)[timestep.long()][:, None]
    return (exact_epsilon(z, timestep) - (1 - bar).sqrt() * z) / bar.sqrt()


def gaussian(prediction: str) -> Denoiser:
    function = {"epsilon": exact_epsilon, "v_prediction": exact_velocity}[prediction]
    return Denoiser(Recorded(function), PREDICTIONS[prediction](SCHEDULE))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_exact_predictor_becomes_the_exact_denoiser(prediction: str) -> None:
    sigma = SCHEDULE.levels[torch.tensor([0, 19, 259, 500, 999])]
    x = 3 * start(5)
    found = gaussian(prediction)(x, sigma)
    level = sigma[:, None]
    expected = (level**2 * MU + S**2 * x) / (S**2 + level**2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_the_flow_of_a_gaussian(prediction: str) -> None:
    """Fine Euler steps down to timestep 0 follow mu + (X - mu) g(end) / g(start)."""
    x, levels = 10 * start(), grid().nodes(333)
    found = euler(gaussian(prediction), x, levels)
    ends = [math.sqrt(S**2 + float(level) ** 2) for level in (levels[-1], levels[0])]
    torch.testing.assert_close(found, MU + (x - MU) * ends[0] / ends[1], rtol=0, atol=2e-2)


def test_lcms_chain_of_jumps_on_a_gaussian() -> None:
    """51 nodes, DDIM: known multipliers of z from timestep 999 to 0."""
    nodes = training_nodes(grid(), LCM.Config())
    x = torch.tensor([[MU + 1.0]], dtype=torch.float64)
    factor = float(euler(gaussian("epsilon"), x, nodes) - MU) * alpha(nodes[-1]) / alpha(nodes[0])
    assert factor == pytest.approx(0.477035, abs=2e-6)
    exact = math.sqrt((S**2 + float(nodes[-1]) ** 2) / (S**2 + float(nodes[0]) ** 2))
    assert exact * alpha(nodes[-1]) / alpha(nodes[0]) == pytest.approx(0.501514, abs=2e-6)


# samplers against diffusers


def run(made: Any, net: Any, z: Tensor, **options: Any) -> Tensor:
    for step in made.timesteps:
        z = made.step(net(z, step.expand(len(z))), step, z, **options).prev_sample
    return z


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 50])
@pytest.mark.parametrize("end", [True, False])
def test_ddim_is_that_of_diffusers(prediction: str, steps: int, end: bool) -> None:
    """Trailing timesteps; the last step ends at no noise, or at timestep 0 (``set_alpha_to_one``)."""
    theirs = scheduler(
        DDIMScheduler, prediction, clip_sample=False, set_alpha_to_one=end, timestep_spacing="trailing"
    )
    if not end:
        theirs.final_alpha_cumprod = theirs.alphas_cumprod[0]
    theirs.set_timesteps(steps)
    z, levels = start(), grid().solver(steps)
    if not end:
        levels[-1] = grid().sigma_min
    found = euler(denoiser(prediction), z * grid().start(float(levels[0])), levels)
    torch.testing.assert_close(found * alpha(levels[-1]), run(theirs, wavy, z), rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:__array__ implementation")  # of diffusers' own call
@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 20])
def test_dpm_solver_is_that_of_diffusers(prediction: str, steps: int) -> None:
    theirs = scheduler(
        DPMSolverMultistepScheduler,
        prediction,
        timestep_spacing="trailing",
        final_sigmas_type="zero",
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
    )
    theirs.set_timesteps(steps)
    theirs.sigmas = theirs.sigmas.double()
    levels = grid().solver(steps)
    assert theirs.timesteps.tolist() == SCHEDULE.timestep(levels[:-1]).tolist()
    theirs.sigmas[:-1] = levels[:-1]  # its own are the same table, rounded to fp32
    z = start()
    found = dpmpp_2m(denoiser(prediction), z * grid().start(float(levels[0])), levels)
    expected = run(theirs, wavy, z)  # in fp32, whatever it is given
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()


class Steps:
    """Noise of sampler steps."""

    def __init__(self) -> None:
        self.draws = [start() * (1 if k == 0 else -0.7 + 0.3 * k) for k in range(9)]

    def initial(self) -> Tensor:
        return self.draws[0]

    def at(self, step: int) -> Tensor:
        return self.draws[step]


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_lcm_sampling_is_that_of_diffusers(
    monkeypatch: pytest.MonkeyPatch, prediction: str, steps: int
) -> None:
    import diffusers.schedulers.scheduling_lcm as module

    theirs, noise = scheduler(LCMScheduler, prediction), Steps()
    theirs.set_timesteps(steps)
    drawn = iter(noise.draws[1:])
    monkeypatch.setattr(module, "randn_tensor", lambda *args, **kwargs: next(drawn))
    config = LCM.Config()
    student = denoiser(prediction).rescaled(LCM.student_scaling(config, space(prediction)))
    sampler = LCM.generator({steps: student}, config, space(prediction))
    assert isinstance(sampler, RenoisingSteps) and sampler.floor == 0
    found = sampler.sample(noise, None, steps)  # type: ignore[arg-type]
    torch.testing.assert_close(found, run(theirs, wavy, noise.initial()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_a_jump_of_lcms_training_is_one_step_of_diffusers(prediction: str) -> None:
    """All fifty; the last one ends at timestep 0, not at no noise."""
    theirs = scheduler(
        DDIMScheduler, prediction, clip_sample=False, set_alpha_to_one=False, timestep_spacing="trailing"
    )
    theirs.final_alpha_cumprod = theirs.alphas_cumprod[0]
    theirs.set_timesteps(50)
    nodes, z = training_nodes(grid(), LCM.Config()), start()
    for step, upper, lower in zip(theirs.timesteps, nodes[:-1], nodes[1:], strict=True):
        landed = euler_step(
            denoiser(prediction), z / alpha(upper), upper.expand(len(z)), lower.expand(len(z))
        )
        expected = theirs.step(wavy(z, step.expand(len(z))), step, z).prev_sample
        torch.testing.assert_close(landed * alpha(lower), expected, rtol=1e-6, atol=1e-6)


# LCM's nodes and boundary


def test_nodes_and_levels_of_lcm() -> None:
    nodes = training_nodes(grid(), LCM.Config())
    assert SCHEDULE.timestep(nodes).tolist() == [*range(999, 0, -20), 0]
    served = {
        1: [999],
        2: [999, 499],
        4: [999, 759, 499, 259],
        8: [999, 879, 759, 639, 499, 379, 259, 139],
    }
    for steps, timesteps in served.items():
        found = torch.tensor(serving_levels(grid(), LCM.Config(), steps), dtype=torch.float64)
        assert SCHEDULE.timestep(found).tolist() == timesteps
    with pytest.raises(ValueError, match="the teacher has 1000 timesteps; take fine = 1000"):
        training_nodes(grid(), LCM.Config(fine=500, skip=10))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_lcms_boundary(prediction: str) -> None:
    """Identity in z at timestep 0, for any network; elsewhere the weights of the paper's code."""
    scaling = grid(prediction).consistency(1.0)
    assert isinstance(scaling, TimestepBoundary)
    plain, z = denoiser(prediction), start()
    student = plain.rescaled(scaling)
    bottom = SCHEDULE.levels[0]
    assert torch.equal(student(z / alpha(bottom), bottom), (z / alpha(bottom)) * scaling.c_skip(bottom))
    torch.testing.assert_close(student(z / alpha(bottom), bottom), z, rtol=1e-15, atol=1e-15)
    for time in (19, 499, 999):
        sigma, tau = SCHEDULE.levels[time], 10 * time
        skip, out = 0.25 / (tau**2 + 0.25), tau / math.sqrt(tau**2 + 0.25)
        found = student(z / alpha(sigma), sigma)
        torch.testing.assert_close(found, skip * z + out * plain(z / alpha(sigma), sigma))


def test_levels_of_dmd2_are_its_timesteps() -> None:
    from baselines.generators import dmd2_levels

    for steps, expected in {1: [999], 2: [999, 499], 4: [999, 749, 499, 249]}.items():
        levels = torch.tensor(dmd2_levels(grid(), steps), dtype=torch.float64)
        assert SCHEDULE.timestep(levels).tolist() == expected
