"""References computed from images: the file gives the same distances, and says what it is of."""

import zipfile

import numpy as np
import pytest
from sample_files import noise, write, write_folder
from test_measure import FAKE, REAL, Corners, corners, protocol, scored

from metrics.moments import Moments
from metrics.reference import WrongFile, load_statistics
from metrics.reference_file import compute_statistics, write_statistics
from metrics.samples.source import open_images

SHA = "0" * 64  # of the extractor ``Corners``


def asked(**changes):
    raw = protocol().model_dump()
    raw["reference"]["computable"] = True
    raw["extractor"]["asset"]["sha256"] = SHA
    for key, value in changes.items():
        raw[key] = {**raw[key], **value}
    return type(protocol()).model_validate(raw)


@pytest.fixture
def images(tmp_path):
    return write_folder(tmp_path / "real", REAL)


def test_computed_statistics_are_those_of_the_images(tmp_path, images):
    out = tmp_path / "mine.npz"
    digest = compute_statistics(images, asked(), Corners(), out)
    expected, found = Moments.of(corners(REAL)), load_statistics(out, asked()).moments["pool"]
    assert found.count == len(REAL) and found.mean == pytest.approx(expected.mean, rel=1e-12)
    assert found.cov == pytest.approx(expected.cov, rel=1e-9)
    source = open_images(images, asked().pixels)
    assert sum(len(batch) for batch in source.batches()) == len(REAL) and digest == source.sha256
    samples = write("npz", tmp_path, FAKE)
    assert scored(samples, out, asked()) == pytest.approx(scored(samples, images, asked()), rel=1e-9)


def test_equal_images_give_equal_bytes(tmp_path, images):
    other = write("zip", tmp_path, REAL)
    for path, name in ((images, "a.npz"), (other, "b.npz")):
        compute_statistics(path, asked(), Corners(), tmp_path / name)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_spatial_statistics_too(tmp_path, images):
    both = asked()
    both = both.model_copy(update={"metrics": ("fid", "sfid")})
    compute_statistics(images, both, Corners(), tmp_path / "mine.npz")
    found = load_statistics(tmp_path / "mine.npz", both).moments
    assert found["spatial"].mean == pytest.approx(REAL[:, 1, 0, :3].mean(0), rel=1e-12)


def test_statistics_of_another_extractor_or_divisor_are_refused(tmp_path, images):
    out = tmp_path / "mine.npz"
    compute_statistics(images, asked(), Corners(), out)
    other = asked(extractor={"asset": {"id": "a/b", "sha256": "1" * 64}})
    with pytest.raises(WrongFile, match=rf"extractor with sha256 {SHA}, toy@1 has {'1' * 64}"):
        load_statistics(out, other)
    with pytest.raises(ValueError, match="covariance of another divisor than N, which toy@1 has"):
        load_statistics(out, asked(frechet={"reference_divisor": "N"}))


def test_nothing_is_written_for_a_protocol_or_extractor_that_does_not_fit(tmp_path, images):
    out = tmp_path / "mine.npz"
    with pytest.raises(ValueError, match="its reference is not computed from images"):
        compute_statistics(images, asked(reference={"computable": False}), Corners(), out)
    with pytest.raises(ValueError, match=f"extractor has sha256 {SHA}, expected {'1' * 64}"):
        wrong = asked(extractor={"asset": {"id": "a/b", "sha256": "1" * 64}})
        compute_statistics(images, wrong, Corners(), out)
    with pytest.raises(ValueError, match="corners has 4 features, expected 9 features"):
        compute_statistics(images, asked(extractor={"dimension": 9}), Corners(), out)
    (images / "zz.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"zz\.png: not a whole image file"):
        compute_statistics(images, asked(), Corners(), out)
    assert not out.exists()


def test_a_place_that_cannot_be_written(tmp_path, images):
    with pytest.raises(ValueError, match=r"mine\.npz: cannot be written \(No such file"):
        compute_statistics(images, asked(), Corners(), tmp_path / "none" / "mine.npz")


def test_an_array_that_unpacks_to_gigabytes(tmp_path):
    """The size is read from the list of the zip; nothing is unpacked."""
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", b"")
        with archive.open("sigma.npy", "w", force_zip64=True) as stream:
            for _ in range(33):
                stream.write(bytes(1 << 20))
    raw = path.read_bytes()
    size = (33 << 20).to_bytes(4, "little")
    at = raw.rindex(size)  # in the list at the end
    path.write_bytes(raw[:at] + (2 << 30).to_bytes(4, "little") + raw[at + 4 :])
    with pytest.raises(ValueError, match=r"bomb\.npz: .*'sigma' unpacks to more than"):
        load_statistics(path, asked())


def test_written_moments_are_read_back_exactly(tmp_path):
    from metrics.reference import Reference

    moments = Moments.of(corners(noise(30, seed=5)))
    write_statistics(tmp_path / "m.npz", Reference("f" * 64, {"pool": moments}), SHA)
    found = load_statistics(tmp_path / "m.npz", asked()).moments["pool"]
    assert np.array_equal(found.mean, moments.mean) and np.array_equal(found.cov, moments.cov)
