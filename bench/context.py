"""What the runner hands to a method: metered networks, optimisers, draws and batches, all resumable."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from baselines.diffusion.cond import Cond
from baselines.distiller import Batch, Network, Space
from baselines.networks.layers import initialise
from baselines.streams import torch_generator
from bench.meter import ALONE, Meter, Metered, Sharing, forward_flops

Draw = Callable[[int, int], tuple[Tensor, Cond]]  # (batch number, size) -> clean data, condition


def lay_out_gradients(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Bring gradients into the memory order of their weights: fused kernels walk both as they lie in memory.

    Backward passes leave them so; a gradient that a method put there itself may lie otherwise.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and p.grad.stride() != p.stride():
                p.grad = torch.empty_like(p).copy_(p.grad)


class StreamDraws:
    """Draws of one named stream at one iteration, on the device of its generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator, device=self.generator.device)

    def uniform(self, count: int) -> Tensor:
        return torch.rand(count, generator=self.generator, device=self.generator.device)

    def integers(self, low: int, high: int, count: int) -> Tensor:
        return torch.randint(low, high, (count,), generator=self.generator, device=self.generator.device)


class RunContext:
    """The runner's side of the contract (``baselines.distiller.Context``).

    Args:
        space: of the teacher; draw: the data iterator.
        meter: where work is counted; budget: units to spend; reference_flops: FLOPs of one unit.
        seed: of the training streams; data_free: batches carry no images.
        share: how the networks' calls are shared out over processes.
    """

    def __init__(
        self,
        space: Space,
        draw: Draw,
        meter: Meter,
        *,
        budget: float,
        batch_size: int,
        seed: int,
        data_free: bool = False,
        reference_flops: float = 1.0,
        device: str | torch.device = "cpu",
        share: Sharing = ALONE,
    ) -> None:
        self.share = share
        self.space, self.meter, self.budget, self.batch_size, self.seed = (
            space,
            meter,
            budget,
            batch_size,
            seed,
        )
        self.draw, self.data_free, self.reference_flops = draw, data_free, reference_flops
        self.device = torch.device(device)
        self.iteration, self.batches = 0, 0
        self.networks: dict[str, Metered] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self._draws: dict[str, StreamDraws] = {}

    @property
    def work(self) -> float:
        """Training units spent so far."""
        return self.meter.work("train")

    @property
    def progress(self) -> float:
        """Share of the budget spent, in [0, 1]."""
        return min(1.0, self.work / self.budget)

    def network(self, role: str, init: Network, *, scaling: Any = None, trainable: bool = True) -> Network:
        """Copy ``init`` under a new role; raises ValueError if the role is taken."""
        if role in self.networks:
            raise ValueError(f"network role {role!r} is already taken")
        plain = deepcopy(init.plain)
        if scaling is not None:
            plain = plain.rescaled(scaling)
        self.share.keeps.keep(plain)  # unless it is a copy of one that is kept
        cost = getattr(init, "cost", 1.0)
        shell = Metered(
            plain.to(self.device).eval().requires_grad_(trainable), role, self.meter, cost, self.share
        )
        self.networks[role] = shell
        return shell

    def module(self, role: str, module: nn.Module, example: Tensor | None = None) -> Any:
        """Initialise and meter an extra module; ``example`` is one sample of its input, for its cost."""
        if role in self.networks:
            raise ValueError(f"network role {role!r} is already taken")
        initialise(module, torch_generator(self.seed, "init", len(self.networks)))
        cost = 0.0 if example is None else forward_flops(module, example.cpu()) / self.reference_flops
        module = module.to(self.device).train()
        self.share.keeps.keep(module)
        shell = Metered(module, role, self.meter, cost, self.share)
        self.networks[role] = shell
        return shell

    def optimizer(self, name: str, *owners: Any, lr: float, **adam: Any) -> torch.optim.Optimizer:
        """Adam (AdamW with weight_decay) over the owners' parameters."""
        if name in self.optimizers:
            raise ValueError(f"optimizer {name!r} is already taken")
        parameters = [p for owner in owners for p in getattr(owner, "plain", owner).parameters()]
        kind = torch.optim.AdamW if adam.get("weight_decay") else torch.optim.Adam
        optimizer = kind(parameters, lr=lr, fused=True, **adam)
        optimizer.register_step_pre_hook(lay_out_gradients)
        for owner in owners:
            project = getattr(getattr(owner, "plain", owner), "normalise_weights", None)
            if project is not None:  # EDM2 keeps its weights on the unit sphere
                optimizer.register_step_post_hook(lambda *_, project=project: project())
        self.optimizers[name] = optimizer
        return optimizer

    def draws(self, stream: str = "train-noise") -> StreamDraws:
        """This iteration's draws of a stream, continued by repeated calls."""
        if stream not in self._draws:
            generator = torch_generator(self.seed, stream, self.iteration, self.device)
            self._draws[stream] = StreamDraws(generator)
        return self._draws[stream]

    def next_batch(self) -> Batch:
        """The next batch of the data iterator."""
        x0, cond = self.draw(self.batches, self.batch_size)
        self.batches += 1
        data = None if self.data_free else x0.to(self.device)
        return Batch(cond.to(self.device), len(x0), data)

    def advance(self) -> None:
        """Go to the next iteration: fresh draws."""
        self.iteration += 1
        self._draws.clear()

    def state_dict(self) -> dict[str, Any]:
        """Counters, meter, weights and optimiser states."""
        return {
            "iteration": self.iteration,
            "batches": self.batches,
            "meter": self.meter.state_dict(),
            "networks": {role: shell.plain.state_dict() for role, shell in self.networks.items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state_dict``; the method must already have asked for the same networks."""
        self.iteration, self.batches = state["iteration"], state["batches"]
        self._draws.clear()
        self.meter.load_state_dict(state["meter"])
        keeps = self.share.keeps
        for role, weights in state["networks"].items():
            keeps.load(self.networks[role].plain, weights)
        for name, values in state["optimizers"].items():
            optimizer = self.optimizers[name]
            optimizer.load_state_dict(keeps.fitted(values, optimizer))
