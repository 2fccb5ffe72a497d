"""What a network and its preconditioning must be for a weight file: plain records, no networks.

Fields are called as the arguments of the networks; ``network`` names the class.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

Ints = tuple[int, ...]


@dataclass(frozen=True)
class SongConfig:
    """DDPM++ (positional, standard) and NCSN++ (fourier, residual) of EDM."""

    resolution: int
    channels: int
    out_channels: int
    label_dim: int
    augment_dim: int
    model_channels: int
    channel_mult: Ints
    channel_mult_emb: int
    num_blocks: int
    attn_resolutions: Ints
    embedding_type: Literal["positional", "fourier"] = "positional"
    encoder_type: Literal["standard", "residual", "skip"] = "standard"
    channel_mult_noise: int = 1
    resample_filter: Ints = (1, 1)
    dropout: float = 0.0


@dataclass(frozen=True)
class DhariwalConfig:
    """ADM as EDM has it; ``out_channels`` is twice ``channels`` where the variance was learnt too."""

    resolution: int
    channels: int
    out_channels: int
    label_dim: int
    augment_dim: int
    model_channels: int
    channel_mult: tuple[float, ...]
    channel_mult_emb: int
    num_blocks: int
    attn_resolutions: Ints
    dropout: float = 0.0


@dataclass(frozen=True)
class EDM2Config:
    """EDM2's magnitude-preserving U-Net; ``widths`` are the channels of the levels, top first."""

    resolution: int
    channels: int
    label_dim: int
    widths: Ints
    noise_channels: int
    emb_channels: int
    num_blocks: int
    attn_resolutions: Ints
    logvar_channels: int
    dropout: float = 0.0


@dataclass(frozen=True)
class DiffusersConfig:
    """UNet2DConditionModel of Stable Diffusion's kind; dimensions of absent embeddings are 0.

    Attributes:
        time_cond_dim: of the guidance embedding that LCM adds.
        addition_dim: of SDXL's added text and size embedding.
    """

    in_channels: int
    out_channels: int
    widths: Ints
    cross_attention_dim: int
    time_cond_dim: int
    addition_dim: int


@dataclass(frozen=True)
class LoRAConfig:
    """Low-rank factors for another network: how many layers they change, and their ranks."""

    layers: int
    ranks: Ints


Config = SongConfig | DhariwalConfig | EDM2Config | DiffusersConfig | LoRAConfig
NETWORKS: dict[str, type[Config]] = {
    "SongUNet": SongConfig,
    "DhariwalUNet": DhariwalConfig,
    "EDM2UNet": EDM2Config,
    "UNet2DConditionModel": DiffusersConfig,
    "LoRA": LoRAConfig,
}

Form = Literal["edm", "boundary", "vp", "ve", "iddpm", "epsilon"]


@dataclass(frozen=True)
class Preconditioning:
    """How sigma enters and leaves the network.

    Attributes:
        form: coefficients c_skip, c_out and c_in; ``boundary`` is a consistency student's, ``epsilon`` leaves
            the network bare.
        time: what the network is given for sigma.
        sigma_max: None where there is no bound.
        constants: what else the form needs, by the published names (``beta_d``, ``M``, ...).
    """

    form: Form
    time: Literal["ln(sigma)/4", "250 ln(sigma)", "ln(sigma/2)", "(M-1) t", "index", "timestep"]
    sigma_min: float = 0.0
    sigma_max: float | None = None
    sigma_data: float = 0.5
    clip: bool = False
    constants: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Architecture:
    """Network by class name, its arguments, its preconditioning, and whether its body was trained in fp16."""

    network: str
    config: Config
    preconditioning: Preconditioning | None = None
    use_fp16: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain values for a record."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Architecture:
        """The inverse of ``as_json``; raises KeyError or TypeError for anything else."""
        form = plain["preconditioning"]
        return cls(
            network=plain["network"],
            config=_record(NETWORKS[plain["network"]], plain["config"]),
            preconditioning=None if form is None else _record(Preconditioning, form),
            use_fp16=plain["use_fp16"],
        )


def _record(kind: type[Any], plain: dict[str, Any]) -> Any:
    """A record whose lists are tuples again."""
    names = {field.name for field in fields(kind)}
    if names != set(plain):
        raise TypeError(f"{kind.__name__} has fields {sorted(names)}, found {sorted(plain)}")
    return kind(**{name: _frozen(value) for name, value in plain.items()})


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
