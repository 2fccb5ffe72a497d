"""DMD2 against closed forms: GAN of Gaussians, backward simulation with affine denoisers, update schedule."""

from __future__ import annotations

import contextlib
import math
from collections import Counter

import pytest
import torch
from gaussian_methods import (
    BINS,
    GRID,
    GaussianDenoiser,
    StratifiedDraws,
    build,
    check_resume,
    gauss_hermite,
    run_context,
    small_net,
    train,
)
from torch import Tensor, nn

import baselines.discriminator as discriminator
import baselines.dmd2 as dmd2_module
import baselines.losses as losses
from baselines.critics import Critic, Critics
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling, per_sample
from baselines.discriminator import GAN, ImageHead, NoGAN, VectorHead, head_for
from baselines.distiller import Batch, Space, frozen
from baselines.distribution_matching import DistributionMatching
from baselines.dmd2 import DMD2
from baselines.fake_score import FakeScore, KarrasIndexLaw
from baselines.generators import RenoisingSteps, dmd2_levels
from baselines.networks.song_unet import SongUNet
from baselines.streams import torch_generator
from bench.context import RunContext
from bench.meter import forward_flops

SMALL = {"warmup": 0, "lr": 1e-3}
LEVELS = [80.0, 17.498106, 2.5039744, 0.1680835]
IMAGES = Space(shape=(1, 8, 8), n_classes=3)


def image_batches(number: int, size: int) -> tuple[Tensor, Cond]:
    generator = torch_generator(0, "data", number)
    x0 = 0.5 * torch.randn(size, 1, 8, 8, generator=generator)
    return x0, Cond(label=torch.randint(0, 3, (size,), generator=generator))


def image_net() -> Denoiser:
    net = SongUNet(
        8, 1, label_dim=3, model_channels=16, channel_mult=(1, 2), num_blocks=1, attn_resolutions=()
    )
    net.initialise(torch_generator(0, "init"))
    with torch.no_grad():
        for layer in net.modules():
            if getattr(layer, "gain", 1.0) == 1e-5:
                layer.weight.mul_(1e4)
    return Denoiser(net, EDMScaling(0.5))


def image_method(**config: object) -> DMD2:
    context = run_context(IMAGES, image_batches, batch_size=4)
    return build(DMD2, {**SMALL, **config}, context, image_net())


class Impulses:
    """Noise whose row r + 1 is 1 at source r and 0 elsewhere; row 0 is all zero. Reveals affine samplers."""

    def __init__(self, sources: int, stop: int = 0) -> None:
        self.sources, self.stop, self.next = sources, stop, 0

    def at(self, step: int) -> Tensor:
        return torch.eye(self.sources + 1, dtype=torch.float64)[:, step + 1 : step + 2].clone()

    def initial(self) -> Tensor:
        return self.at(0)

    def normal(self, *shape: int) -> Tensor:
        self.next += 1
        return self.at(self.next - 1)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        return torch.full((count,), self.stop)


def digest(module: nn.Module) -> bytes:
    """The weights, as bytes."""
    return b"".join(p.detach().numpy().tobytes() for p in module.parameters())


def moments(rows: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of an affine function of normals, from its impulse responses."""
    return rows[0].item(), (rows[1:] - rows[0]).square().sum().sqrt().item()


class FlowMap:
    """PF-ODE student: maps N(m, s^2 + sigma^2) to N(m, s^2)."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        level = per_sample(sigma, x)
        return self.mean + self.std * (x - self.mean) / (self.std**2 + level**2).sqrt()


# properties: each raises AssertionError when the method is wrong


def check_logit_losses() -> None:
    zero = torch.zeros(4, dtype=torch.float64)
    assert losses.gan_generator_loss(zero).mean().item() == pytest.approx(0.693147, abs=1e-6)
    assert losses.gan_critic_loss(zero, zero).mean().item() == pytest.approx(1.386294, abs=1e-6)
    fake, real = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).unbind()
    fake.requires_grad_(), real.requires_grad_()
    (grad,) = torch.autograd.grad(losses.gan_generator_loss(fake).mean(), [fake])
    torch.testing.assert_close(grad, -torch.sigmoid(-fake) / 4, atol=1e-15, rtol=1e-12)
    grads = torch.autograd.grad(losses.gan_critic_loss(fake, real).mean(), [fake, real])
    torch.testing.assert_close(grads[0], torch.sigmoid(fake) / 4, atol=1e-15, rtol=1e-12)
    torch.testing.assert_close(grads[1], -torch.sigmoid(-real) / 4, atol=1e-15, rtol=1e-12)


def normal_log_density(x: Tensor, mean: float, std: float) -> Tensor:
    return -((x - mean) ** 2) / (2 * std**2) - math.log(std)


def generator_gradient(m: float, std_real: float, mu: float, std_fake: float) -> Tensor:
    """Gradient in (mu, std_fake) of the generator's loss against the frozen optimal critic, by quadrature."""
    node, weight = gauss_hermite(100)
    state = torch.tensor([mu, std_fake], dtype=torch.float64, requires_grad=True)
    x = state[0] + state[1] * node
    logits = normal_log_density(x, m, std_real) - normal_log_density(x, mu, std_fake)
    (gradient,) = torch.autograd.grad((weight * losses.gan_generator_loss(logits)).sum(), [state])
    return gradient


def check_optimal_critic() -> None:
    m, mu, real_std, fake_std = 0.3, -0.4, 0.6, 0.35
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)
    logits = (normal_log_density(x, m, real_std) - normal_log_density(x, mu, fake_std)).requires_grad_()
    p_real, p_fake = normal_log_density(x, m, real_std).exp(), normal_log_density(x, mu, fake_std).exp()
    # the two terms of the loss, each under its own law
    one = torch.zeros_like(x)
    under_fake = losses.gan_critic_loss(logits, one) - math.log(2)
    under_real = losses.gan_critic_loss(one, logits) - math.log(2)
    (slope,) = torch.autograd.grad((p_fake * under_fake + p_real * under_real).sum(), [logits])
    assert slope.abs().max() < 1e-14
    assert generator_gradient(0.2, 0.5, -0.1, 0.5)[0].item() == pytest.approx(-0.6497375, abs=1e-7)
    unequal = torch.tensor([-1.094526, -0.800111]).double()
    torch.testing.assert_close(generator_gradient(0.3, 0.6, -0.4, 0.35), unequal, atol=1e-6, rtol=0)
    assert generator_gradient(0.3, 0.5, 0.3, 0.5).abs().max() < 1e-15


def gradients(module: nn.Module, part: str) -> list[Tensor | None]:
    return [p.grad for name, p in module.named_parameters() if f".{part}" in f".{name}"]


def check_isolation() -> None:
    """Whom each loss trains, judged right after its backward."""
    method = image_method()
    batch = method.context.next_batch()
    (critic,) = method.critics.each
    fake, head, student = critic.fake.network.plain, critic.gan.head.plain, method.student.plain
    teacher_before = [p.clone() for p in method.teacher.net.plain.parameters()]

    with dmd2_module.frozen(*method.critics.networks):
        method.loss(method.draw_state(batch)).backward()
    assert all(p.grad is None for net in (fake, head) for p in net.parameters())
    assert all(p.requires_grad for net in (fake, head) for p in net.parameters())
    assert all(p.grad is not None for p in student.parameters())
    student.zero_grad()

    x_g = method.generate(method.draw_state(batch))
    critic.critic_loss(x_g, batch.cond, batch, method.context.draws()).backward()
    assert all(p.grad is None for p in student.parameters())
    assert all(g is not None and g.abs().max() > 0 for g in gradients(fake, "dec."))
    fake.zero_grad(), head.zero_grad()
    critic.gan.critic_loss(x_g, batch.cond, batch, method.context.draws()).backward()
    assert all(p.grad is None for p in student.parameters())
    assert all(g is None for g in gradients(fake, "dec."))
    assert all(g is not None for g in gradients(fake, "enc."))
    assert all(g is not None and g.abs().max() > 0 for g in gradients(fake, "map_"))
    assert all(p.grad is not None for p in head.parameters())

    x = x_g.detach().requires_grad_()
    (pull,) = torch.autograd.grad(critic.gan.generator_loss(x, batch.cond, method.context.draws()), [x])
    assert pull.abs().max() > 0
    train(method, 2)
    for before, after in zip(teacher_before, method.teacher.net.plain.parameters(), strict=True):
        assert torch.equal(before, after)


def check_schedule() -> None:
    """Ratio 5: the generator first, at 0, 5, 10; the critic always, on the same x and the batch's data."""
    context = run_context()
    method = build(DMD2, SMALL, context)
    events: list[str] = []
    inputs: dict[str, list[Tensor]] = {"generator": [], "fake": [], "gan": [], "real": []}
    for name, optimizer in context.optimizers.items():
        step = optimizer.step
        optimizer.step = lambda step=step, name=name: (events.append(name), step())  # type: ignore[method-assign]

    def spy(owner: object, attribute: str, key: str) -> None:
        original = getattr(owner, attribute)

        def call(x: Tensor, *rest: object) -> Tensor:
            inputs[key].append(x.detach().clone())
            if attribute == "critic_loss":
                inputs["real"].append(rest[1].x0)
            return original(x, *rest)

        object.__setattr__(owner, attribute, call)

    (critic,) = method.critics.each
    spy(critic.matching, "loss", "generator")
    spy(critic.fake, "loss", "fake")
    spy(critic.gan, "critic_loss", "gan")
    batches = []
    draw = context.next_batch
    context.next_batch = lambda: (batches.append(draw()), batches[-1])[1]  # type: ignore[method-assign]
    train(method, 15)
    assert events == (["student"] + ["critic"] * 5) * 3
    assert len(batches) == 15 and all(
        torch.equal(r, b.x0) for r, b in zip(inputs["real"], batches, strict=True)
    )
    assert len(inputs["fake"]) == 15 and len(inputs["generator"]) == 3
    assert all(torch.equal(a, b) for a, b in zip(inputs["fake"], inputs["gan"], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(inputs["generator"], inputs["fake"][::5], strict=True))


def check_critic_total() -> None:
    """The critic's loss is the mean fake loss plus 1e-2 times the GAN's, the generator's has 3e-3."""
    method = build(DMD2, SMALL)
    (critic,) = method.critics.each
    batch = method.context.next_batch()
    x, node = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(8, dtype=torch.long)
    total = method.critics.critic_loss(x, node, batch.cond, batch, method.context.draws())
    method.context._draws.clear()
    draws = method.context.draws()
    fake = critic.fake.loss(x, batch.cond, draws).sum() / 16
    both = critic.gan.logits(torch.cat([x, batch.x0]), Cond(), draws)
    gan = losses.gan_critic_loss(both[:8], both[8:]).mean()
    torch.testing.assert_close(total, fake + 1e-2 * gan, rtol=1e-6, atol=0)

    method.context._draws.clear()
    loss = method.critics.generator_loss(x, node, batch.cond, method.context.draws())
    method.context._draws.clear()
    draws = method.context.draws()
    matching = critic.matching.loss(x, batch.cond, draws)
    gan = losses.gan_generator_loss(critic.gan.logits(x, batch.cond, draws)).mean()
    torch.testing.assert_close(loss, matching + 3e-3 * gan, rtol=1e-6, atol=0)


def check_gan_noise() -> None:
    """Every sample is noised by its own level from the whole grid before the encoder sees it."""
    seen: list[tuple[Tensor, Tensor]] = []

    class Encoder:
        plain = nn.Module()

        def features(self, x: Tensor, sigma: Tensor, cond: Cond) -> Tensor:
            seen.append((x, sigma))
            return x

    gan = GAN(Encoder(), lambda f: f.sum(1), KarrasIndexLaw(GRID), 3e-3, 1e-2)  # type: ignore[arg-type]
    x0 = torch.full((500, 4), 0.3)
    gan.critic_loss(x0, Cond(), Batch(Cond(), 500, x0), StratifiedDraws())
    ((x, sigma),) = seen
    assert len(x) == 1000
    torch.testing.assert_close(sigma.double(), BINS, rtol=1e-5, atol=0)
    noise = (x - 0.3) / sigma[:, None]
    assert noise.std().item() == pytest.approx(1, abs=0.03)
    assert (noise[:500] - noise[500:]).abs().mean() > 0.5  # real and generated have noise of their own


def check_levels() -> None:
    for steps, index in ((1, [999]), (2, [999, 499]), (4, [999, 749, 499, 249])):
        expected = BINS[index].tolist()
        assert dmd2_module.dmd2_levels(GRID, steps) == pytest.approx(expected, rel=1e-12)
    assert dmd2_module.dmd2_levels(GRID, 3) == pytest.approx(BINS[[999, 666, 333]].tolist(), rel=1e-12)
    assert dmd2_module.dmd2_levels(GRID, 8) == pytest.approx(BINS[[999 - 125 * k for k in range(8)]].tolist())
    assert [len(dmd2_module.dmd2_levels(GRID, n)) for n in (6, 7, 8)] == [6, 7, 8]
    assert dmd2_module.dmd2_levels(GRID, 4) == pytest.approx(LEVELS, rel=1e-7)


def check_untrained_steps() -> None:
    """Teacher as generator: the stds after each step are .003125, .014276, .096015, .173920 (s = .5)."""
    students = {4: GaussianDenoiser(0.0, 0.5)}
    expected = [0.003125, 0.014276, 0.096015, 0.173920]
    for steps in (1, 2, 3, 4):
        sampler = RenoisingSteps(students, lambda nfe, steps=steps: dmd2_levels(GRID, nfe)[:steps])
        with torch.no_grad():
            _, std = moments(sampler.sample(Impulses(steps), Cond(), 4))  # type: ignore[arg-type]
        assert std == pytest.approx(expected[steps - 1], abs=6e-7)


def check_backward_simulation() -> None:
    """The simulated input of step k has the law the sampler will give it."""
    method = build(DMD2, {**SMALL, "steps": 4, "gan": "off"}, net=GaussianDenoiser(0.3, 0.5))
    expected = [0.003125, 0.014276, 0.096015]
    for stop in range(4):
        draws = Impulses(4, stop)
        method.context.draws = lambda stream="train-noise", draws=draws: draws  # type: ignore[method-assign]
        calls = Counter(method.context.meter.forwards)
        state = method.draw_state(Batch(Cond(), 5, None))
        calls = Counter(method.context.meter.forwards) - calls
        assert calls[("train", "student")] == 5 * stop and not state.x.requires_grad
        level = LEVELS[stop]
        assert state.sigma.shape == (5,) and state.sigma[0].item() == pytest.approx(level, rel=1e-6)
        variance = level**2 + (expected[stop - 1] ** 2 if stop else 0)
        assert moments(state.x[:, :1])[1] == pytest.approx(math.sqrt(variance), rel=5e-6)
        assert state.x[0, 0].item() == pytest.approx(0.3 if stop else 0.0, abs=1e-3)


def check_stop_is_uniform_and_shared() -> None:
    method = build(DMD2, {**SMALL, "steps": 4})
    levels = []
    for _ in range(400):
        state = method.draw_state(method.context.next_batch())
        assert (state.sigma == state.sigma[0]).all()
        levels.append(round(state.sigma[0].item(), 3))
        method.context.advance()
    counts = Counter(levels)
    assert set(counts) == {80.0, 17.498, 2.504, 0.168}
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 16.3  # chi^2, 3 degrees, p = 0.001


class TwoGaussians:
    """``E[x0 | x]`` for x0 half N(-1, s^2), half N(1, s^2) in one pixel."""

    def __init__(self, std: float) -> None:
        self.std = std

    def __call__(self, x: Tensor, sigma: Tensor | float, cond: Cond | None = None) -> Tensor:
        variance = self.std**2 + per_sample(sigma, x) ** 2
        high = torch.sigmoid(2 * x / variance)
        gain = self.std**2 / variance
        return high * (1 + gain * (x - 1)) + (1 - high) * (-1 + gain * (x + 1))


def pull_on_two_steps(fakes: list[object]) -> Tensor:
    """Mean pull on two steps whose outputs are one half of the data each, -1 and 1, by exact fake scores."""
    law = KarrasIndexLaw(GRID, 600, 700)  # noise of 5 to 12, under which the halves overlap
    each = [
        Critic(FakeScore(fake, law), DistributionMatching(TwoGaussians(0.2), fake, law), NoGAN())  # type: ignore[arg-type]
        for fake in fakes
    ]
    draws, node = StratifiedDraws(), torch.arange(4000) % 2
    x_g = (2.0 * node - 1)[:, None] + 0.2 * draws.normal(4000, 1)
    x_g.requires_grad_()
    loss = Critics(each).generator_loss(x_g, node, Cond(), draws)
    (gradient,) = torch.autograd.grad(loss, [x_g])
    return torch.stack([gradient[node == k].sum() for k in (0, 1)])


def check_own_critics() -> None:
    """A shared critic is at rest where the mixture of the steps is the data; own ones pull each step."""
    assert pull_on_two_steps([TwoGaussians(0.2)]).abs().max() < 1e-12
    low, high = pull_on_two_steps([GaussianDenoiser(-1.0, 0.2), GaussianDenoiser(1.0, 0.2)]).tolist()
    assert low < -0.1 and high > 0.1  # descent moves the step at -1 up, the one at 1 down

    method = build(DMD2, {**SMALL, "steps": 2, "critics": "own"})
    context: RunContext = method.context
    roles = {n: [f"fake{n}", f"head{n}"] for n in ("", "1")}
    assert set(context.networks) == {"student", *roles[""], *roles["1"]}
    for _ in range(6):
        node = int(method.draw_state(method.context.next_batch()).node[0])
        context._draws.clear()
        before = {role: digest(shell.plain) for role, shell in context.networks.items()}
        train(method, 1)
        moved = {role for role, shell in context.networks.items() if digest(shell.plain) != before[role]}
        assert moved - {"student"} == set(roles[str(node or "")])


CHECKS = [
    check_logit_losses,
    check_optimal_critic,
    check_isolation,
    check_schedule,
    check_critic_total,
    check_gan_noise,
    check_levels,
    check_untrained_steps,
    check_backward_simulation,
    check_stop_is_uniform_and_shared,
    check_own_critics,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_property(check):
    check()


def test_flow_map_student_keeps_the_data_law():
    m, s = 0.3, 0.5
    means = [0.99375, 0.99982, 0.99997, 0.99997]
    for steps in (1, 2, 3, 4):
        levels = LEVELS[:steps]
        sampler = RenoisingSteps({4: FlowMap(m, s)}, lambda nfe, levels=levels: levels)
        mean, std = moments(sampler.sample(Impulses(steps), Cond(), 4))
        # the first output; later steps only come closer
        assert mean == pytest.approx(means[steps - 1] * m, abs=2e-5 * m)
        assert std**2 == pytest.approx(s**2, rel=5e-5)

    class TrueStart(Impulses):
        def initial(self) -> Tensor:
            return (m + math.sqrt(s**2 + 80**2) * self.at(0)) / 80

    sampler = RenoisingSteps({4: FlowMap(m, s)}, lambda nfe: LEVELS)
    mean, std = moments(sampler.sample(TrueStart(4), Cond(), 4))
    assert (mean, std) == (pytest.approx(m, rel=1e-12), pytest.approx(s, rel=1e-12))


def test_step_0_moves_the_generator_by_the_gan_only():
    weights = {"weight_decay": 0.0}
    for config, moves in (
        ({"gan": "off"}, False),
        ({"gan": "on"}, True),
        ({"gan": "on", "gan_weight": 0.0}, False),
    ):
        method = build(DMD2, {**SMALL, **weights, **config})
        before = [p.clone() for p in method.student.plain.parameters()]
        train(method, 1)
        pairs = zip(before, method.student.plain.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) == moves


def test_losses_of_own_critics_are_means_over_the_batch():
    """Rows of several steps (DDIL): each critic has those of its step, with the data of the same rows."""
    method = build(DMD2, {**SMALL, "steps": 4, "critics": "own"})
    train(method, 12)
    batch, draws = method.context.next_batch(), StratifiedDraws(torch.float32)
    node = torch.tensor([3, 0, 3, 1, 3, 0, 1, 3])
    x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    found = method.critics.critic_loss(x, node, batch.cond, batch, draws)
    draws, expected = StratifiedDraws(torch.float32), 0.0
    for k, rows in ((0, [1, 5]), (1, [3, 6]), (3, [0, 2, 4, 7])):
        real = Batch(Cond(), len(rows), batch.x0[rows])
        expected += len(rows) / 8 * method.critics.each[k].critic_loss(x[rows], Cond(), real, draws).item()
    assert found.item() == pytest.approx(expected, rel=1e-6)


def test_one_step_has_one_critic():
    found = []
    for critics in ("shared", "own"):
        method = build(DMD2, {**SMALL, "critics": critics})
        train(method, 7)
        found.append({role: digest(shell.plain) for role, shell in method.context.networks.items()})
    assert found[0] == found[1]


def test_warm_up_makes_the_first_generator_update_void():
    method = build(DMD2, {**SMALL, "warmup": 10})
    before = [p.clone() for p in method.student.plain.parameters()]
    train(method, 5)
    assert all(torch.equal(a, b) for a, b in zip(before, method.student.plain.parameters(), strict=True))
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(4e-4)
    train(method, 1)
    assert any(not torch.equal(a, b) for a, b in zip(before, method.student.plain.parameters(), strict=True))


def test_without_gan_no_data_and_no_head():
    context = run_context(data_free=True)
    method = build(DMD2, {**SMALL, "gan": "off"}, context)
    assert isinstance(method.critics.each[0].gan, NoGAN) and set(context.networks) == {"student", "fake"}
    train(method, 6)
    assert context.meter.by_role() == {"teacher": 8 * 2, "student": 8 * (6 + 4), "fake": 8 * (18 + 2)}


def test_real_images_keep_their_own_labels():
    method = image_method()
    batch = method.context.next_batch()
    seen = []
    fake, gan = method.critics.each[0].fake.network, method.critics.each[0].gan
    features = fake.plain.features
    fake.plain.features = lambda x, sigma, cond: (
        seen.append(cond.label),
        features(x, sigma, cond),
    )[1]
    other = Cond(label=2 - batch.cond.label)
    gan.critic_loss(torch.zeros(4, 1, 8, 8), other, batch, method.context.draws())
    assert torch.equal(seen[-1], torch.cat([2 - batch.cond.label, batch.cond.label]))


def test_matching_loss_is_a_mean():
    class Twice(StratifiedDraws):
        def normal(self, *shape: int) -> Tensor:
            return super().normal(shape[0] // 2, *shape[1:]).repeat(2, *[1] * (len(shape) - 1))

        def integers(self, low: int, high: int, count: int) -> Tensor:
            return super().integers(low, high, count // 2).repeat(2)

    matching = DistributionMatching(
        GaussianDenoiser(0.2, 0.5), GaussianDenoiser(-0.1, 0.3), KarrasIndexLaw(GRID, 20, 980)
    )
    x = StratifiedDraws().normal(6, 5)
    once = matching.loss(x, Cond(), StratifiedDraws())
    twice = matching.loss(torch.cat([x, x]), Cond(), Twice())
    assert twice.item() == pytest.approx(once.item(), rel=1e-13)


@pytest.mark.parametrize(
    ("channels", "side", "convolutions"), [(768, 8, 3), (32, 32, 5), (32, 4, 2), (16, 2, 2)]
)
def test_head_halves_to_one_pixel(channels, side, convolutions):
    with torch.device("meta") if channels > 100 else contextlib.nullcontext():
        features = torch.zeros(2, channels, side, side)
        head = head_for(features)
    assert isinstance(head, ImageHead)
    assert sum(isinstance(layer, discriminator.Conv2d) for layer in head.layers) == convolutions
    assert head(features).shape == (2,)
    if channels == 768:  # the published ImageNet-64 head
        count = sum(p.numel() for p in head.parameters())
        assert count == 2 * (768 * 768 * 16 + 768) + 2 * 2 * 768 + 769
        assert head.layers[1].num_groups == 32


def test_heads_see_their_input():
    for features in (
        torch.randn(5, 32, 4, 4, generator=torch.Generator().manual_seed(0)),
        torch.randn(5, 16, generator=torch.Generator().manual_seed(0)),
    ):
        head = run_context().module("head", head_for(features[:1])).plain
        assert head(features).std() > 0.05  # narrow networks must not normalise single values away
    assert isinstance(head, VectorHead)
    with pytest.raises(ValueError, match=r"no GAN head for encoder features of shape \(1, 4, 2, 3\)"):
        head_for(torch.zeros(1, 4, 2, 3))


@pytest.mark.parametrize("config", [{}, {"steps": 4, "ratio": 2, "critics": "own"}, {"gan": "off"}])
def test_resume_is_exact(config):
    check_resume(lambda: build(DMD2, {**SMALL, **config}))


def test_resume_is_exact_on_images_with_labels():
    check_resume(lambda: image_method(steps=2, ratio=2))


def test_units_per_iteration():
    reference = forward_flops(small_net(), torch.zeros(1, 2), 1.0)
    context = run_context(reference_flops=reference)
    method = build(DMD2, SMALL, context)
    encoder = forward_flops(small_net().features, torch.zeros(1, 2), 1.0) / reference
    head = forward_flops(method.critics.each[0].gan.head.plain, torch.zeros(1, 16)) / reference
    assert 0.5 < encoder < 1 and 0.2 < head < 1
    critic, turn = 1 + 3 + 6 * (encoder + head), 4 + 2 * (encoder + head)
    train(method, 1)
    assert context.meter.work() == pytest.approx(8 * (critic + turn))
    train(method, 4)
    assert context.meter.work() == pytest.approx(8 * (5 * critic + turn))
    assert context.meter.by_role() == pytest.approx(
        {
            "teacher": 8,
            "student": 8 * (5 + 2),
            "fake": 8 * (1 + 5 * (3 + 6 * encoder) + 2 * encoder),
            "head": 8 * (5 * 6 + 2) * head,
        }
    )


def test_sampler_and_settings():
    method = build(DMD2, {**SMALL, "steps": 4})
    assert DMD2.served_nfe(method.config) == (4,) and list(method.students()) == [4]
    generator = DMD2.generator(method.students(), method.config, method.space)
    assert generator.levels(4) == method.levels and generator.floor == 0
    with pytest.raises(ValueError, match="no student serves 2 steps"):
        generator.sample(Impulses(4), Cond(), 2)
    with pytest.raises(ValueError, match="gan"):
        DMD2.Config(gan="maybe")


# mutants: plausible mistakes, each of which some property must notice


def saturating(logits):
    return -nn.functional.softplus(logits)


def swapped_critic(fake, real):
    return ORIGINAL["critic"](real, fake)


def without_noise(self, x, cond, draws):
    return self.head(self.fake.features(x, self.law.sample(draws, len(x)), cond))


def on_detached_features(self, x, cond, draws):
    sigma = self.law.sample(draws, len(x))
    noisy = x + per_sample(sigma, x) * draws.normal(*x.shape)
    return self.head(self.fake.features(noisy, sigma, cond).detach())


def attached_critic(self, x_g, cond, real, draws):
    fake, true = self.logits(torch.cat([x_g, real.x0]), Cond.join([cond, real.cond]), draws).chunk(2)
    return self.critic_weight * losses.gan_critic_loss(fake, true).mean()


def unweighted_critic(self, x_g, cond, real, draws):
    return self.fake.loss(x_g, cond, draws).mean() + 100 * self.gan.critic_loss(x_g, cond, real, draws)


def summed_fake_loss(self, x_g, cond, real, draws):
    return self.fake.loss(x_g, cond, draws).sum() + self.gan.critic_loss(x_g, cond, real, draws)


def floor_division_levels(grid, steps):
    index = torch.arange(999, 0, -1000 // steps, dtype=torch.float64)[:steps]
    return grid(1 - index / 999).tolist()


def equal_karras_levels(grid, steps):
    return grid(torch.arange(steps) / max(steps - 1, 1)).tolist()


@torch.no_grad()
def real_data_inputs(self, batch):
    draws = self.context.draws()
    stop = int(draws.integers(0, self.config.steps, 1))
    noise = draws.normal(batch.size, *self.space.shape)
    x0 = torch.zeros_like(noise) if batch.data is None else batch.x0
    return self.state_at(x0 + self.levels[stop] * noise, torch.full((batch.size,), stop), batch.cond)


@torch.no_grad()
def old_level_inputs(self, batch):
    draws, shape = self.context.draws(), (batch.size, *self.space.shape)
    stop = int(draws.integers(0, self.config.steps, 1))
    x = draws.normal(*shape) * self.levels[0]
    for k in range(stop):
        x = self.student(x, self.levels[k], batch.cond) + self.levels[k] * draws.normal(*shape)
    return self.state_at(x, torch.full((batch.size,), stop), batch.cond)


@torch.no_grad()
def last_step_only(self, batch):
    return ORIGINAL["state"](self, batch) if self.config.steps == 1 else always_last(self, batch)


def always_last(self, batch):
    shape, draws = (batch.size, *self.space.shape), self.context.draws()
    draws.integers(0, 2, 1)
    return self.state_at(draws.normal(*shape), torch.full((batch.size,), self.config.steps - 1), batch.cond)


def step_with(critic_first=False, every=False, fresh=False):
    def step(self, batch):
        state = self.draw_state(batch)
        x_g = self.generate(state)

        def critic():
            x = self.generate(self.draw_state(batch)) if fresh else x_g
            loss = self.critics.critic_loss(x.detach(), state.node, state.cond, batch, self.context.draws())
            dmd2_module.descend(loss, self.critic_optimizer)

        def generator():
            with frozen(*self.critics.networks):
                loss = self.critics.generator_loss(x_g, state.node, state.cond, self.context.draws())
                dmd2_module.descend(loss, self.optimizer)

        turn = every or self.context.iteration % self.config.ratio == 0
        order = [critic, generator] if critic_first else [generator, critic]
        for update in order:
            if turn or update is critic:
                update()
        return {}

    return step


ORIGINAL = {"critic": losses.gan_critic_loss, "state": DMD2.draw_state, "parts": Critics.parts}
MUTANTS = {
    "saturating generator loss": (losses, "gan_generator_loss", saturating),
    "critic with swapped labels": (losses, "gan_critic_loss", swapped_critic),
    "GAN on clean samples": (GAN, "logits", without_noise),
    "encoder not trained by the GAN": (GAN, "logits", on_detached_features),
    "critic trains the generator": (GAN, "critic_loss", attached_critic),
    "critic GAN weight missing": (Critic, "critic_loss", unweighted_critic),
    "fake loss summed": (Critic, "critic_loss", summed_fake_loss),
    "generator trains the critic": (dmd2_module, "frozen", lambda *networks: contextlib.nullcontext()),
    "-T // N without parentheses": (dmd2_module, "dmd2_levels", floor_division_levels),
    "plain Karras levels": (dmd2_module, "dmd2_levels", equal_karras_levels),
    "noised real data as input": (DMD2, "draw_state", real_data_inputs),
    "renoised at the old level": (DMD2, "draw_state", old_level_inputs),
    "only the last step is trained": (DMD2, "draw_state", last_step_only),
    "critic first": (DMD2, "step", step_with(critic_first=True)),
    "1:1 updates": (DMD2, "step", step_with(every=True)),
    "own critics are one": (Critics, "parts", lambda self, node: [(self.each[0], slice(None), 1.0)]),
    "critic of another step": (Critics, "parts", lambda self, node: ORIGINAL["parts"](self, 1 - node)),
    "critic on fresh samples": (DMD2, "step", step_with(fresh=True)),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_noticed(monkeypatch, mutant):
    owner, name, replacement = MUTANTS[mutant]
    monkeypatch.setattr(owner, name, replacement)
    if owner is losses:
        monkeypatch.setattr(discriminator, name, replacement)
    for check in CHECKS:
        try:
            check()
        except AssertionError:
            return
    pytest.fail(f"no property notices: {mutant}")
