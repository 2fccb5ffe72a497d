"""The reference network of a work unit: FLOPs, parameters and memory from its architecture, without weights.

It is built on torch's meta device and of its fake tensors, which have shapes and no values: a plan needs no
file and no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser
from baselines.distiller import Space
from baselines.teachers.registry import TeacherModel
from bench.meter import denoiser_flops
from bench.models import BODIES, teacher_model
from bench.suite import Suite

CPU = torch.device("cpu")
META = torch.device("meta")


@dataclass(frozen=True)
class Reference:
    """What one work unit is.

    Attributes:
        flops: of one forward on one sample (matrix products and convolutions).
        parameters: of the network, weight_bytes: as they are kept; frozen_bytes: of the weights beside which
            a low-rank change is trained.
        saved_bytes: kept of one sample from its forward for its backward.
        half: activations in fp16 or bf16, where the device is a GPU.
    """

    flops: int
    parameters: int
    weight_bytes: int
    frozen_bytes: int
    saved_bytes: int
    half: bool


def reference_of(suite: Suite) -> Reference:
    """The reference network of a suite; reads no weights and no data.

    Raises:
        UsageError: see ``bench.models.teacher_model``.
    """
    model = teacher_model(suite)
    body = BODIES[suite.model.precision] if suite.model else None
    with META:
        net = model.build().eval()
    net.body = body
    cond = blank_cond(model.space, 1, META)
    weights, changed = list(net.parameters()), suite.pipeline is not None and suite.pipeline.rank is not None
    return Reference(
        flops=denoiser_flops(net, model.space.shape, cond),
        parameters=sum(p.numel() for p in weights),
        weight_bytes=sum(p.numel() * p.element_size() for p in weights),
        frozen_bytes=sum(b.numel() * b.element_size() for b in net.buffers()) if changed else 0,
        saved_bytes=_kept_of_a_sample(model, body),
        half=body is not None,
    )


def blank_cond(space: Space, count: int, device: torch.device) -> Cond:
    """A condition of the right form for every sample."""
    return space.blank(count, device)


def _kept_of_a_sample(model: TeacherModel, body: torch.dtype | None) -> int:
    """Bytes that autograd keeps of one sample's forward.

    On torch's fake tensors, which take the kernels of a real device: on the meta device attention would keep
    the weights of all pairs, which fused kernels do not (ImageNet-64's network would need 1.8 times as much).
    """
    with FakeTensorMode(allow_non_fake_inputs=True), CPU:
        net = model.build().eval()
        net.body = body
        return _saved(net, model.space, 2) - _saved(net, model.space, 1)


def _saved(net: Denoiser, space: Space, count: int) -> int:
    """Bytes that autograd keeps of one forward on ``count`` samples, each storage once."""
    kept: dict[int, tuple[int, Tensor]] = {}  # the tensors stay alive, so that no address comes twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage.nbytes(), tensor
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        net(torch.zeros(count, *space.shape, device=CPU), 1.0, blank_cond(space, count, CPU))
    return sum(size for size, _ in kept.values())
