"""EDM, EDM2 and SiD pickles: read to the same bytes, and nothing in them is ever run."""

from __future__ import annotations

import hashlib
import io
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from published_files import (
    ADM,
    EDM2,
    NCSNPP,
    SONG,
    Embedded,
    dump,
    edm_network,
    legacy_bytes,
    random_state,
    write_edm,
    write_edm2,
)
from torch.storage import _load_from_bytes

from baselines.checkpoints import CheckpointError, read_checkpoint
from baselines.checkpoints.architecture import DhariwalConfig, SongConfig
from baselines.checkpoints.layout import Shapes, expected_shapes
from baselines.checkpoints.openai import openai_config, openai_names
from baselines.checkpoints.plain_storage import plain_storage
from baselines.checkpoints.storages import Storage, read_numbers
from baselines.checkpoints.unpickle import SafeUnpickler, unpickle

CIFAR = SongConfig(32, 3, 3, 0, 9, 128, (2, 2, 2), 4, 4, (16,))
CIFAR_VE = SongConfig(32, 3, 3, 0, 9, 128, (2, 2, 2), 4, 4, (16,), "fourier", "residual", 2, (1, 3, 3, 1))
IMAGENET = DhariwalConfig(64, 3, 3, 1000, 0, 192, (1, 2, 3, 4), 4, 3, (32, 16, 8))
PUBLISHED = [  # sha256 over "name AxBxC" lines of the released state dicts, first 16 digits
    (CIFAR, 425, "0d4b9669aa5a851a"),
    (SongConfig(32, 3, 3, 10, 9, 128, (2, 2, 2), 4, 4, (16,)), 427, "fe2292b90f552c13"),
    (CIFAR_VE, 432, "ee4adba2bb01d0d7"),
    (SongConfig(64, 3, 3, 0, 9, 128, (1, 2, 2, 2), 4, 4, (16,)), 553, "e084d17b246e6a9e"),
    (
        SongConfig(64, 3, 3, 0, 9, 128, (1, 2, 2, 2), 4, 4, (16,), "fourier", "residual", 2, (1, 3, 3, 1)),
        563,
        "8bc7a5c14539c609",
    ),
    (IMAGENET, 553, "f6b95463c946e7bb"),
]


def digest(lines: list[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def lines(shapes: Shapes) -> list[str]:
    return [f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()]


@pytest.mark.parametrize(("config", "tensors", "expected"), PUBLISHED)
def test_layouts_are_those_of_the_full_size_networks(config: Any, tensors: int, expected: str) -> None:
    shapes = expected_shapes(config)
    assert (len(shapes), digest(lines(shapes))) == (tensors, expected)


def test_names_of_openai_are_the_published_ones() -> None:
    names = openai_names(IMAGENET)
    assert (len(names), digest(sorted(names.values()))) == (541, "a761555b497d81ab")
    assert openai_config(openai_shapes(IMAGENET)) == IMAGENET


def openai_shapes(config: DhariwalConfig) -> Shapes:
    shapes, names = expected_shapes(config), openai_names(config)
    found = {theirs: shapes[ours] for ours, theirs in names.items()}
    return found | {"label_emb.weight": found["label_emb.weight"][::-1]}


@pytest.mark.parametrize("config", [SONG, NCSNPP, ADM], ids=["ddpm++", "ncsn++", "adm"])
def test_a_teacher_is_read_to_the_same_bytes(tmp_path: Path, config: Any) -> None:
    path = tmp_path / "edm.pkl"
    state = write_edm(path, config)
    found = read_checkpoint(path)
    assert list(found.tensors) == list(state)
    assert all(torch.equal(value, state[name]) for name, value in found.tensors.items())
    assert found.architecture.config == config
    assert (found.kind, found.ema_key, found.extras) == ("edm", "ema", ())
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.licence.commercial is False and "BY-NC-SA" in found.licence.name
    form = found.architecture.preconditioning
    assert form is not None and (form.form, form.sigma_min, form.sigma_max) == ("edm", 0.0, None)
    assert found.architecture.use_fp16 == (config is ADM)


def test_a_student_of_sid_holds_its_network_alone(tmp_path: Path) -> None:
    state = random_state(expected_shapes(SONG))
    (tmp_path / "sid.pkl").write_bytes(dump({"ema": edm_network(SONG, state)}))
    found = read_checkpoint(tmp_path / "sid.pkl")
    assert list(found.tensors) == list(state) and found.architecture.config == SONG


def test_edm2_keeps_half_precision_and_the_latents(tmp_path: Path) -> None:
    state = write_edm2(tmp_path / "edm2.pkl")
    found = read_checkpoint(tmp_path / "edm2.pkl")
    assert found.architecture.config == EDM2 and found.kind == "edm2"
    assert all(value.dtype == torch.float16 for value in found.tensors.values())
    assert all(torch.equal(value, state[name]) for name, value in found.tensors.items())
    assert found.latents is not None
    assert (found.latents.scale, found.latents.bias) == ((1.0, 2.0, 3.0, 4.0), (-1.0, -2.0, -3.0, -4.0))


def test_baselines_bring_their_constants_and_tables(tmp_path: Path) -> None:
    state = random_state({"u": (11,)} | expected_shapes(SONG))
    constants = {"C_1": 0.001, "C_2": 0.008, "M": 10, "sigma_max": 80.0}
    write_edm(tmp_path / "x.pkl", SONG, state, class_name="iDDPMPrecond", **constants)
    found = read_checkpoint(tmp_path / "x.pkl")
    form = found.architecture.preconditioning
    assert form is not None and form.form == "iddpm" and dict(form.constants)["M"] == 10.0
    assert found.extras == ("u",) and form.sigma_max == 80.0


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> Any:
        return self.parts


def refused(path: Path, content: Any) -> str:
    path.write_bytes(content if isinstance(content, bytes) else dump(content))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ") and "\n" not in text
    return text


@pytest.fixture
def weapon(tmp_path: Path) -> Any:
    """A call that would leave a mark, checked after the test."""
    mark = tmp_path / "mark"
    yield Call(os.system, f"touch {mark}")
    assert not mark.exists()


def test_a_foreign_global_stops_with_its_name(tmp_path: Path, weapon: Any) -> None:
    network = edm_network(SONG, random_state(expected_shapes(SONG)))
    text = refused(tmp_path / "a.pkl", {"ema": network, "loss_fn": weapon})
    assert f"asks for {os.system.__module__}.system" in text and "nothing of it was run" in text


def test_a_payload_in_a_nested_storage_is_refused(tmp_path: Path, weapon: Any) -> None:
    network = edm_network(SONG, random_state(expected_shapes(SONG)))
    hidden = Call(_load_from_bytes, legacy_bytes(weapon))
    text = refused(tmp_path / "a.pkl", {"ema": network, "augment_pipe": hidden})
    assert f"asks for {os.system.__module__}.system inside a nested storage" in text


def test_a_nested_storage_holds_a_storage_and_nothing_else(tmp_path: Path) -> None:
    network = edm_network(SONG, random_state(expected_shapes(SONG)))
    hidden = Call(_load_from_bytes, legacy_bytes({"a": 1}))
    assert "holds a nested dict" in refused(tmp_path / "a.pkl", {"ema": network, "x": hidden})
    hidden = Call(_load_from_bytes, b"no storage")
    assert "cannot be read as numbers" in refused(tmp_path / "b.pkl", {"ema": network, "x": hidden})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_plain_storages_are_what_torch_reads(dtype: torch.dtype) -> None:
    numbers = torch.arange(-3, 4).to(dtype)
    raw = legacy_bytes(numbers._typed_storage())
    found = plain_storage(raw)
    assert found is not None and found[1] == dtype
    assert torch.equal(torch.empty(0, dtype=dtype).set_(found[0]), numbers)
    typed = read_numbers(raw)
    assert torch.equal(torch.empty(0, dtype=dtype).set_(typed._untyped_storage), numbers)
    for other in (raw[:-1], raw + b"x", raw[:40], legacy_bytes(numbers), legacy_bytes({"a": 1}), b""):
        assert plain_storage(other) is None


def test_storages_of_other_types_are_left_to_torch() -> None:
    storage = Storage(legacy_bytes(torch.arange(5, dtype=torch.uint8)._typed_storage()))
    storage.open()
    assert storage.view(1, (3,), (1,)).tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"ema": Embedded("Generator")}, "holds a Generator under 'ema', expected one of EDMPrecond"),
        ({"ema": {"a": 1}}, "holds a dict under 'ema'"),
        ({"net": Embedded("EDMPrecond")}, "no network under 'ema' (found: net)"),
        ([1, 2], "no network under 'ema' (found: list)"),
        (
            {"ema": Embedded("EDMPrecond", _modules={"model": Embedded("Dataset")})},
            "holds a Dataset as 'model'",
        ),
        ({"ema": Embedded("EDMPrecond", _modules=3)}, "holds a NoneType as 'model'"),
    ],
)
def test_wrong_classes_are_named(tmp_path: Path, content: Any, words: str) -> None:
    assert words in refused(tmp_path / "a.pkl", content)


def test_a_pickle_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    write_edm(tmp_path / "whole.pkl")
    whole = (tmp_path / "whole.pkl").read_bytes()
    for part in (0.01, 0.3, 0.7, 0.999):
        text = refused(tmp_path / "cut.pkl", whole[: int(len(whole) * part)])
        assert "cut short or damaged" in text and "fetch it again" in text
    assert "goes on after its end" in refused(tmp_path / "long.pkl", whole + b"x")


def test_missing_and_unexpected_parameters_are_named(tmp_path: Path) -> None:
    state = random_state(expected_shapes(SONG))
    name = "model.dec.4x4_in1.norm0.bias"
    less = {key: value for key, value in state.items() if key != name}
    path = tmp_path / "a.pkl"
    assert f"lacks {name}" in refused(path, {"ema": edm_network(SONG, less)})
    more = state | {"model.enc.8x8_block0.gate": torch.zeros(1)}
    assert "has unexpected model.enc.8x8_block0.gate" in refused(path, {"ema": edm_network(SONG, more)})
    other = state | {name: torch.zeros(3)}
    assert f"has {name} of shape (3,), expected (16,)" in refused(path, {"ema": edm_network(SONG, other)})
    network = edm_network(SONG, state, img_resolution=64)
    assert "has img_resolution = 64, its tensors say 8" in refused(path, {"ema": network})


def test_tensors_stay_inside_their_storage(tmp_path: Path) -> None:
    storage = Call(_load_from_bytes, legacy_bytes(torch.zeros(4)._typed_storage()))
    rebuild = torch._utils._rebuild_tensor_v2

    def with_tensor(*view: Any) -> Any:
        network = edm_network(SONG, random_state(expected_shapes(SONG)))
        network.state["_buffers"]["u"] = Call(rebuild, storage, *view, False, OrderedDict())
        return {"ema": network}

    text = refused(tmp_path / "a.pkl", with_tensor(1, (4,), (1,)))
    assert "larger than its storage" in text
    assert "impossible size" in refused(tmp_path / "b.pkl", with_tensor(0, (-1,), (1,)))
    assert "impossible size" in refused(tmp_path / "c.pkl", with_tensor(0, (2, 2), (1,)))


def test_modules_nested_without_end_are_refused(tmp_path: Path) -> None:
    network = edm_network(SONG, random_state(expected_shapes(SONG)))
    deep: Any = Embedded("Layer")
    for _ in range(60):
        deep = Embedded("Layer", _modules={"a": deep})
    network.state["_modules"]["deep"] = deep
    assert "nested without end" in refused(tmp_path / "a.pkl", {"ema": network})


GLOBALS = list(SafeUnpickler(io.BytesIO())._table)
STATE = b"}\x8c\x01a\x8c\x01bs"  # {"a": "b"}


@pytest.mark.parametrize("name", GLOBALS, ids=".".join)
@pytest.mark.parametrize("state", [STATE, b"N" + STATE + b"\x86"], ids=["attributes", "slots"])
def test_no_name_of_the_table_can_be_changed_by_a_pickle(tmp_path: Path, name: Any, state: bytes) -> None:
    """The opcode BUILD on the global itself, with a dictionary and with slots."""
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04c" + "\n".join(name).encode() + b"\n" + state + b"b.")
    with pytest.raises(CheckpointError):
        unpickle(path)
    assert not hasattr(SafeUnpickler(io.BytesIO()).find_class(*name), "a")


@pytest.mark.parametrize("dtype", ["O8", "V4", "U3", "datetime64"])
def test_arrays_hold_plain_numbers(tmp_path: Path, dtype: str) -> None:
    pickled = b"\x80\x04cnumpy\ndtype\n\x8c" + bytes([len(dtype)]) + dtype.encode() + b"\x85R."
    assert "expected plain numbers" in refused(tmp_path / "a.pkl", pickled)


@pytest.mark.parametrize(
    "name", ["builtins.eval", "collections.OrderedDict.fromkeys", "torch.load", "posix.system"]
)
def test_the_table_is_exact(tmp_path: Path, name: str) -> None:
    module, _, rest = name.partition(".")
    pickled = (
        b"\x80\x04" + b"".join(b"\x8c" + bytes([len(x)]) + x.encode() for x in (module, rest)) + b"\x93."
    )
    assert f"asks for {name}" in refused(tmp_path / "a.pkl", pickled)
