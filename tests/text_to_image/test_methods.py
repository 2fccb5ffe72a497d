"""Every method on a latent, guided teacher of captions, through the contract alone; evaluations counted."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from gaussian_methods import check_resume, train, weights_of
from tiny_pipeline import captioned
from torch import Tensor

from baselines.ddil import DDIL
from baselines.diffusion.cond import Cond
from baselines.diffusion.guidance import FixedStrength, Strength, UniformStrength
from baselines.diffusion.samplers import euler_step
from baselines.diffusion.vp import TimestepBoundary
from baselines.distiller import Distiller, Teacher
from baselines.dmd import DMD
from baselines.dmd2 import DMD2
from baselines.lcm import LCM
from baselines.moment_matching import MomentMatching
from baselines.progressive import ProgressiveDistillation
from baselines.sid import SiD
from baselines.streams import SampleNoise, torch_generator
from baselines.teachers.stable_diffusion import LowRankChange, TextTeacher, open_text_teacher
from bench.context import RunContext
from bench.meter import Meter, Metered, denoiser_flops, metered

BATCH = 4
DRAWN, FIXED = UniformStrength(2.0, 8.0), FixedStrength(3.0)


def build(cls: type[Distiller], teacher: TextTeacher, strength: Strength, **options: Any) -> Distiller:
    """A method on the guided teacher, its captions with strengths as the law says."""

    def draw(number: int, size: int) -> tuple[Tensor, Cond]:
        x0, cond = captioned(teacher, 0, number, size)
        return x0, strength.ask(cond, torch_generator(0, "labels", number))

    meter, guide = Meter(), teacher.guided(strength)
    flops = denoiser_flops(teacher.net, teacher.space.shape, teacher.space.blank(1))
    context = RunContext(
        teacher.space, draw, meter, budget=1e9, batch_size=BATCH, seed=0, reference_flops=flops
    )
    shells = [None if net is None else Metered(net, "teacher", meter) for net in (teacher.net, guide)]
    given = Teacher(teacher.space, shells[0], None, shells[1])  # type: ignore[arg-type]
    return cls(given, cls.Config(**options), context)


def calls(method: Distiller, iterations: int, what: str = "forwards") -> dict[str, float]:
    """Calls per sample of the batch, by role, of all iterations together."""
    logs = train(method, iterations)
    assert all(torch.isfinite(torch.as_tensor(value)) for log in logs for value in log.values())
    found = method.context.meter.by_role(what)  # type: ignore[attr-defined]
    return {role: value / BATCH for role, value in found.items()}


def samples(method: Distiller, steps: int, cond: Cond) -> tuple[Tensor, float]:
    """Samples of the student, and evaluations of each."""
    meter = Meter()
    students = metered({n: shell.plain for n, shell in method.students().items()}, meter)
    with torch.no_grad():
        generator = type(method).generator(students, method.config, method.space)
        found = generator.sample(SampleNoise(0, range(3), method.space.shape), cond, steps)
    return found, sum(meter.by_role("forwards").values()) / 3


CASES: list[tuple[str, type[Distiller], dict[str, Any], int, dict[str, float]]] = [
    ("lcm", LCM, {}, 2, {"student": 2, "target": 2, "teacher": 4}),
    ("lcm-heun", LCM, {"solver": "heun"}, 2, {"student": 2, "target": 2, "teacher": 8}),
    ("sid", SiD, {"sigma_init": 2.5}, 1, {"student": 2, "fake": 2, "teacher": 2}),
    (
        "dmd",
        DMD,
        {"pairs": BATCH, "pair_steps": 3, "warmup": 0},
        2,
        {"teacher": 2 * (5 + 1), "student": 2, "fake": 2},
    ),
    ("dmd2", DMD2, {"gan": "off", "warmup": 0}, 2, {"student": 2, "fake": 3, "teacher": 2}),
    ("dmd2-gan", DMD2, {"warmup": 0}, 2, {"student": 2, "fake": 8, "head": 5, "teacher": 2}),
    ("progressive", ProgressiveDistillation, {"first": 4}, 2, {"student": 2, "teacher": 8}),
    ("mm", MomentMatching, {"warmup": 0, "steps": 4}, 2, {"student": 2, "auxiliary": 2, "teacher": 4}),
    (
        "mm-instant",
        MomentMatching,
        {"warmup": 0, "steps": 2, "variant": "instant", "real_batches": 1},
        2,
        {"auxiliary": 2 * 3, "student": 2},
    ),
    ("ddil-lcm", DDIL.bind(LCM), {"reflect": "off"}, 1, {"student": 1, "target": 1, "teacher": 2 * 25}),
    (
        "ddil-progressive",
        DDIL.bind(ProgressiveDistillation),
        {"first": 4, "bound": 3.0},
        1,
        {"student": 1, "teacher": 2 * (2 + 3 * 2)},
    ),
    (
        "ddil-dmd2",
        DDIL.bind(DMD2),
        {"gan": "off", "warmup": 0, "bound": 3.0, "reflect": "dynamic"},
        1,
        {"student": 1, "fake": 2, "teacher": 2},
    ),
]


QUICK = ("lcm", "dmd2", "progressive")  # the other methods under a fixed strength are slow tests
RUNS = [
    pytest.param(*case, strength, id=f"{case[0]}-{law}", marks=[pytest.mark.slow] if slow else [])
    for case in CASES
    for law, strength in (("drawn", DRAWN), ("fixed", FIXED))
    for slow in [strength is FIXED and case[0] not in QUICK]
]


@pytest.mark.parametrize(("name", "cls", "options", "iterations", "expected", "strength"), RUNS)
def test_a_guided_teacher_counts_twice(teacher, name, cls, options, iterations, expected, strength):
    method = build(cls, teacher, strength, **options)
    before = weights_of(method)
    assert calls(method, iterations) == expected
    after = weights_of(method)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    assert any(key.startswith("student.") for key in moved)
    embedding = "student.model.unet.time_embedding.cond_proj.weight"
    assert (embedding in moved) == (strength is DRAWN)  # the strength is an input where it is drawn
    steps = method.served_nfe(method.config)[-1]
    steps = min(steps, max(method.students()))
    cond = captioned(teacher, 1, 0, 3)[1]
    cond = strength.ask(cond, torch_generator(1, "labels"))
    found, evaluations = samples(method, steps, cond)
    assert found.shape == (3, *teacher.space.shape) and torch.isfinite(found).all()
    assert evaluations == steps  # the student has learnt the guidance: one evaluation a step


def test_lcms_target_is_the_guided_jump_and_the_target_network(teacher):
    """The loss written out with the paper's own quantities, in z and timesteps."""
    method = build(LCM, teacher, DRAWN)
    state = method.draw_state(method.context.next_batch())
    assert state.cond.w.min() >= 2 and state.cond.w.max() <= 8
    schedule = teacher.space.grid.scaling.schedule
    upper, lower = schedule.timestep(state.upper), schedule.timestep(state.lower)
    assert all(t in range(19, 1000, 20) for t in upper.tolist())
    assert torch.equal(lower, torch.where(upper == 19, 0, upper - 20))

    bar = torch.tensor(schedule.alpha_bar, dtype=torch.float64)
    pick = [bar[t.long()].float()[:, None, None, None] for t in (upper, lower)]
    (a, s), (a_low, s_low) = [(b.sqrt(), (1 - b).sqrt()) for b in pick]
    unet, w, z = teacher.net.model.unet, state.cond.w[:, None, None, None], a * state.x
    free = unet(z, upper, teacher.text.empty.text.expand_as(state.cond.text)).sample
    noise = (1 + w) * unet(z, upper, state.cond.text).sample - w * free
    landed = a_low * (z - s * noise) / a + s_low * noise
    tau = 10 * lower.float()[:, None, None, None]
    skip, out = 0.25 / (tau**2 + 0.25), tau / (tau**2 + 0.25).sqrt()
    predicted = unet(landed, lower, state.cond.text).sample
    expected = skip * landed + out * (landed - s_low * predicted) / a_low
    torch.testing.assert_close(method.target(state), expected, rtol=1e-3, atol=2e-3)
    difference = method.student(state.x, state.upper, state.cond) - method.target(state)
    loss = ((difference**2 + 1e-6).sqrt() - 1e-3).mean()
    torch.testing.assert_close(method.loss(state), loss, rtol=1e-4, atol=1e-6)


def test_lcm_starts_as_the_teachers_conditional_branch(teacher):
    method = build(LCM, teacher, DRAWN)
    state = method.draw_state(method.context.next_batch())
    for network in (method.student, method.follower):
        assert isinstance(network.plain.scaling, TimestepBoundary)
        raw = network.plain.raw(state.x, state.upper, state.cond)
        assert torch.equal(raw, teacher.net.raw(state.x, state.upper, Cond(text=state.cond.text)))


def test_the_jump_is_guided(teacher):
    method = build(LCM, teacher, FIXED)
    state = method.draw_state(method.context.next_batch())
    assert state.cond.w is None
    own = euler_step(teacher.net, state.x, state.upper, state.lower, state.cond)
    with torch.no_grad():
        found = euler_step(method.teacher.denoiser, state.x, state.upper, state.lower, state.cond)
    assert (found - own).abs().max() > 1e-3


def test_lcm_lora_trains_the_change_alone(pipeline):
    """A fixed strength, no embedding, no average: the target is the student (LCM-LoRA)."""
    thin = open_text_teacher(pipeline, form=LowRankChange(2))
    method = build(LCM, thin, FIXED, target_ema=0.0, lr=1e-3)
    before = weights_of(method)
    assert calls(method, 2) == {"student": 2, "target": 2, "teacher": 4}
    moved = {k for k, value in weights_of(method).items() if not torch.equal(value, before[k])}
    assert moved and all(key.endswith((".up.weight", ".down.weight")) for key in moved)
    student, target = method.student.plain.state_dict(), method.follower.plain.state_dict()
    assert all(torch.equal(student[key], target[key]) for key in student)


def test_guidance_distillation_within_progressive_distillation(teacher):
    """The guided teacher first; from then on the student of the stage before, one evaluation each."""
    method = build(ProgressiveDistillation, teacher, DRAWN, first=4, serves=(1, 2, 4))
    state = method.draw_state(method.context.next_batch())
    guide = method.teacher.denoiser
    with torch.no_grad():
        middle = euler_step(guide, state.x, state.a, state.b, state.cond)
        end = euler_step(guide, middle, state.b, state.c, state.cond)
        one = euler_step(lambda *_: method.target(state), state.x, state.a, state.c)
    torch.testing.assert_close(one, end, rtol=1e-3, atol=1e-3)
    method.advance()
    meter = method.context.meter
    before = dict(meter.by_role("forwards"))
    method.target(method.draw_state(method.context.next_batch()))
    found = meter.by_role("forwards")
    assert found["teacher-of-stage"] == 2 * BATCH and found["teacher"] == before["teacher"]


def test_the_instant_variant_differentiates_the_guided_network(teacher):
    """Finite differences of the guided estimate in the weights."""
    method = build(MomentMatching, teacher, FIXED, variant="instant", real_batches=0, steps=2)
    assert method.phi.plain.evaluations == 2 and method.phi.plain.model is not teacher.net.model
    batch = method.context.next_batch()
    z, sigma = batch.x0 * 3, torch.full((BATCH,), 2.0)
    generator = torch_generator(0, "train-noise")
    direction = {
        name: torch.randn(p.shape, generator=generator) for name, p in method.phi.plain.named_parameters()
    }
    method.moments.phi.nu = direction
    found = method.moments.phi.difference(z, sigma, batch.cond)
    ends = []
    for side in (1e-4, -1e-4):
        with torch.no_grad():
            for name, p in method.phi.plain.named_parameters():
                p.add_(direction[name], alpha=side)
            ends.append(method.phi.plain(z, sigma, batch.cond).double())
            for name, p in method.phi.plain.named_parameters():
                p.add_(direction[name], alpha=-side)
    quotient = ((ends[0] - ends[1]) / 2e-4).float()
    assert (found - quotient).norm() < 0.02 * quotient.norm()


def test_one_step_generators_begin_with_unit_noise(teacher):
    """In z: N(0, I) at the last timestep, as the published pipelines do."""
    seen: list[Tensor] = []

    class Seen:
        def __call__(self, x: Tensor, sigma: float, cond: Cond) -> Tensor:
            seen.append(x / (1 + sigma**2) ** 0.5)
            return x

    noise = SampleNoise(0, range(2), teacher.space.shape)
    for cls, steps in (
        (DMD, 1),
        (DMD2, 1),
        (SiD, 1),
        (LCM, 1),
        (MomentMatching, 8),
        (ProgressiveDistillation, 8),
    ):
        cls.generator({steps: Seen()}, cls.Config(), teacher.space).sample(noise, Cond(), steps)
        torch.testing.assert_close(seen[0], noise.initial(), rtol=1e-6, atol=1e-6)
        seen.clear()


RESUMED = [
    (LCM, {}, DRAWN),
    (DMD, {"pairs": 2 * BATCH, "pair_steps": 2}, DRAWN),
    (DDIL.bind(LCM), {"reflect": "off", "capacity": 2, "serves": (1, 2)}, DRAWN),
]


@pytest.mark.slow
@pytest.mark.parametrize(("cls", "options", "strength"), RESUMED, ids=["lcm", "dmd", "ddil"])
def test_resume_is_exact(teacher, cls, options, strength):
    check_resume(partial(build, cls, teacher, strength, **options))


def test_a_box_of_pixels_is_refused_among_latents(teacher):
    for options in ({}, {"reflect": "dynamic"}):
        with pytest.raises(ValueError, match=r"reflect: found '\w+' without a bound, among latents"):
            build(DDIL.bind(LCM), teacher, DRAWN, **options)
    assert build(DDIL.bind(LCM), teacher, DRAWN, bound=3.0).box.bound == 3.0
    assert build(DDIL.bind(LCM), teacher, DRAWN, reflect="off").bounded(teacher) is teacher
