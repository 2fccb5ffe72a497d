"""What is keyed by the images that it is made from: trainings on them, and the row that shows them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from bench import training_data
from bench.cell import Cell
from bench.errors import AssetError
from bench.image_evaluation import ImageEvaluator
from bench.lab import Lab
from bench.own_suite import write_suite
from bench.parts import Files, Model
from bench.progress import PlainReporter
from bench.request import Request, resolve
from bench.runner import Runner
from bench.stages import Bench
from bench.store import Store
from bench.suite_protocol import PublishedProtocol
from metrics.protocols.record import Protocol


@pytest.fixture
def cells(own: tuple[Path, Path], tmp_path: Path) -> dict[str, Cell]:
    """A method that sees the images of a suite of one's own, and one that sees none."""
    path = write_suite("mine", *own, tmp_path)
    methods = ("lcm", "sid")
    asked = Request(str(path), methods=methods, nfe=(1,), references=False)
    return {cell.label: cell for cell in resolve(asked)[1]}


def read(cell: Cell) -> str:
    """The digest of what a cell learns from, as a process finds it that has seen no file."""
    training_data._kept.cache_clear()
    return training_data.training_data(cell)["data"]


def test_another_image_or_name_is_another_training(own: tuple[Path, Path], cells: dict[str, Cell]) -> None:
    images, cell = own[0], cells["lcm"]
    found = [read(cell)]
    picture = images / "3.png"
    before = picture.stat()
    picture.write_bytes(picture.read_bytes()[:-1] + b"\0")
    os.utime(picture, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    found.append(read(cell))
    (images / "5").mkdir()
    picture.rename(images / "5" / "3.png")  # of another class
    found.append(read(cell))
    assert len(set(found)) == 3
    sid = cells["sid"]
    labelled = cast(Model, sid.suite.model).model_copy(update={"classes": 3})
    for suite in (sid.suite, sid.suite.model_copy(update={"model": labelled})):  # it draws labels by itself
        assert training_data.training_data(replace(sid, suite=suite)) == {}


def test_unchanged_images_are_read_once(cells: dict[str, Cell], monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(cells["lcm"])
    monkeypatch.setattr(training_data, "_images", lambda folder: pytest.fail("read again"))
    assert read(cells["lcm"]) == first


def test_a_zip_is_its_bytes(own: tuple[Path, Path], tmp_path: Path) -> None:
    images, path = own[0], tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(images.iterdir()):
            archive.write(file, file.name)
    first = training_data.data_sha256(str(path))
    with zipfile.ZipFile(path, "a") as archive:
        archive.write(images / "0.png", "more.png")
    training_data._kept.cache_clear()
    assert training_data.data_sha256(str(path)) != first


def test_lost_images_are_one_sentence(own: tuple[Path, Path], cells: dict[str, Cell]) -> None:
    own[0].rename(own[0].with_name("elsewhere"))
    with pytest.raises(AssetError, match="my images"):
        read(cells["lcm"])


def test_real_images_and_their_labels_are_keyed(own: tuple[Path, Path], cells: dict[str, Cell]) -> None:
    suite = cells["lcm"].suite
    protocol = cast(PublishedProtocol, suite.protocol)
    evaluator = ImageEvaluator(protocol.law, cast(Model, suite.model), cast(Files, suite.files))
    data = {"data": training_data.data_sha256(cast(Files, suite.files).data)}
    assert evaluator.drawn_from(anchor=True) == data and evaluator.drawn_from(anchor=False) == {}
    law, model = protocol.law, cast(Model, suite.model).model_copy(update={"classes": 3})
    assert law.sampling is not None
    asked = law.sampling.model_copy(update={"labels": "empirical"})
    drawn = cast(Protocol, law.model_copy(update={"sampling": asked}))
    assert replace(evaluator, law=drawn, model=model).drawn_from(anchor=False) == data


def test_the_record_of_other_real_images_counts_no_more(own: tuple[Path, Path], tmp_path: Path) -> None:
    path = write_suite("mine", *own, tmp_path)
    path.write_text(path.read_text() + "\n[smoke]\nwork = 60\nsamples = 8\nbatch = 2\n")
    suite, cells, _ = resolve(Request(str(path), students=False, smoke=True))
    (anchor,) = (cell for cell in cells if cell.kind == "anchor")
    runner = Runner(
        Bench(Lab.open(suite), Store(tmp_path / "runs"), PlainReporter(lambda line: None), ""), None
    )
    before = runner._made_from(anchor)
    (own[0] / "3.png").rename(own[0] / "a.png")
    training_data._kept.cache_clear()
    after = runner._made_from(anchor)
    assert before["with"].pop("data") != after["with"].pop("data") and before == after
