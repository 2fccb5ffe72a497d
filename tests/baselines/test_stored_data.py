"""Data sets on disk: EDM zips, folders, EDM2 latents; what is drawn from them, and what is refused."""

import io
import json
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from baselines.datasets.files import ZipFiles
from baselines.datasets.images import epoch_rows, to_model
from baselines.datasets.order import rows_at
from baselines.datasets.stored_images import StoredImages
from baselines.datasets.stored_latents import LatentScale, StoredLatents, posterior_noise

N, SIDE, CLASSES = 10, 8, 3
IMAGES = np.random.default_rng(0).integers(0, 256, (N, 3, SIDE, SIDE), dtype=np.uint8)
LABELS = [i % CLASSES for i in range(N)]
RAW = np.random.default_rng(1).random((6, 8, 4, 4)).astype(np.float32)  # 4 means and 4 deviations


def png(planes):
    stream = io.BytesIO()
    image = Image.fromarray(planes[0] if len(planes) == 1 else planes.transpose(1, 2, 0))
    image.save(stream, format="png", compress_level=0)
    return stream.getvalue()


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def name_of(index, ending="png"):
    return f"{index // 4:05d}/img{index:08d}.{ending}"


def members(images=IMAGES, labels=LABELS):
    """Files of an EDM data set, by name."""
    found = {name_of(i): png(image) for i, image in enumerate(images)}
    if labels is not None:
        pairs = [[name_of(i), label] for i, label in enumerate(labels)]
        found["dataset.json"] = json.dumps({"labels": pairs}).encode()
    return found


def latents(raw=RAW):
    found = {name_of(i, "npy"): npy(one) for i, one in enumerate(raw)}
    pairs = [[name_of(i, "npy"), i % 2] for i in range(len(raw))]
    return {**found, "dataset.json": json.dumps({"labels": pairs}).encode()}


def write_zip(path, files, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name in reversed(list(files)):  # the order in the zip means nothing
            archive.writestr(name, files[name])
        archive.writestr("__MACOSX/._img.png", b"not an image")
    return path


def write_folder(path, files):
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


WRITERS = {"data.zip": write_zip, "data": write_folder}


@pytest.fixture(params=list(WRITERS))
def write(request, tmp_path):
    return lambda files: WRITERS[request.param](tmp_path / request.param, files)


def opened(path, **options):
    return StoredImages.open(path, SIDE, **({"n_classes": CLASSES} | options))


def test_rows_are_the_files_in_the_order_of_their_names(write):
    data = opened(write(members()))
    assert len(data) == N and data.labels.tolist() == LABELS
    assert all(np.array_equal(data.image(i), IMAGES[i]) for i in range(N))


def test_a_batch_is_that_of_images_in_memory(write):
    data = opened(write(members()))
    x0, cond = data.batch(3, 2, 7)
    rows = epoch_rows(3, 14, 7, N)
    assert torch.equal(x0, to_model(IMAGES[rows])) and x0.dtype == torch.float32
    assert cond.label.tolist() == [LABELS[row] for row in rows]


def test_an_epoch_shows_every_image_once_and_batches_join(tmp_path):
    data = opened(write_zip(tmp_path / "d.zip", members()))
    one = data.batch(0, 0, 20)[0]
    parts = torch.cat([data.batch(0, i, 5)[0] for i in range(4)])
    assert torch.equal(one, parts)
    for half in (one[:N], one[N:]):
        assert sorted(half.flatten(1).sum(1).tolist()) == sorted(to_model(IMAGES).flatten(1).sum(1).tolist())
    assert not torch.equal(one[:N], one[N:]) and not torch.equal(one[:N], data.batch(1, 0, N)[0])


@pytest.mark.parametrize(("start", "count", "length"), [(0, 5, 7), (5, 20, 7), (13, 1, 7), (3, 40, 7)])
def test_the_order_is_the_one_of_sets_in_memory(start, count, length):
    assert np.array_equal(rows_at(9, start, count, length), epoch_rows(9, start, count, length))


def test_mirrored_rows_follow_the_others(write):
    data = opened(write(members()), xflip=True)
    assert len(data) == 2 * N
    assert np.array_equal(data.image(N + 3), IMAGES[3, :, :, ::-1])
    rows = epoch_rows(0, 0, 2 * N, 2 * N)
    x0, cond = data.batch(0, 0, 2 * N)
    expected = [IMAGES[r] if r < N else IMAGES[r - N, :, :, ::-1] for r in rows]
    assert torch.equal(x0, to_model(np.stack(expected)))
    assert cond.label.tolist() == [LABELS[r % N] for r in rows]


def test_without_classes_labels_are_not_read(write):
    files = members() | {"dataset.json": b"broken"}
    data = opened(write(files), n_classes=0)
    assert data.labels is None and data.batch(0, 0, 2)[1].label is None


def test_folders_are_classes_where_there_is_no_list(write):
    files = {f"{'abc'[label]}/{i}.png": png(IMAGES[i]) for i, label in enumerate(LABELS)}
    data = opened(write(files))
    assert data.labels.tolist() == sorted(LABELS)


def test_greyscale(write):
    data = opened(write(members(IMAGES[:, :1])), channels=1)
    assert data.batch(0, 0, 2)[0].shape == (2, 1, SIDE, SIDE)


def test_the_digest_is_of_images_and_labels_not_of_the_container(tmp_path):
    folder = opened(write_folder(tmp_path / "d", members())).sha256()
    packed = write_zip(tmp_path / "d.zip", members(), zipfile.ZIP_DEFLATED)
    assert opened(packed, xflip=True).sha256() == folder
    assert opened(packed, n_classes=0).sha256() != folder
    changed = IMAGES.copy()
    changed[4, 0, 0, 0] ^= 1
    assert opened(write_zip(tmp_path / "e.zip", members(changed))).sha256() != folder


def test_a_data_set_can_be_sent_to_another_process(tmp_path):
    data = opened(write_zip(tmp_path / "d.zip", members()))
    copy = pickle.loads(pickle.dumps(data))
    assert np.array_equal(copy.image(5), IMAGES[5])


def test_a_zip_is_opened_anew_after_a_fork(tmp_path, monkeypatch):
    files = ZipFiles(write_zip(tmp_path / "d.zip", members()))
    first = files._archive()
    assert files._archive() is first
    monkeypatch.setattr("os.getpid", lambda: -5)
    assert files._archive() is not first


LISTS = {
    "missing": (lambda p: p[:-1], r"1 of 10 files have no label, first '00002/img00000009\.png'"),
    "twice": (lambda p: [*p, p[0]], r"'00000/img00000000\.png' is labelled twice"),
    "superfluous": (lambda p: [*p, ["no.png", 0]], r"labels 1 files that are not there, first 'no\.png'"),
    "high": (lambda p: [*p[:-1], [p[-1][0], 3]], "labels from 0 to 3, expected 0 to 2"),
    "negative": (lambda p: [*p[:-1], [p[-1][0], -1]], "labels from -1 to 2, expected 0 to 2"),
    "vector": (lambda p: [*p[:-1], [p[-1][0], [0, 1]]], r"expected \[file name, class number\]"),
    "text": (lambda p: [*p[:-1], [p[-1][0], "1"]], r"expected \[file name, class number\]"),
    "none": (lambda p: None, "'labels' is empty"),
    "number": (lambda p: 3, r"found 3, expected \[file name, class number\]"),
}


@pytest.mark.parametrize("case", LISTS)
def test_labels_that_do_not_fit(write, case):
    change, message = LISTS[case]
    pairs = [[name_of(i), label] for i, label in enumerate(LABELS)]
    files = members() | {"dataset.json": json.dumps({"labels": change(pairs)}).encode()}
    with pytest.raises(ValueError, match=message):
        opened(write(files))


@pytest.mark.parametrize("text", [b"", b"[]", b'{"label": []}', b"[" * 100_000, b"\xff"])
def test_a_list_that_cannot_be_read(write, text):
    with pytest.raises(ValueError, match=r"dataset\.json: no readable list 'labels'"):
        opened(write(members() | {"dataset.json": text}))


def test_neither_a_list_nor_folders(write):
    with pytest.raises(ValueError, match=r"no dataset\.json, and 1 files lie in no class folder"):
        opened(write({"a/0.png": png(IMAGES[0]), "1.png": png(IMAGES[1])}))


def png_of_size(side):
    """A small file that says it is a large picture."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


PICTURES = {
    "resolution": (png(np.zeros((3, 9, 8), np.uint8)), "found 8 x 9 RGB, expected 8 x 8 RGB"),
    "mode": (png(np.zeros((1, 8, 8), np.uint8)), "found 8 x 8 L, expected 8 x 8 RGB"),
    "bomb": (png_of_size(5000), "found 5000 x 5000 RGB, expected 8 x 8 RGB"),
    "huge bomb": (png_of_size(100_000), "not a whole image file"),
    "cut": (png(IMAGES[0])[:-80], "not a whole image file"),
    "html": (b"<html></html>", "not a whole image file"),
    "empty": (b"", "not a whole image file"),
}


@pytest.mark.parametrize("case", PICTURES)
@pytest.mark.parametrize("where", [0, 6])
def test_a_picture_that_does_not_fit_is_named(write, case, where):
    data, message = PICTURES[case]
    path = write(members() | {name_of(where): data})
    with pytest.raises(ValueError, match=f"img{where:08d}.*{message}"):
        opened(path).sha256()


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "a/../../b.png", "a\\b.png", "C:/x.png"])
def test_a_zip_that_leads_out_of_its_folder(tmp_path, name):
    path = write_zip(tmp_path / "d.zip", {**members(), name: png(IMAGES[0])})
    with pytest.raises(ValueError, match="leads out of the zip; such a file is not trusted"):
        opened(path)


def test_a_link_in_a_zip(tmp_path):
    path = write_zip(tmp_path / "d.zip", members())
    link = zipfile.ZipInfo("zz.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(ValueError, match=r"'zz\.png': leads out of the zip"):
        opened(path)


@pytest.mark.parametrize("name", ["x.png", "dataset.json"])
def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, name):
    path = write_zip(tmp_path / "d.zip", {**members(), name: bytes(3 << 20)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=rf"'{name}': unpacks from [\d,]+ to 3,145,728 bytes"):
        opened(path)


def test_a_member_that_is_there_twice(tmp_path):
    path = write_zip(tmp_path / "d.zip", members())
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(name_of(0), png(IMAGES[1]))
    with pytest.raises(ValueError, match=r"img00000000\.png': there twice"):
        opened(path)


def test_a_damaged_member(tmp_path):
    path = write_zip(tmp_path / "d.zip", members())
    raw = bytearray(path.read_bytes())
    at = raw.index(members()[name_of(2)]) + 60
    raw[at] ^= 255
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"img00000002\.png': cannot be read \(Bad CRC"):
        opened(path).image(2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path / "none.zip", r"none\.zip: expected a folder or a \.zip of images, found nothing"),
        (lambda path: write_folder(path, {"a.txt": b"x"}) / "a.txt", "found another kind of file"),
        (lambda path: write_folder(path, {"a.zip": b"x"}) / "a.zip", r"a\.zip: not a readable zip"),
        (lambda path: write_zip(path / "e.zip", {"a.txt": b"x"}), r"e\.zip: no images"),
    ],
)
def test_what_is_no_data_set(tmp_path, make, message):
    with pytest.raises(ValueError, match=message):
        opened(make(tmp_path))


def test_latents_are_drawn_from_their_posterior(write):
    data = StoredLatents.open(write(latents()), 4, n_classes=2)
    x0, cond = data.batch(5, 1, 4)
    rows = epoch_rows(5, 4, 4, len(RAW))
    mean, std = np.array([5.81, 3.25, 0.12, -2.15]), np.array([4.17, 4.62, 3.71, 3.28])
    for k, row in enumerate(rows):
        raw = RAW[row, :4] + RAW[row, 4:] * posterior_noise(5, 4 + k, (4, 4, 4))
        expected = (raw - mean[:, None, None]) * (0.5 / std)[:, None, None]
        assert x0[k].numpy() == pytest.approx(expected, abs=1e-5)
    assert cond.label.tolist() == [row % 2 for row in rows] and x0.dtype == torch.float32


def test_draws_of_latents_do_not_depend_on_the_batch_and_never_repeat(write):
    data = StoredLatents.open(write(latents()), 4)
    whole = data.batch(0, 0, 12)[0]
    assert torch.equal(whole, torch.cat([data.batch(0, i, 3)[0] for i in range(4)]))
    assert len({tuple(x.flatten().tolist()) for x in whole}) == 12  # each latent twice, with other noise


def test_scaled_latents_have_the_deviation_of_the_network():
    rng = np.random.default_rng(0)
    scale = LatentScale()
    raw = rng.normal(
        np.array(scale.raw_mean)[:, None, None], np.array(scale.raw_std)[:, None, None], (500, 4, 8, 8)
    )
    scaled = scale(raw.astype(np.float32))
    assert scaled.mean((0, 2, 3)) == pytest.approx(0, abs=0.02)
    assert scaled.std((0, 2, 3)) == pytest.approx(0.5, abs=0.02)


NAN = np.where(np.arange(8 * 16).reshape(8, 4, 4) == 3, np.nan, 1).astype(np.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(RAW[0, :7]), r"found float32 \[7, 4, 4\], expected float32 \[8, 4, 4\]"),
        (npy(RAW[0].astype(np.int32)), "found int32"),
        (npy(np.asfortranarray(RAW[0])), "found float32"),
        (npy(RAW[0])[:-4], "bytes of numbers do not fill"),
        (npy(-RAW[0]), "negative deviation"),
        (npy(NAN), "NaN"),
        (b"<html>", "not a NumPy array"),
    ],
)
def test_latents_that_do_not_fit(write, data, message):
    path = write(latents() | {name_of(4, "npy"): data})
    with pytest.raises(ValueError, match=rf"img00000004\.npy: .*{message}"):
        StoredLatents.open(path, 4).sha256()


def test_pickled_arrays_are_never_loaded(write):
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="found object"):
        StoredLatents.open(write(latents() | {name_of(0, "npy"): stream.getvalue()}), 4)
