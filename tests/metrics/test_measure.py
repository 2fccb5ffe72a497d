"""Protocols applied to streams, with a network small enough to compute by hand."""

import hashlib
import pickle
import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
import torch
from sample_files import KINDS, noise, write, write_folder

from metrics.features.extractor import Extra, Extractor, Features
from metrics.features.resize import Resize
from metrics.frechet import frechet_distance
from metrics.measure import load_reference, measure
from metrics.moments import Moments
from metrics.prdc import precision_recall
from metrics.protocols.record import Protocol
from metrics.protocols.registry import shipped_protocols
from metrics.reference import WrongFile, load_statistics
from metrics.samples.source import open_images

D, N = 4, 40


class Corners(Extractor):
    """Four grey levels of the first channel; spatial features are another three."""

    name, sha256, dimension, resize = "corners", "0" * 64, D, Resize.NONE
    extras: ClassVar[frozenset[Extra]] = frozenset({Extra.SPATIAL, Extra.LOGITS})
    device = torch.device("cpu")

    def _forward(self, images, extras):
        values = images[:, 0, ::7, ::7].flatten(1).float()
        return Features(
            values,
            logits=values[:, :3] / 50 if Extra.LOGITS in extras else None,
            spatial=images[:, 1, 0, :3].float() if Extra.SPATIAL in extras else None,
        )


def protocol(**changes) -> Protocol:
    raw = shipped_protocols()["suite-fid50k@1"].model_dump()
    raw |= {"id": "toy@1"}
    raw["sampling"] |= {"samples": N, "blocks": [0]}
    raw["repeats"]["count"] = 1
    raw["extractor"]["dimension"] = D
    raw["reference"]["assets"] = []
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if isinstance(raw[key], dict) and isinstance(value, dict) else value
    return Protocol.model_validate(raw)


def corners(images):
    return images[:, 0, ::7, ::7].reshape(len(images), D).astype(float)


REAL, FAKE = noise(60, seed=1), noise(N, seed=2) // 2


def write_statistics(path, moments, **extra):
    np.savez(path, mu=moments.mean, sigma=moments.cov, **extra)
    return path


@pytest.fixture
def reference(tmp_path):
    """A statistics file of the real images."""
    return write_statistics(tmp_path / "ref.npz", Moments.of(corners(REAL)), count=60)


def scored(samples, reference, asked):
    extractor = Corners()
    return measure(
        asked, open_images(samples, asked.pixels), extractor, load_reference(reference, asked, extractor)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_fid_of_every_container_is_the_distance_of_the_moments(tmp_path, reference, kind):
    expected = frechet_distance(Moments.of(corners(FAKE)), Moments.of(corners(REAL)))
    assert expected > 100
    found = scored(write(kind, tmp_path, FAKE), reference, protocol())
    assert found == {"fid": pytest.approx(expected, rel=1e-12)}


def test_statistics_and_their_images_are_the_same_reference(tmp_path, reference):
    samples, images = write("npz", tmp_path, FAKE), write_folder(tmp_path / "real", REAL)
    assert scored(samples, images, protocol()) == {
        "fid": pytest.approx(scored(samples, reference, protocol())["fid"], rel=1e-9)
    }


def test_the_covariance_divisors_are_the_protocols(tmp_path, reference):
    asked = protocol(frechet={"divisor": "N"})
    expected = frechet_distance(Moments.of(corners(FAKE), ddof=0), Moments.of(corners(REAL)))
    found = scored(write("npz", tmp_path, FAKE), reference, asked)["fid"]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found != pytest.approx(scored(tmp_path / "samples.npz", reference, protocol())["fid"], rel=1e-4)


def test_crop_and_resize_come_before_the_extractor(tmp_path):
    """Real images of another size are prepared in the same way, so that equal ones are at distance 0."""
    asked = protocol(pixels={"crop": "centre-square", "resize": 8})
    big = noise(N, 3, 16)
    paths = [write(kind, tmp_path, big) for kind in ("npz", "folder")]
    assert scored(*paths, asked)["fid"] == pytest.approx(0, abs=1e-6)


def test_precision_recall_and_sfid_in_one_pass(tmp_path):
    asked = protocol(metrics=["fid", "sfid", "precision", "recall"], manifold={"k": 2, "real": 30, "fake": N})
    spatial = lambda images: images[:, 1, 0, :3].astype(float)  # noqa: E731
    pool, inner = Moments.of(corners(REAL)), Moments.of(spatial(REAL))
    np.savez(
        tmp_path / "adm.npz", arr_0=REAL[:30].transpose(0, 2, 3, 1), mu=pool.mean, sigma=pool.cov,
        mu_s=inner.mean, sigma_s=inner.cov, count=60,
    )  # fmt: skip
    found = scored(write("npz", tmp_path, FAKE), tmp_path / "adm.npz", asked)
    expected = precision_recall(real=corners(REAL[:30]), fake=corners(FAKE), k=2)
    assert list(found) == ["fid", "sfid", "precision", "recall"]
    assert (found["precision"], found["recall"]) == (expected.precision, expected.recall)
    assert 0 < expected.precision < 1
    assert found["sfid"] == pytest.approx(frechet_distance(Moments.of(spatial(FAKE)), inner), rel=1e-12)


@pytest.mark.parametrize(("count", "what"), [(N - 1, "39 samples, fewer than the 40 of toy@1"),
                                             (N + 1, "41 samples, more than the 40 of toy@1")])  # fmt: skip
def test_exactly_n_samples(tmp_path, reference, count, what):
    with pytest.raises(ValueError, match=what):
        scored(write("npz", tmp_path, noise(count)), reference, protocol())


def test_fewer_samples_than_features_are_refused(tmp_path, reference):
    with pytest.raises(ValueError, match="expected more rows than dimensions"):
        scored(write("npz", tmp_path, noise(D)), reference, protocol(sampling={"samples": D}))


def test_features_that_are_nan_name_the_samples(tmp_path, reference):
    class Broken(Corners):
        def _forward(self, images, extras):
            return Features(super()._forward(images, extras).pool / 0)

    asked, extractor = protocol(), Corners()
    known = load_reference(reference, asked, extractor)
    source = open_images(write("npz", tmp_path, 0 * FAKE), asked.pixels)
    with pytest.raises(ValueError, match=r"samples\.npz: corners: pool of 40 of 40 images hold NaN"):
        measure(asked, source, Broken(), known)


def test_features_are_not_held(tmp_path, reference):
    """Four times the images take the same memory."""
    peaks = []
    for count in (256, 1024):
        asked = protocol(sampling={"samples": count})
        samples = write("npz", tmp_path, noise(count))
        scored(samples, reference, asked)
        tracemalloc.start()
        scored(samples, reference, asked)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_a_reference_of_another_dimension(tmp_path):
    path = write_statistics(
        tmp_path / "r.npz", Moments.of(np.random.default_rng(0).random((50, 9))), count=50
    )
    with pytest.raises(ValueError, match=r"r\.npz: statistics of 9 features; toy@1 has 4"):
        load_statistics(path, protocol())


def test_a_reference_of_another_digest_shows_both(reference):
    pinned = protocol(reference={"computable": False, "assets": [{"id": "a/ref", "sha256": "a" * 64}]})
    found = hashlib.sha256(reference.read_bytes()).hexdigest()
    with pytest.raises(WrongFile) as caught:
        load_statistics(reference, pinned)
    assert found in str(caught.value) and "a" * 64 in str(caught.value) and "ref.npz" in str(caught.value)
    right = protocol(reference={"assets": [{"id": "a/other", "sha256": found, "count": 60}]})
    assert load_statistics(reference, right).asset == "a/other"


def test_the_count_behind_statistics_is_known_or_refused(tmp_path):
    moments = Moments.of(corners(REAL))
    named = protocol(reference={"assets": [{"id": "a/ref-32", "count": 77}]})
    assert (
        load_statistics(write_statistics(tmp_path / "ref-32.npz", moments), named).moments["pool"].count == 77
    )
    with pytest.raises(ValueError, match=r"x\.npz: does not say of how many images it is.*ref-32"):
        load_statistics(write_statistics(tmp_path / "x.npz", moments), named)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(D), "count": 9}, "no array sigma; found count, mu"),
        ({"mu": np.zeros(D), "sigma": np.zeros((3, 3)), "count": 9}, "expected a mean"),
        ({"mu": np.full(D, np.nan), "sigma": np.eye(D), "count": 9}, "NaN"),
    ],
)
def test_broken_statistics_name_the_file(tmp_path, arrays, message):
    np.savez(tmp_path / "r.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        load_statistics(tmp_path / "r.npz", protocol())
    assert "r.npz" in str(caught.value)


def test_the_pickle_of_edm2_is_read_without_running_it(tmp_path):
    moments = Moments.of(corners(REAL))
    plain = {"mu": moments.mean, "sigma": moments.cov}
    raw = {"num_images": 60, "fid": plain, "fd_dinov2": {"mu": moments.mean + 1, "sigma": moments.cov}}
    (tmp_path / "img.pkl").write_bytes(pickle.dumps(raw))
    found = load_statistics(tmp_path / "img.pkl", protocol())
    assert np.array_equal(found.moments["pool"].mean, moments.mean) and found.moments["pool"].count == 60
    dino = load_statistics(tmp_path / "img.pkl", protocol(metrics=["fd_dinov2"]))
    assert np.array_equal(dino.moments["pool"].mean, moments.mean + 1)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    (tmp_path / "img.pkl").write_bytes(pickle.dumps({"fid": Evil()}))
    with pytest.raises(ValueError, match=r"img\.pkl: not a pickle of plain arrays \(it asks for io\.open"):
        load_statistics(tmp_path / "img.pkl", protocol())
    assert not (tmp_path / "made").exists()
    (tmp_path / "img.pkl").write_bytes(pickle.dumps({"fid": 3}))
    with pytest.raises(ValueError, match="no statistics 'fid' with mu and sigma"):
        load_statistics(tmp_path / "img.pkl", protocol())


def test_images_where_statistics_are_pinned_and_wrong_counts_of_images(tmp_path):
    images = write("npz", tmp_path, REAL)
    with pytest.raises(ValueError, match=r"takes statistics .*, not images"):
        load_reference(images, protocol(reference={"computable": False}), Corners())
    asked = protocol(reference={"source": "images", "assets": [{"id": "a/b", "count": 61}]})
    with pytest.raises(ValueError, match="60 reference images; toy@1 has 61"):
        load_reference(images, asked, Corners())
