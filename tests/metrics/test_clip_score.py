"""CLIP score against open_clip itself, on a tiny model with random weights."""

import hashlib
import json

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from random_inception import photos, script

from metrics.clip_score import clip_score, embed_pairs, r_precision
from metrics.features.clip import load_clip, side_and_normal

MODEL = "tiny-clip-of-the-tests"
CONFIG = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
CAPTIONS = ["a red flower", "the roof of a temple, far away", "A flower", "leaves", " ".join(["word"] * 100)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model(MODEL, load_weights=False)
    path = folder / "weights.pt"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def clip(weights):
    return load_clip("tiny", MODEL, "random", weights, sha256=None, device="cpu")


def directly(weights, images, captions):
    """Cosines by open_clip's own calls."""
    network, _, transform = open_clip.create_model_and_transforms(MODEL, pretrained=str(weights))
    network.eval()
    pixels = torch.stack([transform(Image.fromarray(x.permute(1, 2, 0).numpy())) for x in images])
    with torch.no_grad():
        pictures = network.encode_image(pixels, normalize=True)
        texts = network.encode_text(open_clip.get_tokenizer(MODEL)(captions), normalize=True)
    return (pictures * texts).sum(dim=1)


@pytest.mark.parametrize(("prefix", "scale"), [("", 1.0), ("A photo depicts ", 100.0)])
def test_equals_open_clip(clip, weights, prefix, scale):
    images = photos(5, 0, size=40)
    expected = scale * directly(weights, images, [prefix + caption for caption in CAPTIONS])
    found = clip_score(clip, images.split(2), CAPTIONS, prefix, scale)
    assert found.score == pytest.approx(expected.mean().item(), rel=1e-5)
    assert found.std == pytest.approx(expected.std(correction=0).item(), rel=1e-4)
    assert expected.std() > 0.005 * scale


def test_the_result_states_what_moves_it(clip, weights):
    found = clip_score(clip, photos(5, 0).split(5), CAPTIONS, "A photo depicts ")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert (found.model, found.pretrained, found.sha256) == (MODEL, "random", digest)
    assert (found.count, found.truncated, found.scale) == (5, 1, 1.0)
    assert (found.prefix, found.resize) == ("A photo depicts ", "open-clip-preprocess")


def test_captions_are_counted_as_cut_from_the_first_token_too_many(clip):
    fits = " ".join(["word"] * 75)
    assert clip.texts([fits])[1] == 0
    assert clip.texts([fits + " word"])[1] == 1
    assert clip.texts(["word " + fits, fits])[1] == 1


def test_images_of_the_networks_size_are_prepared_at_once_to_the_same_bits(clip, monkeypatch):
    images, seen, transform = photos(4, 2, size=32), [], clip.transform
    expected = torch.stack([transform(Image.fromarray(x.permute(1, 2, 0).numpy())) for x in images])
    monkeypatch.setattr(clip, "transform", lambda image: seen.append(image.size) or transform(image))
    for shown in (images, images.contiguous(memory_format=torch.channels_last)):
        found = clip.pixels(shown)
        assert torch.equal(found, expected) and found.is_contiguous() and not seen
    others = photos(2, 2, size=40)
    assert clip.pixels(others).shape == (2, 3, 32, 32) and seen == [(40, 40)] * 2


@pytest.mark.parametrize("steps", [[], [open_clip.transform.Resize(48), open_clip.transform.CenterCrop(32)]])
def test_other_transforms_are_asked_for_every_image(steps):
    known = open_clip.transform.image_transform(32, is_train=False)
    assert side_and_normal(known)[0] == (32, 32)
    other = type(known)([*steps, *known.transforms[2:]])
    assert side_and_normal(other)[0] is None and side_and_normal(lambda image: image)[0] is None


def test_captions_are_tokenised_once_as_open_clip_does(clip, monkeypatch):
    """Begin, end and padding stand where its own tokenizer has them, whatever the length."""
    captions = ["", *CAPTIONS, *(" ".join(["word"] * count) for count in (74, 75, 76))]
    ids, seen, asked = clip.ids, [], []
    expected = clip.tokenizer(captions)
    monkeypatch.setattr(clip, "ids", lambda caption: seen.append(caption) or ids(caption))
    monkeypatch.setattr(clip.network, "encode_text", lambda rows: asked.append(rows) or rows)
    assert clip.texts(captions)[1] == 2 and seen == captions
    assert torch.equal(asked[0], expected) and asked[0].dtype == expected.dtype


PIECES = [
    "<start_of_text>",
    "<end_of_text>",
    "don't",
    "'LL",
    "&amp;",
    "& ",
    "caf\u00e9",
    "\n",
    "\x1b[1m",
    "\x1c",
    "<",
]


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text("aZ 9.'<>;&-_", max_size=6), st.text(max_size=4))))
@settings(max_examples=300, deadline=None)
def test_any_caption_has_the_tokens_that_open_clip_gives_it(clip, pieces):
    """Word by word where that is the same, whole where it is not."""
    caption = "".join(pieces)
    assert clip.ids(caption) == clip.tokenizer.encode(caption)


def test_words_are_tokenised_once(clip, monkeypatch):
    clip.ids("two words")
    monkeypatch.setattr(clip.tokenizer, "encode", lambda caption: pytest.fail(caption))
    assert clip.ids("  words two ") == clip.ids("words two") != clip.ids("two words")


def test_a_prefix_is_what_splicing_its_tokens_gives(clip):
    """DMD2 puts the prefix's tokens after the begin token, cuts at 77 and ends with the end token."""
    tokens = clip.tokenizer(CAPTIONS)
    middle = clip.tokenizer("A photo depicts ")[:, 1:4].expand(len(CAPTIONS), -1)
    spliced = torch.cat([tokens[:, :1], middle, tokens[:, 1:]], dim=1)[:, :77]
    spliced[:, 76] = torch.where(spliced[:, 76] > 0, clip.tokenizer.eot_token_id, 0)
    assert torch.equal(spliced, clip.tokenizer(["A photo depicts " + caption for caption in CAPTIONS]))


def test_embeddings_do_not_depend_on_batches(clip):
    images = photos(5, 1)
    one, two = (embed_pairs(clip, images.split(size), CAPTIONS) for size in (5, 2))
    np.testing.assert_allclose(one.images, two.images, atol=1e-6)
    np.testing.assert_allclose(one.captions, two.captions, atol=1e-6)


@pytest.mark.parametrize("count", [4, 6])
def test_captions_that_do_not_match_the_images_are_refused(clip, count):
    with pytest.raises(ValueError, match=r"images and 5 captions; expected one for each image"):
        clip_score(clip, photos(count, 0).split(3), CAPTIONS)


def test_nothing_to_score_is_refused(clip):
    with pytest.raises(ValueError, match="0 images and 0 captions"):
        clip_score(clip, [], [])
    with pytest.raises(ValueError, match="expected one caption or more"):
        clip.texts([])
    with pytest.raises(ValueError, match="expected uint8 images"):
        clip_score(clip, [torch.rand(5, 3, 32, 32)], CAPTIONS)


def test_openai_archives_and_other_files(weights, clip, tmp_path):
    """OpenAI publishes TorchScript in half precision, with settings among the tensors."""

    class Archive(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    root = Archive()
    for key, value in torch.load(weights, weights_only=True).items():
        *path, leaf = key.split(".")
        module = root
        for name in path:
            if not hasattr(module, name):
                module.add_module(name, Archive())
            module = getattr(module, name)
        module.register_buffer(leaf, value.half())
    root.register_buffer("input_resolution", torch.tensor(32))
    archive = tmp_path / "archive.pt"
    script(root).save(str(archive))
    loaded = load_clip("tiny", MODEL, "other", archive, sha256=None, device="cpu")
    images = photos(2, 2)
    torch.testing.assert_close(loaded(images), clip(images), rtol=0, atol=2e-2)
    torch.save({"visual.proj": torch.zeros(2, 2)}, archive)
    with pytest.raises(ValueError, match=f"tiny: .*archive.pt does not fit {MODEL}"):
        load_clip("tiny", MODEL, "other", archive, sha256=None, device="cpu")


def test_the_activation_follows_the_weights(weights, clip):
    quick = load_clip("tiny", MODEL, "openai", weights, sha256=None, device="cpu")
    images = photos(2, 2)
    assert (quick(images) - clip(images)).abs().max() > 1e-4


def test_r_precision_of_true_and_of_shuffled_pairs():
    rng = np.random.default_rng(0)
    captions = rng.standard_normal((200, 16))
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    names = [f"caption {i}" for i in range(200)]
    from metrics.clip_score import Embedded

    true, wrong = Embedded(captions, captions, 0), Embedded(captions[::-1], captions, 0)
    assert r_precision(true, names, rng) == 1
    assert r_precision(wrong, names, rng) < 0.05
    assert r_precision(wrong, names, rng, distractors=1) == pytest.approx(0.5, abs=0.12)
    with pytest.raises(ValueError, match="199 other captions"):
        r_precision(true, names, rng, distractors=200)
    with pytest.raises(ValueError, match="0 other captions"):
        r_precision(true, ["same"] * 200, rng)
    with pytest.raises(ValueError, match="200 images and 1 captions"):
        r_precision(true, ["same"], rng)
