"""Inception against torch-fidelity, on one file of random weights in its format: features, then every metric.

Slow: a pass of this network costs a quarter of a second for each image.
"""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from random_inception import digit_images, photos, theirs, write_random_inception
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_isc import isc_features_to_metric
from torch_fidelity.metric_kid import kid_features_to_metric
from torch_fidelity.metric_prc import prc_features_to_metric

from metrics.features.extractor import Extra
from metrics.features.inception_network import InceptionNetwork
from metrics.features.registry import load_extractor
from metrics.features.resize import tf1_bilinear
from metrics.frechet import frechet_distance
from metrics.inception_score import inception_score
from metrics.kid import kernel_distance
from metrics.moments import Moments
from metrics.prdc import precision_recall

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    write_random_inception(path)
    return path


@pytest.fixture(scope="module")
def ours(weights):
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return load_extractor("inception-torch-fidelity", weights, sha256=digest)


@pytest.fixture(scope="module")
def sets(weights, ours):
    """Features of the same images by both: real are photographs, fake also digits and noise."""
    digits = torch.nn.functional.interpolate(digit_images(6).float(), size=32).byte()
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    images = {"real": photos(16, 1), "fake": torch.cat([photos(6, 2), digits, noise])}
    reference = theirs(weights, ["2048", "logits_unbiased"])
    found = SimpleNamespace(ours={}, theirs={})
    for name, pictures in images.items():
        found.theirs[name] = [x.clone() for x in reference(pictures)]
        features = ours.extract(pictures, [Extra.LOGITS])
        found.ours[name] = [features.pool, features.logits]
    return found


def test_features_and_logits_are_those_of_torch_fidelity(sets):
    for name in ("real", "fake"):
        for a, b in zip(sets.ours[name], sets.theirs[name], strict=True):
            assert b.std(dim=0).mean() > 0.1  # the features tell images apart
            assert float((a - b).norm() / b.norm()) < 5e-6
            assert float((a - b).abs().max()) < 1e-4


def test_in_fp64_the_folded_network_is_the_same_function(weights):
    """Folding, layouts and the order of pools cost nothing but rounding."""
    state = torch.load(weights, weights_only=True)
    network = InceptionNetwork({key: x.double() for key, x in state.items()}, torch.device("cpu"))
    network.convs = _exact(state)
    images = photos(1, 3)
    pool, _ = network.features((tf1_bilinear(images).double() - 128) / 128)
    reference = theirs(weights, ["2048"]).double()
    reference.feature_extractor_internal_dtype = torch.float64
    # their resize in fp64 reads other fractions than in fp32: give both the same pixels
    import torch_fidelity.feature_extractor_inceptionv3 as module

    resize = module.interpolate_bilinear_2d_like_tensorflow1x
    module.interpolate_bilinear_2d_like_tensorflow1x = lambda x, **_: tf1_bilinear(images).double()
    try:
        (expected,) = reference(images)
    finally:
        module.interpolate_bilinear_2d_like_tensorflow1x = resize
    assert float((pool.float() - expected).norm() / expected.norm()) < 1e-7


def _exact(state):
    """Folded convolutions kept in fp64."""
    convs = {}
    for key in state:
        if key.endswith(".conv.weight"):
            name = key.removesuffix(".conv.weight")
            gamma, beta, mean, variance = (
                state[f"{name}.bn.{part}"].double()
                for part in ("weight", "bias", "running_mean", "running_var")
            )
            scale = gamma / torch.sqrt(variance + 1e-3)
            convs[name] = (state[key].double() * scale[:, None, None, None], beta - mean * scale)
    return convs


def test_spatial_features_are_seven_channels_of_mixed_6_channels_last(weights, ours):
    images = photos(2, 4)
    reference, seen = theirs(weights, ["2048"]), []
    reference.Mixed_6d.branch1x1.register_forward_hook(lambda _, __, out: seen.append(out.clone()))
    reference(images)
    expected = seen[0].numpy().transpose(0, 2, 3, 1)[..., :7].reshape(2, 2023)
    found = ours.extract(images, [Extra.SPATIAL])
    assert np.linalg.norm(found.spatial.numpy() - expected) < 5e-6 * np.linalg.norm(expected)
    assert found.logits is None and expected.std(axis=0).mean() > 0.1


def test_features_do_not_depend_on_the_batch(ours):
    images = photos(9, 5)
    whole, single = ours(images), ours(images[8:])
    assert float((whole[8:] - single).abs().max()) < 1e-4 * float(whole.std())


def test_frechet_distance(sets):
    real, fake = (Moments.of(sets.ours[name][0]) for name in ("real", "fake"))
    statistics = [fid_features_to_statistics(sets.theirs[name][0]) for name in ("real", "fake")]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(real, fake, allow_singular=True) == pytest.approx(expected, rel=1e-4)
    assert expected > 1
    with pytest.raises(ValueError, match=r"in 2048 dimensions from 16 rows: .* bias of small N"):
        frechet_distance(real, fake)


def test_kernel_distance(sets):
    found = kernel_distance(real=sets.ours["real"][0], fake=sets.ours["fake"][0], subsets=10, subset_size=12)
    expected = kid_features_to_metric(
        sets.theirs["fake"][0], sets.theirs["real"][0], kid_subsets=10, kid_subset_size=12, verbose=False
    )
    assert found.mean == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-4)
    assert abs(found.mean) > 0.01


def test_inception_score(sets):
    found = inception_score(sets.ours["fake"][1], splits=2)
    expected = isc_features_to_metric(sets.theirs["fake"][1], splits=2)
    assert found.mean == pytest.approx(expected["inception_score_mean"], rel=1e-4)
    assert found.std == pytest.approx(expected["inception_score_std"], rel=1e-2)
    assert found.mean > 1.05


def test_precision_and_recall(sets):
    found = precision_recall(real=sets.ours["real"][0], fake=sets.ours["fake"][0])
    expected = prc_features_to_metric(sets.theirs["fake"][0], sets.theirs["real"][0], verbose=False)
    assert found.precision == pytest.approx(expected["precision"], rel=1e-4)
    assert found.recall == pytest.approx(expected["recall"], rel=1e-4)
    assert 0 < found.precision < 1 and found.recall > 0


def test_broken_weights_are_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)
    path = tmp_path / "broken.pth"

    def refused(message):
        torch.save(state, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with pytest.raises(ValueError, match=message):
            load_extractor("inception-torch-fidelity", path, sha256=digest)

    state["Mixed_5b.branch1x1.conv.weight"][0, 0] = torch.nan
    refused("does not fit .* NaN or infinity")
    state["Mixed_5b.branch1x1.conv.weight"] = torch.zeros(64, 7, 1, 1)
    refused("does not fit the Inception network")
    del state["Mixed_5b.branch1x1.bn.running_var"]
    refused(r"missing or not known: Mixed_5b\.branch1x1\.bn\.running_var")
