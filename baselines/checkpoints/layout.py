"""Names and shapes of all tensors of the published U-Nets, in the published order, from a configuration.

A second, independent statement of what the networks hold: a file is checked before any network is built.
Sources: checkpoints of EDM (Karras et al., 2022) and EDM2 (Karras et al., 2024).
"""

from __future__ import annotations

from collections.abc import Mapping

from baselines.checkpoints.architecture import Config, DhariwalConfig, EDM2Config, SongConfig
from baselines.checkpoints.errors import CheckpointError, some

Shapes = dict[str, tuple[int, ...]]
HEAD = 64  # channels of an attention head of ADM and EDM2; narrower blocks have none


class Layout:
    """Collects names and shapes below a prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.shapes: Shapes = {}

    def add(self, name: str, *shape: int) -> None:
        """One tensor."""
        self.shapes[self.prefix + name] = shape

    def affine(self, name: str, *shape: int, bias: bool = True) -> None:
        """A weight ``[out, ...]`` and its bias ``[out]``."""
        self.add(f"{name}.weight", *shape)
        if bias:
            self.add(f"{name}.bias", shape[0])

    def norm(self, name: str, channels: int) -> None:
        """Weight and bias of a group norm."""
        self.affine(name, channels)


class EDMLayout(Layout):
    """SongUNet and DhariwalUNet: the blocks are built alike."""

    def __init__(self, config: SongConfig | DhariwalConfig) -> None:
        super().__init__("model.")
        self.config = config
        self.song = isinstance(config, SongConfig)
        self.widths = [round(config.model_channels * mult) for mult in config.channel_mult]
        self.taps = len(config.resample_filter) if isinstance(config, SongConfig) else 2
        self.emb = config.model_channels * config.channel_mult_emb
        self.mapping()
        self.decoder(self.encoder())

    def mapping(self) -> None:
        """Embeddings of noise, label and augmentation."""
        c, emb = self.config, self.emb
        if isinstance(c, SongConfig):
            noise = c.model_channels * c.channel_mult_noise
            if c.embedding_type == "fourier":
                self.add("map_noise.freqs", noise // 2)
            if c.label_dim:
                self.affine("map_label", noise, c.label_dim)
        else:
            noise = c.model_channels
        if c.augment_dim:
            self.affine("map_augment", noise, c.augment_dim, bias=False)
        self.affine("map_layer0", emb, noise)
        self.affine("map_layer1", emb, emb)
        if not self.song and c.label_dim:
            self.affine("map_label", emb, c.label_dim, bias=False)

    def encoder(self) -> list[int]:
        """Encoder blocks; returns the widths that the decoder takes up."""
        c = self.config
        cout = c.model_channels if self.song else self.widths[0]
        aux, skips = c.channels, [cout]
        for level, width in enumerate(self.widths):
            side = f"{c.resolution >> level}x{c.resolution >> level}"
            if level == 0:
                self.affine(f"enc.{side}_conv", cout, c.channels, 3, 3)
            else:
                self.block(f"enc.{side}_down", cout, cout, resample=True)
                skips.append(cout)
                aux = self.auxiliary(side, aux, cout)
            for index in range(c.num_blocks):
                attends = c.resolution >> level in c.attn_resolutions
                self.block(f"enc.{side}_block{index}", cout, width, attends=attends)
                cout = width
                skips.append(cout)
        return skips

    def auxiliary(self, side: str, aux: int, cout: int) -> int:
        """The image that is led down beside the encoder; returns its width after this level."""
        encoder = getattr(self.config, "encoder_type", "standard")
        if encoder == "skip":
            self.add(f"enc.{side}_aux_down.resample_filter", 1, 1, self.taps, self.taps)
            self.affine(f"enc.{side}_aux_skip", cout, aux, 1, 1)
        if encoder == "residual":
            self.affine(f"enc.{side}_aux_residual", cout, aux, 3, 3)
            self.add(f"enc.{side}_aux_residual.resample_filter", 1, 1, self.taps, self.taps)
            return cout
        return aux

    def decoder(self, skips: list[int]) -> None:
        """Decoder blocks and the last layers."""
        c, cout = self.config, skips[-1]
        for level, width in reversed(list(enumerate(self.widths))):
            side = f"{c.resolution >> level}x{c.resolution >> level}"
            if level == len(self.widths) - 1:
                self.block(f"dec.{side}_in0", cout, cout, attends=True)
                self.block(f"dec.{side}_in1", cout, cout)
            else:
                self.block(f"dec.{side}_up", cout, cout, resample=True)
            for index in range(c.num_blocks + 1):
                attends = c.resolution >> level in c.attn_resolutions
                attends = attends and (not self.song or index == c.num_blocks)
                self.block(f"dec.{side}_block{index}", cout + skips.pop(), width, attends=attends)
                cout = width
        top = f"dec.{c.resolution}x{c.resolution}_aux" if self.song else "out"
        self.norm(f"{top}_norm", cout)
        self.affine(f"{top}_conv", c.out_channels, cout, 3, 3)

    def block(self, name: str, cin: int, cout: int, *, attends: bool = False, resample: bool = False) -> None:
        """A residual block with its attention."""
        self.norm(f"{name}.norm0", cin)
        self.affine(f"{name}.conv0", cout, cin, 3, 3)
        if resample:
            self.add(f"{name}.conv0.resample_filter", 1, 1, self.taps, self.taps)
        self.affine(f"{name}.affine", cout if self.song else 2 * cout, self.emb)
        self.norm(f"{name}.norm1", cout)
        self.affine(f"{name}.conv1", cout, cout, 3, 3)
        if cin != cout or (resample and self.song):
            self.affine(f"{name}.skip", cout, cin, 1, 1)
        if resample:
            self.add(f"{name}.skip.resample_filter", 1, 1, self.taps, self.taps)
        if attends and (self.song or cout >= HEAD):
            self.norm(f"{name}.norm2", cout)
            self.affine(f"{name}.qkv", 3 * cout, cout, 1, 1)
            self.affine(f"{name}.proj", cout, cout, 1, 1)


class EDM2Layout(Layout):
    """EDM2: no biases, gains of their own, Fourier features as buffers."""

    def __init__(self, config: EDM2Config) -> None:
        super().__init__("")
        c = self.config = config
        self.add("unet.out_gain")
        self.add("unet.emb_fourier.freqs", c.noise_channels)
        self.add("unet.emb_fourier.phases", c.noise_channels)
        self.add("unet.emb_noise.weight", c.emb_channels, c.noise_channels)
        if c.label_dim:
            self.add("unet.emb_label.weight", c.emb_channels, c.label_dim)
        skips = self.encoder()
        self.decoder(skips)
        self.add("unet.out_conv.weight", c.channels, c.widths[0], 3, 3)
        self.add("logvar_fourier.freqs", c.logvar_channels)
        self.add("logvar_fourier.phases", c.logvar_channels)
        self.add("logvar_linear.weight", 1, c.logvar_channels)

    def encoder(self) -> list[int]:
        """Encoder blocks; the first convolution sees a channel of ones beside the image."""
        c, cout = self.config, self.config.widths[0]
        skips = [cout]
        for level, width in enumerate(c.widths):
            side = c.resolution >> level
            if level == 0:
                self.add(f"unet.enc.{side}x{side}_conv.weight", cout, c.channels + 1, 3, 3)
            else:
                self.block(f"unet.enc.{side}x{side}_down", cout, cout, cout)
                skips.append(cout)
            for index in range(c.num_blocks):
                attends = side in c.attn_resolutions
                self.block(f"unet.enc.{side}x{side}_block{index}", cout, width, width, attends)
                cout = width
                skips.append(cout)
        return skips

    def decoder(self, skips: list[int]) -> None:
        """Decoder blocks; here the first convolution of a block sees the wide input."""
        c, cout = self.config, skips[-1]
        for level, width in reversed(list(enumerate(c.widths))):
            side = c.resolution >> level
            if level == len(c.widths) - 1:
                self.block(f"unet.dec.{side}x{side}_in0", cout, cout, cout, True)
                self.block(f"unet.dec.{side}x{side}_in1", cout, cout, cout)
            else:
                self.block(f"unet.dec.{side}x{side}_up", cout, cout, cout)
            for index in range(c.num_blocks + 1):
                cin, attends = cout + skips.pop(), side in c.attn_resolutions
                self.block(f"unet.dec.{side}x{side}_block{index}", cin, width, cin, attends)
                cout = width

    def block(self, name: str, cin: int, cout: int, first: int, attends: bool = False) -> None:
        """A block whose first convolution has ``first`` input channels."""
        self.add(f"{name}.emb_gain")
        self.add(f"{name}.conv_res0.weight", cout, first, 3, 3)
        self.add(f"{name}.emb_linear.weight", cout, self.config.emb_channels)
        self.add(f"{name}.conv_res1.weight", cout, cout, 3, 3)
        if cin != cout:
            self.add(f"{name}.conv_skip.weight", cout, cin, 1, 1)
        if attends and cout >= HEAD:
            self.add(f"{name}.attn_qkv.weight", 3 * cout, cout, 1, 1)
            self.add(f"{name}.attn_proj.weight", cout, cout, 1, 1)


def expected_shapes(config: Config) -> Shapes:
    """All tensors that a network of this configuration holds; raises TypeError where no layout is known."""
    if isinstance(config, SongConfig | DhariwalConfig):
        return EDMLayout(config).shapes
    if isinstance(config, EDM2Config):
        return EDM2Layout(config).shapes
    raise TypeError(f"no layout is known for {type(config).__name__}")


def check_layout(found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Raise CheckpointError for missing and unexpected parameters and wrong shapes; the first are named."""
    missing = [name for name in expected if name not in found]
    surplus = [name for name in found if name not in expected]
    if missing or surplus:
        lacks = [f"lacks {some(missing)}"] if missing else []
        has = [f"has unexpected {some(surplus)}"] if surplus else []
        raise CheckpointError(" and ".join(lacks + has))
    for name, shape in expected.items():
        if tuple(found[name]) != tuple(shape):
            raise CheckpointError(f"has {name} of shape {tuple(found[name])}, expected {tuple(shape)}")
