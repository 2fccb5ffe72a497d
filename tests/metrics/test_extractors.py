"""The contract of extractors, their resize laws and files; small networks against other code."""

import hashlib
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from random_inception import digit_images, photos, script
from torch.nn import functional as F
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from metrics.features.dinov2 import DinoNetwork, load_dinov2
from metrics.features.extractor import Extra, Extractor, Features, full_precision
from metrics.features.nvidia import load_clean, load_nvidia
from metrics.features.registry import ENTRIES, entry, load_extractor
from metrics.features.resize import Resize, pil_bicubic, tf1_bilinear, torch_bicubic
from metrics.features.stream import collect_features, stream_moments
from metrics.moments import Moments


class Means(Extractor):
    """Mean colour, exact and without weights."""

    name, sha256, dimension, resize = "means", None, 3, Resize.NONE
    extras = frozenset({Extra.LOGITS})
    device = torch.device("cpu")

    def _forward(self, images, extras):
        pool = images.float().mean(dim=(2, 3))
        return Features(pool, logits=2 * pool if extras else None)


class Broken(Means):
    def _forward(self, images, extras):
        pool = images.float().mean(dim=(2, 3))
        pool[1, 0] = torch.nan
        return Features(pool)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 3, 8, 8), "expected uint8 images, found torch.float32"),
        (torch.zeros(2, 1, 8, 8, dtype=torch.uint8), r"expected images \[B, 3, H, W\]"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"found shape \[3, 8, 8\]"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), r"with B >= 1, found shape \[0, 3, 8, 8\]"),
    ],
)
def test_other_than_uint8_rgb_batches_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        Means()(images)


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="means: pool of 1 of 4 images hold NaN or infinity"):
        Broken()(photos(4, 0))


def test_outputs_that_an_extractor_lacks_are_refused():
    with pytest.raises(ValueError, match="means: has no output spatial; extra outputs: logits"):
        Means().extract(photos(2, 0), [Extra.SPATIAL])


def test_tf32_is_off_inside_and_restored():
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with full_precision():
            assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_streams_and_collections_see_every_image_once():
    images = photos(10, 1)
    whole = Means().extract(images, [Extra.LOGITS])
    found = collect_features(Means(), images.split(3), [Extra.LOGITS])
    torch.testing.assert_close(found.pool, whole.pool, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.logits, 2 * whole.pool, rtol=1e-6, atol=0)
    assert found.spatial is None
    streamed, direct = stream_moments(Means(), images.split(4)).moments(), Moments.of(whole.pool)
    np.testing.assert_allclose(streamed.cov, direct.cov, rtol=1e-9)
    with pytest.raises(ValueError, match="expected one batch"):
        collect_features(Means(), [])


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (300, 500)])
def test_tf1_bilinear_is_that_of_torch_fidelity(size):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, *size), dtype=np.uint8))
    theirs = interpolate_bilinear_2d_like_tensorflow1x(images.float(), size=(299, 299), align_corners=False)
    torch.testing.assert_close(tf1_bilinear(images), theirs, rtol=0, atol=1e-4)


def test_pil_bicubic_is_that_of_clean_fid():
    from cleanfid.resize import build_resizer

    images = torch.cat([photos(3, 2, size=40), photos(3, 3, size=40).flip(3)])
    theirs = np.stack([build_resizer("clean")(image.permute(1, 2, 0).numpy()) for image in images])
    torch.testing.assert_close(pil_bicubic(images), torch.from_numpy(theirs).permute(0, 3, 1, 2))


def test_resize_laws_differ_by_grey_levels():
    """Why a law is part of a protocol."""
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), dtype=np.uint8))
    assert (tf1_bilinear(noise) - pil_bicubic(noise)).abs().mean() > 10
    assert (pil_bicubic(noise, 224) - torch_bicubic(noise)).abs().max() > 10  # the latter does not clip


def test_entries_agree_with_what_they_load():
    for found in ENTRIES.values():
        assert found.resize in list(Resize) and set(found.extras) <= set(Extra)
        assert found.sha256 is None or len(found.sha256) == 64
        module, function = found.factory.split(":")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_the_registry_loads_no_torch():
    script = "import sys, metrics.features.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_unknown_names_and_absent_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="extractor 'inception': unknown; known are inception-torch"):
        entry("inception")
    with pytest.raises(
        ValueError, match=r"expected weights-inception-2015-12-05-6726825d.pth .* 6726825d0af5"
    ):
        load_extractor("inception-torch-fidelity")
    with pytest.raises(ValueError, match=r"nowhere.pth is not a file; .* sha256 d5383ea8"):
        load_extractor("dinov2-vitl14", tmp_path / "nowhere.pth")


@pytest.mark.parametrize("name", [name for name, found in ENTRIES.items() if found.sha256])
def test_a_wrong_digest_shows_both(name, tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"other weights")
    found = hashlib.sha256(b"other weights").hexdigest()
    with pytest.raises(ValueError, match=f"sha256 {found}, expected {ENTRIES[name].sha256}"):
        load_extractor(name, path)


@pytest.mark.parametrize("name", [name for name in ENTRIES if name.startswith(("inception", "dino"))])
def test_files_of_another_kind_are_refused(name, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=f"extractor {name}: .*weights.pth does not fit"):
        load_extractor(name, path, sha256=digest)


def test_digits_behind_the_contract():
    from metrics.features.digits import load_digits_features

    images = digit_images(20)[:, :1]
    extractor, own = load_extractor("digits"), load_digits_features()
    found = extractor.extract(images, [Extra.LOGITS])
    np.testing.assert_allclose(found.pool.numpy(), own.features(images.numpy()), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.logits.numpy(), own.class_logits(images.numpy()), rtol=1e-6, atol=1e-5)
    assert extractor.sha256 == own.digest and extractor.dimension == found.pool.shape[1] == 32
    with pytest.raises(ValueError, match=r"expected images \[B, 1, H, W\]"):
        extractor(digit_images(2))
    with pytest.raises(ValueError, match=f"has sha256 {own.digest}, expected 00"):
        load_extractor("digits", sha256="0" * 64)


# --- NVIDIA's TorchScript file: a small network with the same surface


class Surface(torch.nn.Module):
    """Call convention of ``inception-2015-12-05.pt``, with one wide convolution for a body."""

    def __init__(self) -> None:
        super().__init__()
        body = torch.nn.Conv2d(3, 128, 75, stride=74)
        self.layers = torch.nn.Sequential(body, torch.nn.ReLU(), torch.nn.Flatten())
        self.output = torch.nn.Linear(2048, 1008)

    def forward(
        self,
        img: torch.Tensor,
        return_features: bool = False,
        use_fp16: bool = False,
        no_output_bias: bool = False,
    ) -> torch.Tensor:
        count, channels, height, width = img.shape
        theta = torch.eye(2, 3)
        theta[0, 2] += theta[0, 0] / width - theta[0, 0] / 299
        theta[1, 2] += theta[1, 1] / height - theta[1, 1] / 299
        grid = F.affine_grid(
            theta[None].repeat(count, 1, 1), [count, channels, 299, 299], align_corners=False
        )
        x = F.grid_sample(img.float(), grid, mode="bilinear", padding_mode="border", align_corners=False)
        features = self.layers((x - 128) / 128).reshape(-1, 2048)
        if return_features:
            return features
        bias = None if no_output_bias else self.output.bias
        return F.linear(features, self.output.weight, bias).softmax(dim=1)


@pytest.fixture(scope="module")
def surface(tmp_path_factory):
    path = tmp_path_factory.mktemp("nvidia") / "inception-2015-12-05.pt"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Surface().eval()
    script(module).save(str(path))
    return path, module


def test_nvidia_features_are_those_of_the_file(surface):
    path, module = surface
    images = photos(5, 4)
    with pytest.raises(ValueError, match="expected f58cb9b6"):
        load_extractor("inception-nvidia", path)
    found = load_nvidia(path, None, "cpu").extract(images, [Extra.LOGITS])
    with torch.no_grad():
        pool = module(images, return_features=True)
        probabilities = module(images, no_output_bias=True)
    torch.testing.assert_close(found.pool, pool)
    torch.testing.assert_close(found.logits.softmax(dim=1), probabilities)
    assert pool.std(dim=0).mean() > 0.01


def test_the_resize_that_nvidia_states_is_the_one_inside(surface):
    path, module = surface
    images = photos(5, 4)
    with torch.no_grad():
        outside = module.layers((tf1_bilinear(images) - 128) / 128).flatten(1)
    torch.testing.assert_close(load_nvidia(path, None, "cpu")(images), outside, rtol=0, atol=1e-4)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # clean-fid reads TorchScript
def test_clean_features_are_those_of_clean_fid(surface):
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer

    path, _ = surface
    images = photos(6, 5, size=48)
    theirs = InceptionV3W(str(path.parent), download=False, resize_inside=False)
    resized = np.stack([build_resizer("clean")(image.permute(1, 2, 0).numpy()) for image in images])
    with torch.no_grad():
        expected = theirs(torch.from_numpy(resized.transpose(0, 3, 1, 2)))
    found = load_clean(path, None, "cpu")(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))
    assert float((found - load_nvidia(path, None, "cpu")(images)).abs().max()) > 0.01


# --- DINOv2


def small_dino(seed=0, grid=4):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = DinoNetwork(width=128, depth=2, grid=grid)
        for value in network.parameters():
            value.data = 0.1 * torch.randn(value.shape)
    return network


def test_dino_is_the_vision_transformer_of_timm_under_its_published_names():
    from timm.models.vision_transformer import VisionTransformer

    network = small_dino()
    theirs = VisionTransformer(
        img_size=56, patch_size=14, embed_dim=128, depth=2, num_heads=2, init_values=1.0, num_classes=0,
        global_pool="token", norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
    ).eval()  # fmt: skip
    state = {key: value for key, value in network.state_dict().items() if key != "mask_token"}
    theirs.load_state_dict(state)
    pixels = torch.randn(3, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, expected = network(pixels), theirs(pixels)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    assert expected.std(dim=0).mean() > 1e-3


def test_dino_of_the_published_size_has_the_size_of_the_published_file():
    with torch.device("meta"):
        network = DinoNetwork(width=1024, depth=24, grid=37)
    size = sum(4 * value.numel() for value in network.state_dict().values())
    assert size < 1217586395 < 1.0002 * size
    names = {key.replace("blocks.23.", "") for key in network.state_dict() if "blocks.23." in key}
    parts = ["norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]
    assert names == {f"{part}.{kind}" for part in parts for kind in ("weight", "bias")} | {
        "ls1.gamma",
        "ls2.gamma",
    }


def test_dino_interpolates_positions_by_the_published_rule():
    network = small_dino(grid=7)
    square = network.pos_embed[:, 1:].reshape(1, 7, 7, 128).permute(0, 3, 1, 2)
    factor = (4 + 0.1) / 7
    expected = F.interpolate(square, mode="bicubic", antialias=False, scale_factor=(factor, factor))
    found = network._positions(4, 4)
    assert torch.equal(found[:, :1], network.pos_embed[:, :1])
    torch.testing.assert_close(found[:, 1:], expected.permute(0, 2, 3, 1).reshape(1, 16, 128))
    by_size = F.interpolate(square, size=(4, 4), mode="bicubic")
    assert (expected - by_size).abs().max() > 1e-3  # so that the offset is seen


def test_dino_from_a_file(tmp_path):
    path, network = tmp_path / "dino.pth", small_dino()
    torch.save(network.state_dict(), path)
    extractor = load_dinov2(path, hashlib.sha256(path.read_bytes()).hexdigest(), "cpu")
    images = photos(3, 6)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = F.interpolate(images.float(), size=(224, 224), mode="bicubic", antialias=True) / 255
    with torch.no_grad():
        expected = network((pixels - mean[:, None, None]) / std[:, None, None])
    torch.testing.assert_close(extractor(images), expected, rtol=1e-5, atol=1e-6)
    assert (
        extractor.dimension == 128 and extractor.sha256 and extractor.resize == "torch-bicubic-antialias-224"
    )
    state = network.state_dict()
    state["blocks.1.attn.q.weight"] = state.pop("blocks.1.attn.qkv.weight")
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"dinov2-vitl14: .*blocks\.1\.attn\.qkv\.weight"):
        load_dinov2(path, None, "cpu")
