"""Trainings whose networks run through ``torch.compile``, inside of what is counted: counts stay the same.

On a GPU a compiled network is also captured as a CUDA graph, so that its kernels are launched in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.errors import UsageError
from bench.keeping import WHOLE, Keeping
from bench.lab import Lab
from bench.meter import ALONE, Sharing

OWN_GRAPHS: dict[str, Any] = {  # of each method of each network: by batch size, with gradients or without
    "isolate_recompiles": True,
    "recompile_limit": 64,
}
SLACK = 15.0  # what a step that compiles may take longer than others


class Compiled:
    """Calls compiled methods, one for each method of each network (``bench.meter.Sharing``).

    Args:
        backend: of ``torch.compile``.
        graphs: replay CUDA graphs; outputs are copied out of their memory, which the next call reuses.
    """

    slack, processes = SLACK, 1
    keeps: Keeping = WHOLE

    def __init__(self, backend: str = "inductor", *, graphs: bool = False) -> None:
        self.backend, self.graphs = backend, graphs
        self.methods: dict[tuple[nn.Module, str], Callable[..., Tensor]] = {}

    def call(self, module: nn.Module, method: str, *args: Any, **kwargs: Any) -> Tensor:
        """``module.method(*args)``; the first one is a batch."""
        key = (module, method)
        if key not in self.methods:
            plain = module.forward if method == "__call__" else getattr(module, method)
            self.methods[key] = torch.compile(
                plain,
                backend=self.backend,
                mode="reduce-overhead" if self.graphs else None,
                dynamic=False,
                **OWN_GRAPHS,
            )
        x, *rest = args
        out = self.methods[key](x, *(_tensor(value, x) for value in rest), **kwargs)
        return out.clone() if self.graphs else out

    def agreed(self, value: bool) -> bool:
        return value


def _tensor(value: Any, x: Tensor) -> Any:
    """A noise level as a tensor: a number would become part of the graph, and each a graph of its own."""
    return torch.full((), value, dtype=x.dtype, device=x.device) if isinstance(value, float) else value


def calls_of(compiled: bool, device: torch.device) -> Sharing:
    """How the networks of a training are called."""
    return Compiled(graphs=device.type == "cuda") if compiled else ALONE


def check_compiler(lab: Lab) -> None:
    """Raise UsageError unless networks of a suite can be compiled here, to some use."""
    device = lab.device
    if device.type == "cpu" and lab.suite.model is None and lab.suite.pipeline is None:
        raise UsageError(
            f"--compile: suite {lab.suite.name} on a CPU takes longer to compile than it saves; leave it away"
        )
    try:
        Compiled().call(nn.SiLU(), "__call__", torch.zeros(8, device=device))
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise UsageError(
            f"--compile: torch.compile does not work here ({said}); it needs a C++ compiler for a CPU and "
            "Triton for a GPU; leave it away"
        ) from error
