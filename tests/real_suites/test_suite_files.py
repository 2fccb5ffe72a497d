"""Suite files of published models: their networks are the published ones, their files are in the table."""

from __future__ import annotations

import pytest
import torch

from bench.assets.registry import assets
from bench.cli import main
from bench.models import teacher_model
from bench.suite import load_suite, suite_names
from bench.suite_protocol import PublishedProtocol

REAL = [name for name in suite_names() if load_suite(name).model]
PARAMETERS = {  # of the published networks
    "afhqv2-64": 61_805_571,
    "cifar10": 55_733_891,
    "cifar10-cond": 55_735_299,
    "ffhq64": 61_805_571,
    "imagenet512": 124_713_253,
    "imagenet64": 295_899_267,
}


@pytest.mark.parametrize("name", REAL)
def test_network_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        net = teacher_model(load_suite(name)).build()
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", REAL)
def test_files_are_of_the_data_set(name: str) -> None:
    suite = load_suite(name)
    for id_ in suite.all_assets:
        found = assets()[id_]
        assert found.kind in {
            "teacher",
            "student",
            "dataset",
            "fid_reference",
            "feature_extractor",
            "autoencoder",
        }
    assert suite.files is not None
    assert assets()[suite.files.teacher].kind == "teacher" and assets()[suite.files.data].kind == "dataset"
    assert all(assets()[one.file].kind == "student" for one in suite.published)


@pytest.mark.parametrize("name", REAL)
def test_presets_say_that_they_are_untuned(name: str) -> None:
    suite = load_suite(name)
    assert all(
        preset.tuning.startswith("untuned") for preset in [*suite.methods.values(), *suite.wrappers.values()]
    )


@pytest.mark.parametrize("name", REAL)
def test_curves_and_repeats_share_no_noise(name: str) -> None:
    protocol = load_suite(name).protocol
    first = range(protocol.curve_seed, protocol.curve_seed + protocol.curve_samples)
    assert all(block + protocol.samples < first.start for block in protocol.blocks)


@pytest.mark.parametrize("name", REAL)
def test_info_names_network_files_protocols_and_students(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["info", name]) == 0
    said, suite = capsys.readouterr().out, load_suite(name)
    assert suite.model is not None and suite.model.network in said
    assert isinstance(suite.protocol, PublishedProtocol)
    for word in (*suite.own_files, *suite.protocol.others, *(one.label for one in suite.published)):
        assert word in said
