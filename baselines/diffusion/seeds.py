"""Noise of published sample sets: one torch generator for each sample, seeded as EDM's are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class SeededNoise:
    """Gaussian noise of a batch with a seed for each sample; the same whatever the batch.

    A generator is read in order: the latent, then one label (class-conditional sets), then the noise of
    steps 1, 2, ...
    Other protocols use ``SampleNoise``, which needs no order.

    Args:
        seeds: one for each sample; taken modulo 2^32.
        shape: of one sample, without the batch axis.
        device: of the generators; values differ between device classes.
        classes: of the labels drawn after the latents; 0 for unconditional sets, which draw none.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        shape: tuple[int, ...],
        device: str | torch.device = "cpu",
        classes: int = 0,
    ) -> None:
        self.seeds, self.shape, self.device = tuple(seeds), shape, torch.device(device)
        self.classes, self.next_step = classes, 0
        self.generators: list[torch.Generator] = []

    def _normal(self, dtype: torch.dtype) -> Tensor:
        draws = [
            torch.randn(self.shape, generator=g, device=self.device, dtype=dtype) for g in self.generators
        ]
        return torch.stack(draws)

    def initial(self) -> Tensor:
        """The latent ``[B, *shape]`` in fp32; generators start anew, and labels are drawn after it."""
        self.generators = [torch.Generator(self.device).manual_seed(seed % 2**32) for seed in self.seeds]
        self.next_step = 1
        latent = self._normal(torch.float32)
        if self.classes:
            draws = [
                torch.randint(self.classes, (), generator=g, device=self.device) for g in self.generators
            ]
            self._labels = torch.stack(draws)
        return latent

    @property
    def labels(self) -> Tensor:
        """A uniform class for each sample ``[B]``.

        Raises:
            ValueError: the set is unconditional.
        """
        if not self.classes:
            raise ValueError("seeded noise of an unconditional set draws no labels")
        if self.next_step == 0:
            self.initial()
        return self._labels

    def at(self, step: int) -> Tensor:
        """Noise ``[B, *shape]`` of a step in fp64; step 0 is the latent.

        Raises:
            ValueError: steps are not asked for in order.
        """
        if step == 0:
            return self.initial()
        if step != self.next_step:
            expected = f"step {self.next_step}" if self.next_step else "the latent"
            raise ValueError(
                f"seeded noise is read in order: step {step} was asked for, {expected} is next; "
                "take SampleNoise for any order"
            )
        self.next_step += 1
        return self._normal(torch.float64)
