"""What one training iteration of SiD must do: order, labels, noise, gradients, cost."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from oracles import FixedLaw, Gaussian, Push, Rig, Spy, hermite_pair, rig
from sid_properties import close
from torch import Tensor

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.networks.mlp import ResidualMLP
from baselines.networks.song_unet import SongUNet
from baselines.streams import torch_generator


def tiny_unet(labels: int, dropout: float = 0.5) -> Denoiser:
    """A U-Net whose every weight matters, with dropout that must stay off."""
    net = SongUNet(
        4,
        1,
        labels,
        model_channels=8,
        channel_mult=(1, 1),
        num_blocks=1,
        attn_resolutions=(2,),
        dropout=dropout,
    )
    generator = torch.Generator().manual_seed(1)
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.2
    return Denoiser(net, EDMScaling(0.5))


def tiny_mlp() -> Denoiser:
    return Denoiser(ResidualMLP(2, 16, 1).initialise(torch_generator(0, "init")), EDMScaling(0.5))


def tiny_sid(sid: ModuleType, net: Denoiser | None = None, **config: Any) -> tuple[Any, Rig]:
    """SiD on a small network (two coordinates by default) with labels that name their batch."""
    shape = (2,) if net is None else (1, 4, 4)

    def draw(number: int, size: int) -> tuple[Tensor, Cond]:
        return torch.zeros(size, *shape), Cond(label=torch.full((size,), number))

    made = rig(net or tiny_mlp(), shape=shape, draw=draw, n_classes=10, data_free=True)
    return sid.SiD(made.teacher, sid.SiDConfig(**config), made.context), made


def check_zero_at_start(sid: ModuleType) -> None:
    """A fresh fake score equals the teacher: loss and every gradient of the generator are exactly zero."""
    for alpha in (0.5, 1.2):
        method, _ = tiny_sid(sid, tiny_unet(10), alpha=alpha)
        cond = method.context.next_batch().cond
        loss = method.generator_loss(method.generate(cond, 4), cond)
        loss.backward()
        grads = [p.grad for p in method.student.plain.parameters() if p.grad is not None]
        assert loss.item() == 0 and grads and all(not g.any() for g in grads)


def check_cost(sid: ModuleType) -> None:
    """Eleven units a sample: G, psi, psi's backward 2; G, phi, psi, backwards 2 + 1 + 1."""
    method, made = tiny_sid(sid)
    method.step(made.context.next_batch())
    assert made.meter.by_role("forwards") == {"fake": 8, "student": 8, "teacher": 4}
    assert made.meter.by_role("backwards") == {"fake": 8, "student": 4, "teacher": 4}
    assert made.meter.by_role() == {"fake": 4 * 5, "student": 4 * 4, "teacher": 4 * 2}
    assert made.meter.work() == 11 * 4


def spied_step(sid: ModuleType) -> tuple[Any, dict[str, Spy]]:
    """One step with a spy in every network."""
    method, made = tiny_sid(sid)
    shells = {"student": method.student, "fake": method.fake.network, "teacher": method.teacher.net}
    spies = {role: Spy(shell.plain).eval() for role, shell in shells.items()}
    for role, shell in shells.items():
        shell.plain = spies[role]
    method.step(made.context.next_batch())
    return method, spies


def check_labels_are_fresh(sid: ModuleType) -> None:
    """psi's update uses one batch of labels, theta's another, the same for all three networks."""
    _, spies = spied_step(sid)
    seen = {role: [int(c.label.unique()) for c in spy.conds] for role, spy in spies.items()}
    assert seen == {"student": [0, 1], "fake": [0, 1], "teacher": [1]}


def check_noise_is_shared_and_latents_are_fresh(sid: ModuleType) -> None:
    _, spies = spied_step(sid)
    assert torch.equal(spies["teacher"].xs[0], spies["fake"].xs[1])
    assert torch.equal(spies["teacher"].sigmas[0], spies["fake"].sigmas[1])
    latents = spies["student"].xs
    assert not torch.isclose(latents[0], latents[1]).any()
    assert not torch.isclose(spies["fake"].sigmas[0], spies["fake"].sigmas[1]).any()
    assert len(spies["teacher"].sigmas[0].unique()) == 4  # one level per sample


def check_updates(sid: ModuleType) -> None:
    """psi is updated first, by its own loss only; then theta; the teacher never; weights stay trainable."""
    method, made = tiny_sid(sid, lr=1e-3, lr_fake=1e-3)
    fake, student = method.fake.network.plain, method.student.plain
    before = {k: v.clone() for k, v in method.teacher.net.plain.state_dict().items()}
    order: list[str] = []
    taken: list[Tensor] = []

    def watched(name: str, optimizer: Any) -> None:
        step = optimizer.step

        def run() -> Any:
            order.append(name)
            if name == "fake":
                taken.extend(p.grad.clone() for p in fake.parameters() if p.grad is not None)
            return step()

        optimizer.step = run

    watched("fake", method.fake_optimizer)
    watched("student", method.optimizer)
    for _ in range(2):
        taken.clear()
        method.step(made.context.next_batch())
        made.context.advance()
        now = [p.grad for p in fake.parameters() if p.grad is not None]
        assert all(torch.equal(a, b) for a, b in zip(taken, now, strict=True)), "theta's loss reached psi"
    assert order == ["fake", "student"] * 2
    for network in (fake, student):
        assert all(p.requires_grad for p in network.parameters())
        assert any(not torch.equal(v, before[k]) for k, v in network.state_dict().items())
    teacher = method.teacher.net.plain
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def check_first_generator_step_changes_it_only_through_psi(sid: ModuleType) -> None:
    """Without an update of psi there is no signal: with lr_fake -> 0 the first gradient is zero."""
    grads = []
    for rate in (1e-30, 1e-2):
        method, made = tiny_sid(sid, lr_fake=rate)
        method.step(made.context.next_batch())
        grads.append(sum(float(p.grad.abs().sum()) for p in method.student.plain.parameters()))
    assert grads[0] == 0 < grads[1]


def check_loss_scale(sid: ModuleType) -> None:
    """``loss_scale`` multiplies the generator's gradient and not the logged loss."""
    results = []
    for scale in (1.0, 100.0):
        method, made = tiny_sid(sid, lr_fake=1e-2, loss_scale=scale)
        logs = method.step(made.context.next_batch())
        norm = torch.stack([p.grad.norm() for p in method.student.plain.parameters()])
        results.append((float(logs["loss"]), norm.norm().item()))
    assert results[0][0] == results[1][0]
    close(results[1][1] / results[0][1], 100.0, 1e-2)


def check_logged_fake_loss_is_a_pixel_sum(sid: ModuleType) -> None:
    """With tau = sigma_data = 0.5 the weighted optimum is 1 per pixel: 2 for two pixels."""
    made = rig(Gaussian(0.3, 0.5), shape=(2,), data_free=True, batch_size=36)
    method = sid.SiD(made.teacher, sid.SiDConfig(), made.context)
    method.student.plain, method.fake.network.plain = Push(-0.2, 0.5), Gaussian(-0.2, 0.5)
    method.law = FixedLaw([0.4])
    z, noise = (values.expand(36, 2) for values in hermite_pair())
    made.context.play(z, torch.full((36,), 0.3), noise, z, noise)
    logs = method.step(made.context.next_batch())
    close(logs["fake_loss"].detach(), 2.0, 1e-6)


def check_optimizers(sid: ModuleType) -> None:
    """Adam with betas (0, 0.999), eps 1e-8, no weight decay, separate rates."""
    method, _ = tiny_sid(sid, lr=3e-5, lr_fake=2e-5)
    for optimizer, rate in ((method.optimizer, 3e-5), (method.fake_optimizer, 2e-5)):
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["eps"]) == (rate, (0.0, 0.999), 1e-8)
        assert group["weight_decay"] == 0


def grads_at_step(optimizer: Any, network: Any) -> list[Tensor]:
    """Filled, at the optimiser's step, with the gradients that it is given."""
    taken: list[Tensor] = []
    step = optimizer.step

    def run() -> Any:
        taken.extend(p.grad.clone() for p in network.plain.parameters() if p.grad is not None)
        return step()

    optimizer.step = run
    return taken


def check_nan_of_the_fake_score_leaves_its_loss(sid: ModuleType) -> None:
    """A sample at which psi is nan counts as zero in psi's gradient; the divisor stays the batch."""
    method, made = tiny_sid(sid)
    batch, alive = made.context.next_batch(), torch.tensor([True, True, False, True])
    with torch.no_grad():
        x_g = method.generate(batch.cond, 4)
    errors = method.fake.loss(x_g, batch.cond, made.context.draws()).sum(1)
    (errors[alive].sum() / 4).backward()
    expected = [p.grad.clone() for p in method.fake.network.plain.parameters()]
    method.fake.network.plain.zero_grad()
    made.context._draws.clear()

    class Broken(Spy):
        def forward(self, x: Tensor, sigma: Any, cond: Cond | None = None) -> Tensor:
            out = super().forward(x, sigma, cond)
            return torch.where(alive[:, None], out, torch.nan)

    method.fake.network.plain = Broken(method.fake.network.plain).eval()
    found = grads_at_step(method.fake_optimizer, method.fake.network)
    logs = method.step(batch)
    assert len(found) == len(expected) and any(grad.any() for grad in found)
    for grad, other in zip(found, expected, strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-4, atol=1e-6)
    close(logs["fake_loss"] / errors[alive].mean(), 1.0, 1e-5)


def check_gradients_are_made_finite(sid: ModuleType) -> None:
    """At both optimisers nan is 0 and infinities are +-1e5 in gradients; what is finite stays."""
    method, made = tiny_sid(sid, lr_fake=1e-2)
    values = torch.tensor([torch.nan, torch.inf, -torch.inf])
    networks = {"fake": method.fake.network, "student": method.student}
    optimizers = {"fake": method.fake_optimizer, "student": method.optimizer}
    found = {}
    for role, network in networks.items():
        weight = network.plain.model.out.weight
        weight.register_hook(lambda g: torch.cat([values, g.flatten()[3:]]).reshape(g.shape))
        found[role] = grads_at_step(optimizers[role], network)
    method.step(made.context.next_batch())
    for role, network in networks.items():
        names = [name for name, _ in network.plain.named_parameters()]
        grad = found[role][names.index("model.out.weight")].flatten()
        assert grad[:3].tolist() == [0.0, 1e5, -1e5], role
        rest = grad[3:]
        assert bool(rest.isfinite().all()) and rest.any() and float(rest.abs().max()) < 1e5, role
        assert all(bool(p.isfinite().all()) for p in network.plain.parameters())


def check_sampler(sid: ModuleType) -> None:
    """One evaluation of the student: ``D(2.5 z, 2.5, cond)``."""
    method, made = tiny_sid(sid)
    spy = Spy(method.student.plain)
    generator = sid.SiD.generator({1: spy}, method.config, made.teacher.space)

    class Noise:
        def initial(self) -> Tensor:
            return torch.ones(2, 2)

    cond = Cond(label=torch.tensor([3, 4]))
    x = generator.sample(Noise(), cond, 1)
    assert torch.equal(x, method.student.plain(torch.full((2, 2), 2.5), 2.5, cond))
    assert len(spy.xs) == 1


def check_data_free(sid: ModuleType) -> None:
    """SiD declares itself data-free and runs on batches without pixels."""
    method, made = tiny_sid(sid)
    assert not sid.SiD.needs.data
    batch = made.context.next_batch()
    assert batch.data is None
    method.step(batch)


PROPERTIES = [function for name, function in list(globals().items()) if name.startswith("check_")]
