"""Protocols are frozen: their digests stand in tests/data/protocols.json."""

import hashlib
import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from metrics.features.registry import ENTRIES
from metrics.protocols.record import Protocol, differences
from metrics.protocols.registry import read_protocol, shipped_protocols

ALL = shipped_protocols()
FROZEN = json.loads((Path(__file__).parents[1] / "data" / "protocols.json").read_text())
NAMED = {
    "edm-fid50k-train@1", "sid-fid50k-train@1", "dmd2-fid50k-train@1", "edm2-fid50k-train@1",
    "edm2-fddinov2-50k@1", "adm-fid50k@1", "coco30k-cleanfid256@1", "coco30k-clipvitg14@1",
    "coco10k-fid512@1", "coco10k-patchfid299@1", "coco30k-clipvitb32@1", "suite-fid50k@1",
    "suite-fid50k-tf@1", "suite-fid5k-dev@1", "latency-b1@1", "latency-b1-cpu@1", "throughput-bmax@1",
    "gmm2d@1", "gmm2d-grid@1", "digits@1", "shapes@1",
}  # fmt: skip


def frozen(protocol: Protocol) -> dict[str, object]:
    """Digest of everything but file digests, and those that are pinned."""
    raw = protocol.model_dump(mode="json", exclude={"title", "used_by", "adapted"})
    pinned: dict[str, str] = {}

    def strip(value):
        if isinstance(value, dict):
            if "sha256" in value:
                if value["sha256"]:
                    pinned[value["id"]] = value["sha256"]
                value = {key: inner for key, inner in value.items() if key != "sha256"}
            return {key: strip(inner) for key, inner in value.items()}
        return [strip(inner) for inner in value] if isinstance(value, list) else value

    text = json.dumps(strip(raw), sort_keys=True)
    return {"fields": hashlib.sha256(text.encode()).hexdigest(), "pinned": pinned}


def test_every_named_protocol_ships():
    assert set(ALL) >= NAMED


@pytest.mark.parametrize("name", ALL)
def test_a_protocol_never_changes(name):
    """A new protocol is added to the file; a changed one needs a new version; a digest is pinned once."""
    now, then = frozen(ALL[name]), FROZEN[name]
    assert now["fields"] == then["fields"]
    assert {asset: now["pinned"].get(asset) for asset in then["pinned"]} == then["pinned"]


def test_no_protocol_disappears():
    assert set(FROZEN) == set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_extractors_are_those_of_the_registry(name):
    protocol = ALL[name]
    for part in filter(None, (protocol.extractor, protocol.clip)):
        known = ENTRIES[part.name]
        assert known.sha256 in (None, part.asset.sha256)
    if protocol.extractor:
        known = ENTRIES[protocol.extractor.name]
        assert (known.dimension, known.resize) == (protocol.extractor.dimension, protocol.extractor.resize)
    assert all(ENTRIES[p.name].asset in (None, p.asset.id) for p in (protocol.extractor, protocol.clip) if p)


def test_fields_are_named_by_parts_and_nulls_are_left_out():
    fields = ALL["edm-fid50k-train@1"].fields()
    assert fields["sampling.samples"] == 50_000 and fields["repeats.aggregate"] == "min"
    assert fields["extractor.asset"].endswith(
        "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4"
    )
    assert fields["reference.assets"][0] == "fidref/edm/cifar10-32x32, 50,000 samples, sha256 not pinned"
    assert not {"clip", "title", "used_by", "pixels.size"} & set(fields)


def test_differences_name_exactly_the_fields():
    a = ALL["suite-fid50k@1"]
    raw = a.model_dump()
    raw["pixels"]["rounding"] = "truncate"
    raw["frechet"]["divisor"] = "N"
    b = Protocol.model_validate({**raw, "id": "other@1", "title": "another"})
    assert differences(a, b) == [
        ("pixels.rounding", "half-up", "truncate"),
        ("frechet.divisor", "N-1", "N"),
    ]
    assert differences(a, a) == []
    only = [name for name, x, _ in differences(a, ALL["latency-b1@1"]) if x is None]
    assert "timing.batch" in only


def test_a_protocol_without_a_digest_is_provisional():
    assert "fidref/edm/cifar10-32x32" in ALL["suite-fid50k@1"].provisional()
    assert "a reference" in ALL["suite-fid50k-tf@1"].provisional()
    assert ALL["digits@1"].provisional() == ALL["gmm2d@1"].provisional() == ""


def test_a_protocol_is_frozen_in_memory_too():
    with pytest.raises(ValidationError):
        ALL["digits@1"].title = "x"  # type: ignore[misc]


def toml_of(name: str) -> str:
    import metrics.protocols

    return (Path(metrics.protocols.__file__).parent / f"{name}.toml").read_text()


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(toml_of("digits@1").replace('"digits@1"', '"mine@1"').replace("2000", "50"))
    mine = read_protocol(path)
    assert mine.id == "mine@1" and ("sampling.samples", 2000, 50) in differences(ALL["digits@1"], mine)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "samples = 2000",
            "samples = 1999",
            "digits@1 is the id of a protocol that ships",
        ),
        ("samples = 2000", "sample = 2000", "unknown key 'sampling.sample'"),
        ("samples = 2000", "", "key 'sampling.samples': found nothing, expected a value"),
        ('"half-up"', '"nearest"', "key 'pixels.rounding': found 'nearest', expected"),
        ("[1000, 1001, 1002]", "[1000]", "1 sampling.blocks for 3 repeats"),
        ("[sampling]", "[sampling", "not valid TOML"),
        ('"c331511', '"xyz1511', "key 'extractor.asset.sha256'"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path, old, new, message):
    path = tmp_path / "mine.toml"
    assert old in toml_of("digits@1")
    path.write_text(toml_of("digits@1").replace(old, new, 1))
    with pytest.raises(ValueError) as caught:
        read_protocol(path)
    assert str(path) in str(caught.value) and message in str(caught.value)
    assert "\n" not in str(caught.value).rstrip()


def test_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match="cannot read the protocol file"):
        read_protocol(tmp_path / "none.toml")
