"""The same updates with the modules that the authors published, on the same weights and batch.

They are found through the environment variable ``DISTILLBENCH_OFFICIAL``: a folder with clones of the two
repositories, ``SiD`` (github.com/mingyuanzhou/SiD) and ``DMD2`` (github.com/tianweiy/DMD2). Networks and
losses are theirs; the order of updates is that of their loops, without data loading, logging and DDP.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from stepping import SIZES, Case
from torch import nn

VARIABLE = "DISTILLBENCH_OFFICIAL"
DIGITS_OPTIONS: dict[str, Any] = {
    "model_type": "SongUNet", "model_channels": 16, "channel_mult": [2, 2], "num_blocks": 1,
    "attn_resolutions": [4], "dropout": 0.0,
}  # fmt: skip
OPTIONS = {
    "digits": DIGITS_OPTIONS,
    **{name: {"model_type": "DhariwalUNet", **size.options} for name, size in SIZES.items()},
}
SIGMA_INIT, LOSS_SCALE, HALF_LIFE = 2.5, 100.0, 500_000.0
GENERATOR_WEIGHT, CRITIC_WEIGHT, CLIP, RATIO = 3e-3, 1e-2, 10.0, 2


def folder() -> Path | None:
    """Where the repositories lie; None if nobody said."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def official(where: str, method: str, case: Case) -> Callable[[], None] | None:
    """A cycle of a published loop beside a case; None where its modules are not here, or do not fit."""
    place = folder()
    if place is None or where not in OPTIONS or (method, where) == ("dmd2", "digits"):
        return None  # DMD2's published features are those of ADM
    sys.path[:0] = [str(place / name) for name in ("DMD2", "SiD") if str(place / name) not in sys.path]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {"sid": sid, "dmd2": dmd2}[method](where, case)


def precond(networks: ModuleType, where: str, case: Case) -> nn.Module:
    """The published network with the weights of a case's teacher."""
    space, ours = case.method.space, case.method.teacher.net.plain
    half = ours.body is not None  # theirs is fp16 where ours is bf16
    net = networks.EDMPrecond(
        space.shape[-1], space.shape[0], space.n_classes, use_fp16=half, **OPTIONS[where]
    )
    net.load_state_dict(ours.state_dict())
    return net.to(case.context.device).eval().requires_grad_(False)


def one_hot(label: torch.Tensor, case: Case) -> torch.Tensor:
    return torch.eye(case.method.space.n_classes, device=label.device)[label]


def adam(like: torch.optim.Optimizer, net: nn.Module | list[Any]) -> torch.optim.Optimizer:
    """torch's default implementation with the options of ours."""
    parameters = net if isinstance(net, list) else net.parameters()
    names = ("lr", "betas", "eps", "weight_decay")
    return type(like)(parameters, **{name: like.param_groups[0][name] for name in names})


def sid(where: str, case: Case) -> Callable[[], None]:
    """SiD: fake score, then generator, then the average."""
    from training import networks, sid_loss  # type: ignore[import-not-found]

    teacher = precond(networks, where, case)
    fake, generator = copy.deepcopy(teacher), copy.deepcopy(teacher)
    average, loss_of = copy.deepcopy(generator), sid_loss.SID_EDMLoss()
    ours: Any = case.method
    fake_optimizer, optimizer = adam(ours.fake_optimizer, fake), adam(ours.optimizer, generator)
    images = 0

    def generate(batch: Any) -> torch.Tensor:
        z = SIGMA_INIT * torch.randn(batch.size, *ours.space.shape, device=case.context.device)
        sigma = torch.full((len(z), 1, 1, 1), SIGMA_INIT, device=z.device)
        made: torch.Tensor = generator(z, sigma, one_hot(batch.cond.label, case))
        return made

    def update(net: nn.Module, optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        loss.item()
        net.eval().requires_grad_(False)
        for p in net.parameters():
            if p.grad is not None:
                torch.nan_to_num(p.grad, nan=0, posinf=1e5, neginf=-1e5, out=p.grad)
        optimizer.step()

    def iteration() -> None:
        nonlocal images
        for net, own in ((fake, fake_optimizer), (generator, optimizer)):
            net.train().requires_grad_(True)
            own.zero_grad(set_to_none=True)
            batch = case.context.next_batch()
            x, labels = generate(batch), one_hot(batch.cond.label, case)
            if net is fake:
                update(net, own, loss_of(fake_score=fake, images=x, labels=labels).sum() / batch.size)
                continue
            losses = loss_of.generator_loss(teacher, fake, x, labels, alpha=ours.config.alpha)
            update(net, own, losses.sum() * (LOSS_SCALE / batch.size))
        beta = 0.5 ** (batch.size / max(min(HALF_LIFE, images * 0.05), 1e-8))
        for kept, live in zip(average.parameters(), generator.parameters(), strict=True):
            kept.copy_(live.detach().lerp(kept, beta))
        images += batch.size

    return iteration


def dmd2(where: str, case: Case) -> Callable[[], None]:
    """DMD2: the generator every other time, then fake score and classifier on the same images."""
    from main.edm import edm_guidance  # type: ignore[import-not-found]
    from third_party.edm.training import networks  # type: ignore[import-not-found]

    ours: Any = case.method
    model = edm_guidance.EDMGuidance.__new__(edm_guidance.EDMGuidance)  # its own would read a pickle
    nn.Module.__init__(model)
    model.real_unet = precond(networks, where, case)
    model.fake_unet = copy.deepcopy(model.real_unet).requires_grad_(True)
    (critic,) = ours.critics.each
    head: Any = critic.gan.head.plain
    model.cls_pred_branch = nn.Sequential(*copy.deepcopy(list(head.layers)))
    model.sigma_data, model.num_train_timesteps, model.min_step, model.max_step = 0.5, 1000, 20, 980
    model.gan_classifier, model.diffusion_gan, model.diffusion_gan_max_timestep = True, True, 1000
    device = case.context.device
    model.karras_sigmas = edm_guidance.get_sigmas_karras(1000, 0.002, 80.0).flip(0).to(device)
    generator = copy.deepcopy(model.fake_unet)
    optimizer = adam(ours.optimizer, generator)
    trained = [*model.fake_unet.parameters(), *model.cls_pred_branch.parameters()]
    guidance_optimizer = adam(ours.critic_optimizer, trained)

    def update(loss: torch.Tensor, net: nn.Module, own: torch.optim.Optimizer) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP)
        own.step()
        optimizer.zero_grad()
        guidance_optimizer.zero_grad()

    def iteration(turn: bool) -> None:
        batch = case.context.next_batch()
        labels, sigma = one_hot(batch.cond.label, case), torch.full((batch.size,), 80.0, device=device)
        z = torch.randn(batch.size, *ours.space.shape, device=device) * 80.0
        with torch.set_grad_enabled(turn):
            x = generator(z, sigma, labels)
        if turn:
            model.requires_grad_(False)
            losses, _ = model.generator_forward(x, labels)
            for p in trained:
                p.requires_grad_(True)
            update(losses["loss_dm"] + losses["gen_cls_loss"] * GENERATOR_WEIGHT, generator, optimizer)
        real = {"real_image": batch.x0, "real_label": labels}
        losses, _ = model.guidance_forward(x.detach(), labels, real)
        update(
            losses["loss_fake_mean"] + losses["guidance_cls_loss"] * CRITIC_WEIGHT, model, guidance_optimizer
        )

    def cycle() -> None:
        for number in range(RATIO):
            iteration(number % RATIO == 0)

    return cycle
