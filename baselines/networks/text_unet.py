"""The U-Net of Stable Diffusion, SDXL and LCM (diffusers' UNet2DConditionModel), called as networks here."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

HALVES = (torch.float16, torch.bfloat16)


def strength_embedding(w: Tensor, width: int) -> Tensor:
    """LCM's embedding ``[B, width]`` of guidance strengths ``[B]``: sines, then cosines, of ``1000 w f``."""
    half = width // 2
    steps = torch.arange(half, device=w.device, dtype=w.dtype)
    angle = 1000 * w[:, None] * (-math.log(10000) / (half - 1) * steps).exp()
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class TextUNet(nn.Module):
    """Raw network ``F(x, timestep [B], text=[B, L, E], w=[B] | None)``; SDXL's needs ``pooled``, ``sizes``.

    Where ``body`` precision differs from the weights', it runs under torch's automatic casting.

    Args:
        unet: diffusers' network; its published names stand behind ``model.unet.``.
    """

    def __init__(self, unet: Any) -> None:
        super().__init__()
        self.unet = unet

    @property
    def strength_width(self) -> int:
        """Width of the guidance embedding, 0 for networks without one."""
        return int(self.unet.config.time_cond_proj_dim or 0)

    @property
    def sized(self) -> bool:
        """Whether it reads pooled captions and sizes beside the timestep."""
        return self.unet.config.addition_embed_type is not None

    def _strength(self, w: Tensor | None, dtype: torch.dtype) -> Tensor | None:
        """The embedded strength; raises ValueError for a network that takes none."""
        if w is None:
            return None
        if not self.strength_width:
            raise ValueError("Cond.w is given to a network without a guidance embedding; open it with one")
        # embedded in fp32 at least: angles reach 1000 w
        wide = w if w.dtype == torch.float64 else w.float()
        return strength_embedding(wide, self.strength_width).to(dtype)

    def _added(self, pooled: Tensor | None, sizes: Tensor | None) -> dict[str, Tensor]:
        """What SDXL's embedding of the timestep also takes, by diffusers' names.

        Raises:
            ValueError: it is missing, or given to a network that takes none.
        """
        given = {"text_embeds": pooled, "time_ids": sizes}
        found = {name: value for name, value in given.items() if value is not None}
        if len(found) != (2 if self.sized else 0):
            wanted = "give Cond(pooled=[B, P], sizes=[B, 6])" if self.sized else "it reads captions alone"
            raise ValueError(f"pooled captions and sizes do not fit this network: {wanted}")
        return found

    @staticmethod
    def _captions(text: Tensor | None, dtype: torch.dtype) -> Tensor:
        if text is None:
            raise ValueError("this network is conditioned on captions: give Cond(text=...) [B, L, E]")
        return text.to(dtype)

    def _casting(self, x: Tensor) -> Any:
        if x.dtype in HALVES and self.unet.dtype != x.dtype:
            return torch.autocast(x.device.type, dtype=x.dtype)
        return nullcontext()

    def forward(
        self,
        x: Tensor,
        noise_label: Tensor,
        label: Tensor | None = None,
        *,
        text: Tensor | None = None,
        w: Tensor | None = None,
        pooled: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        text, strength = self._captions(text, x.dtype), self._strength(w, x.dtype)
        options = {"timestep_cond": strength, "added_cond_kwargs": self._added(pooled, sizes)}
        with self._casting(x):
            return self.unet(x, noise_label, text, return_dict=False, **options)[0]

    def features(
        self,
        x: Tensor,
        noise_label: Tensor,
        label: Tensor | None = None,
        *,
        text: Tensor | None = None,
        w: Tensor | None = None,
        pooled: Tensor | None = None,
        sizes: Tensor | None = None,
    ) -> Tensor:
        """Output of the middle block ``[B, C, h, w]``, where DMD2 attaches its head to Stable Diffusion."""
        text, strength = self._captions(text, x.dtype), self._strength(w, x.dtype)
        unet, added = self.unet, self._added(pooled, sizes)
        with self._casting(x):
            emb = unet.time_embedding(unet.get_time_embed(x, noise_label), strength)
            also = unet.get_aug_embed(emb, text, added)
            emb = emb if also is None else emb + also
            h = unet.conv_in(x)
            for block in unet.down_blocks:
                h, _ = self._through(block, h, emb, text)
            return self._through(unet.mid_block, h, emb, text)

    @staticmethod
    def _through(block: Any, h: Tensor, emb: Tensor, text: Tensor) -> Any:
        crossed = getattr(block, "has_cross_attention", False)
        return block(h, emb, encoder_hidden_states=text) if crossed else block(h, emb)
