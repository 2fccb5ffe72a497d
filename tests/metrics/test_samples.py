"""Samples from elsewhere: the same in every container, streamed, and refused by name when they do not fit."""

import tracemalloc
import zipfile

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import save_file as save_tensors
from sample_files import KINDS, as_image, noise, write, write_folder, write_npz, write_safetensors, write_zip

from metrics.protocols.record import Pixels
from metrics.samples.preparation import prepared, to_uint8
from metrics.samples.source import open_images, open_points

RGB = Pixels(rounding="half-up")
GREY = Pixels(rounding="half-up", channels=1, size=8)


def read(path, pixels=RGB, **options):
    source = open_images(path, pixels, **options)
    images = np.concatenate(list(source.batches(3)))
    return images, source


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_container_holds_the_same_images_labels_and_digest(tmp_path, kind, channels):
    images, labels = noise(10, channels), np.arange(10) % 3
    pixels = Pixels(rounding="half-up", channels=channels)
    found, source = read(write(kind, tmp_path, images, labels), pixels)
    assert np.array_equal(found, images) and source.count == 10
    assert np.array_equal(source.labels(), labels)
    (tmp_path / "plain").mkdir()
    plain, other = read(write_npz(tmp_path / "plain" / "x.npz", images, compressed=False), pixels)
    assert other.sha256 == source.sha256 and other.labels() is None and np.array_equal(plain, images)


def test_the_digest_knows_every_grey_level_the_order_and_the_shape(tmp_path):
    images = noise(4)
    changed = images.copy()
    changed[2, 1, 3, 3] ^= 1
    forms = [images, changed, images[::-1], images.reshape(4, 3, 4, 16)]
    digests = {
        read(write_safetensors(tmp_path / f"{i}.safetensors", x))[1].sha256 for i, x in enumerate(forms)
    }
    assert len(digests) == 4


def test_one_hot_labels_are_decoded(tmp_path):
    labels = np.array([2, 0, 1, 2])
    path = write_npz(tmp_path / "x.npz", noise(4), np.eye(3, dtype=np.float32)[labels])
    assert np.array_equal(open_images(path, RGB).labels(), labels)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_floats_are_rounded_by_the_protocol(tmp_path, kind):
    x = np.linspace(-1, 1, 4 * 3 * 8 * 8, dtype=np.float32).reshape(4, 3, 8, 8)
    path = write(kind, tmp_path, x)
    up, _ = read(path, Pixels(rounding="half-up"))
    down, _ = read(path, Pixels(rounding="truncate"))
    assert np.array_equal(up, np.clip(np.floor(x.astype(float) * 127.5 + 128), 0, 255))
    assert np.array_equal(down, np.floor((x.astype(float) + 1) * 127.5))
    assert 0.45 < (up.astype(float) - down).mean() < 0.55


def test_rounding_of_the_ends_and_of_halves():
    x = np.array([-1, 0, 1, 1 / 255])
    assert to_uint8(x, "half-up").tolist() == [0, 128, 255, 128]
    assert to_uint8(x, "truncate").tolist() == [0, 127, 255, 128]


def test_crops_and_resizes_are_pillows(tmp_path):
    wide = noise(1, 3, 16)[0][:, :10]
    pixels = Pixels(rounding="truncate", crop="centre-square", resize=6)
    found, source = read(write_safetensors(tmp_path / "x.safetensors", wide[None]), pixels)
    expected = as_image(wide[:, :, 3:13]).resize((6, 6), Image.Resampling.LANCZOS)
    assert np.array_equal(found[0], np.asarray(expected).transpose(2, 0, 1))
    assert source.sha256 == read(tmp_path / "x.safetensors")[1].sha256  # of what was given
    small = Image.new("RGB", (200, 300))
    patch = Pixels(rounding="truncate", crop="centre-299")
    assert prepared(small, patch).size == (200, 300)
    assert prepared(Image.new("RGB", (400, 301)), patch).size == (299, 299)


def test_real_images_may_be_jpeg_of_any_size_where_the_protocol_resizes(tmp_path):
    pixels = Pixels(rounding="truncate", crop="centre-square", resize=6)
    write_folder(tmp_path / "val", noise(2, 3, 12), suffix=".jpg")
    as_image(noise(1, 3, 9)[0]).save(tmp_path / "val" / "z.jpg")
    found, _ = read(tmp_path / "val", pixels, reference=True)
    assert found.shape == (3, 3, 6, 6)
    with pytest.raises(ValueError, match="found JPEG; the protocol takes lossless images"):
        read(tmp_path / "val", pixels)


def test_memory_does_not_grow_with_the_file(tmp_path):
    peaks = []
    for count in (256, 2048):
        write_npz(tmp_path / "x.npz", noise(count, 3, 16), compressed=False)
        source = open_images(tmp_path / "x.npz", RGB)
        tracemalloc.start()
        for _ in source.batches(64):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def bad(tmp_path, name):
    """A broken set of samples by name: path, and words that the sentence holds."""
    folder = tmp_path / "s"
    files = write_folder(folder, noise(5))
    second = files / "000" / "00001.png"
    match name:
        case "empty folder":
            (tmp_path / "none").mkdir()
            return tmp_path / "none", ["none: no images; expected PNG files"]
        case "no such path":
            return tmp_path / "gone", ["gone: no such file or folder"]
        case "another kind of file":
            (tmp_path / "x.tar").write_bytes(b"x")
            return tmp_path / "x.tar", ["x.tar: expected a folder, .zip, .npz or .safetensors"]
        case "mixed sizes":
            as_image(noise(1, 3, 9)[0]).save(second)
            return folder, ["00001.png: 9 x 9 pixels, others are 8 x 8; expected one size"]
        case "mixed modes" | "greyscale":
            as_image(noise(1, 1)[0]).save(second)
            return folder, ["00001.png: found mode L, expected RGB; convert the images first"]
        case "alpha":
            Image.new("RGBA", (8, 8)).save(second)
            return folder, ["00001.png: found mode RGBA, expected RGB"]
        case "palette":
            Image.new("P", (8, 8)).save(second)
            return folder, ["00001.png: found mode P, expected RGB"]
        case "transparent colour":
            Image.new("RGB", (8, 8)).save(second, transparency=(0, 0, 0))
            return folder, ["00001.png: found mode RGB with transparency, expected RGB"]
        case "jpeg":
            as_image(noise(1)[0]).save(second.with_suffix(".jpg"))
            return folder, ["00001.jpg: found JPEG; the protocol takes lossless images"]
        case "jpeg called png":
            as_image(noise(1)[0]).save(second, format="JPEG")
            return folder, ["00001.png: found JPEG; the protocol takes lossless images"]
        case "truncated":
            second.write_bytes(second.read_bytes()[:90])
            return folder, ["00001.png: not a whole image file"]
        case "not an image":
            second.write_bytes(b"<html>")
            return folder, ["00001.png: not a whole image file"]
        case "broken labels":
            (folder / "dataset.json").write_text('{"labels": [["000/00000.png", 1]]}')
            return folder, ["dataset.json: expected 'labels' with a number for every image"]
        case "broken zip":
            (tmp_path / "x.zip").write_bytes(b"PK\x03\x04nothing")
            return tmp_path / "x.zip", ["x.zip: not a readable zip"]
        case "damaged zip":
            path = write_zip(tmp_path / "y.zip", noise(5))
            data = bytearray(path.read_bytes())
            data[data.index(b"IDAT") + 12] ^= 255
            path.write_bytes(bytes(data))
            return path, ["y.zip: 001/00004.png: cannot be read"]
        case "float images out of range":
            return write_npz(tmp_path / "x.npz", noise(5) / 100.0), [
                "x.npz: found floats from",
                "to 2.55",
                "[-1, 1]",
            ]
        case "float images in [0, 1]":
            return write_npz(tmp_path / "x.npz", noise(5) / 255.0), ["x.npz: no float is below 0", "uint8"]
        case "float images with NaN":
            x = noise(5) / 255.0 - 0.5
            x[4, 0, 0, 0] = np.nan
            return write_npz(tmp_path / "x.npz", x), ["x.npz: images 0 to 4 hold NaN or infinity"]
        case "integers":
            return write_npz(tmp_path / "x.npz", noise(5).astype(np.int64)), [
                "found int64 images; expected uint8"
            ]
        case "another rank":
            np.savez(tmp_path / "x.npz", arr_0=noise(5)[:, 0])
            return tmp_path / "x.npz", ["found shape [5, 8, 8]; expected RGB images [N, H, W, 3]"]
        case "greyscale array":
            return write_npz(tmp_path / "x.npz", noise(5, 1)), ["found shape [5, 8, 8, 1]; expected RGB"]
        case "empty array":
            return write_npz(tmp_path / "x.npz", noise(0)), ["x.npz: no images"]
        case "several arrays":
            np.savez(tmp_path / "x.npz", a=noise(2), b=noise(2))
            return tmp_path / "x.npz", ["expected an array named arr_0, samples", "found a, b"]
        case "python objects":
            np.savez(tmp_path / "x.npz", arr_0=np.array([{}, []], dtype=object))
            return tmp_path / "x.npz", ["holds Python objects, which are never loaded"]
        case "cut npz":
            path = write_npz(tmp_path / "x.npz", noise(5))
            path.write_bytes(path.read_bytes()[:200])
            return path, ["x.npz: not readable"]
        case "damaged npz":
            path = write_npz(tmp_path / "x.npz", noise(5), compressed=False)
            data = bytearray(path.read_bytes())
            data[400] ^= 255
            path.write_bytes(bytes(data))
            return path, ["x.npz: array 'arr_0': damaged"]
        case "cut safetensors":
            path = write_safetensors(tmp_path / "x.safetensors", noise(5))
            path.write_bytes(path.read_bytes()[:200])
            return path, ["x.safetensors: not readable"]
        case "bfloat16":
            import torch

            save_tensors(
                {"samples": torch.zeros(2, 3, 8, 8, dtype=torch.bfloat16)}, tmp_path / "x.safetensors"
            )
            return tmp_path / "x.safetensors", ["tensor 'samples' is BF16; expected uint8"]
    raise AssertionError(name)


BAD = [
    "empty folder",
    "no such path",
    "another kind of file",
    "mixed sizes",
    "mixed modes",
    "greyscale",
    "alpha",
    "palette",
    "transparent colour",
    "jpeg",
    "jpeg called png",
    "truncated",
    "not an image",
    "broken labels",
    "broken zip",
    "damaged zip",
    "float images out of range",
    "float images in [0, 1]",
    "float images with NaN",
    "integers",
    "another rank",
    "greyscale array",
    "empty array",
    "several arrays",
    "python objects",
    "cut npz",
    "damaged npz",
    "cut safetensors",
    "bfloat16",
]


@pytest.mark.parametrize("name", BAD)
def test_bad_samples_are_one_sentence_that_names_the_file(tmp_path, name):
    path, words = bad(tmp_path, name)
    with pytest.raises(ValueError) as caught:
        _, source = read(path)
        source.labels()
    message = str(caught.value)
    assert [word for word in words if word not in message] == [] and "\n" not in message


def test_images_of_another_size_than_the_protocols(tmp_path):
    with pytest.raises(ValueError, match=r"x.npz: 12 x 12 pixels; the protocol takes 8 x 8"):
        open_images(write_npz(tmp_path / "x.npz", noise(3, 1, 12)), GREY)
    with pytest.raises(ValueError, match=r"00000.png: 12 x 12 pixels; the protocol takes 8 x 8"):
        read(write_folder(tmp_path / "f", noise(3, 1, 12)), GREY)


def test_a_member_that_ends_early_is_damaged(tmp_path):
    """A header that promises more rows than follow."""
    path = write_npz(tmp_path / "x.npz", noise(5), compressed=False)
    with zipfile.ZipFile(path) as archive:
        data = archive.read("arr_0.npy")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("arr_0.npy", data[:-100])
    with pytest.raises(ValueError, match="ends after 4 of 5 rows"):
        read(path)


def test_points(tmp_path):
    points = np.random.default_rng(0).standard_normal((50, 2))
    np.savez(tmp_path / "x.npz", points)
    assert np.array_equal(open_points(tmp_path / "x.npz"), points)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 2, 2)), "expected float points"),
        (np.zeros((0, 2)), "expected float points"),
        (np.zeros((4, 2), dtype=np.uint8), "found uint8 of shape"),
        (np.array([[0.0, np.nan], [1.0, 2.0]]), "1 of 2 points hold NaN or infinity"),
    ],
)
def test_bad_points(tmp_path, array, message):
    np.savez(tmp_path / "x.npz", array)
    with pytest.raises(ValueError, match=message):
        open_points(tmp_path / "x.npz")


def test_points_are_not_images(tmp_path):
    with pytest.raises(ValueError, match=r"expected an \.npz or \.safetensors file that holds points"):
        open_points(tmp_path)
