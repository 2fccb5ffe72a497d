"""A submission: a record with its weights and the digests of its samples, in one zip known by its digest."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.api import last_snapshot
from bench.errors import AssetError, BenchError, UsageError
from bench.record import Record, Row, parse_record, read_record
from bench.store import digest, file_digest
from bench.stored import StoredCell
from bench.suite_protocol import SMOKE

RECORD, WEIGHTS, MANIFEST = "record.json", "weights.safetensors", "manifest.json"
EPOCH = (1980, 1, 1, 0, 0, 0)  # of every member, so that equal submissions are equal bytes
LARGEST = 64 << 30


@dataclass(frozen=True)
class Capsule:
    """A submission that was opened: its manifest fits its files.

    Attributes:
        samples: sha256 of the samples of every block, by step count.
    """

    path: Path
    record: Record
    samples: dict[int, list[str]]

    def unpack_weights(self, folder: Path) -> Path:
        """Write the weights into a folder."""
        target = folder / WEIGHTS
        with (
            zipfile.ZipFile(self.path) as archive,
            archive.open(WEIGHTS) as source,
            target.open("wb") as sink,
        ):
            while chunk := source.read(1 << 20):
                sink.write(chunk)
        return target


def pack(folder: Path, out: Path) -> Path:
    """Pack the finished student in a cell's folder; returns the zip, whose name holds its digest.

    Raises:
        UsageError: no finished student there, or a smoke run.
        AssetError: weights or samples are missing or not those of the record.
    """
    cell = StoredCell.open(folder)
    record = cell.record
    if record.kind != "student" or record.status != "ok":
        raise UsageError(
            f"{folder}: a {record.kind} with status {record.status!r}, expected a finished student"
        )
    if record.protocol.endswith(SMOKE):
        raise UsageError(f"{folder}: a smoke run is no result")
    weights = last_snapshot(folder)
    if any(row.student_sha256 != file_digest(weights) for row in record.rows):
        raise AssetError(f"{weights}: is not the student of the record; run the cell again")
    samples = {str(row.steps): block_digests(cell, row) for row in record.rows}
    text = (folder / RECORD).read_bytes()
    files = {RECORD: hashlib.sha256(text).hexdigest(), WEIGHTS: file_digest(weights)}
    manifest = {"files": files, "samples": samples, "packages": record.provenance.packages}
    name = f"{record.suite}.{record.cell}.{digest(manifest)[:12]}.zip"
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{name}.partial"
    with zipfile.ZipFile(partial, "w") as archive:
        archive.writestr(zipfile.ZipInfo(RECORD, EPOCH), text)
        archive.writestr(
            zipfile.ZipInfo(MANIFEST, EPOCH), json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        )
        archive.writestr(zipfile.ZipInfo(WEIGHTS, EPOCH), weights.read_bytes())
    partial.replace(out / name)
    return out / name


def block_digests(cell: StoredCell, row: Row) -> list[str]:
    """sha256 of the stored samples of every block of a row."""
    paths = [folder / "samples.safetensors" for folder in cell.block_folders(row)]
    if lost := [path for path in paths if not path.is_file()]:
        raise AssetError(f"{lost[0]}: no such samples; run the cell again to draw them")
    return [file_digest(path) for path in paths]


def open_capsule(path: Path) -> Capsule:
    """Open a submission.

    Raises:
        UsageError: no zip of that form. BenchError: a file in it is not the one that its manifest names.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted((RECORD, WEIGHTS, MANIFEST)):
                raise UsageError(
                    f"{path}: holds {', '.join(archive.namelist())}, expected a submission's files"
                )
            if any(info.file_size > LARGEST for info in archive.infolist()):
                raise UsageError(f"{path}: unpacks to more than {LARGEST:,} bytes; it is not opened")
            manifest = json.loads(archive.read(MANIFEST))
            text = archive.read(RECORD)
            for name, expected in dict(manifest["files"]).items():
                if (found := member_digest(archive, name)) != expected:
                    raise BenchError(f"{path}: {name}: sha256 found {found}, expected {expected} (manifest)")
            samples = {int(steps): list(map(str, blocks)) for steps, blocks in manifest["samples"].items()}
    except (OSError, zipfile.BadZipFile, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: not a submission made by 'bench submit' ({error!r})"[:300]) from error
    return Capsule(path, parse_record(text, f"{path}: {RECORD}"), samples)


def member_digest(archive: zipfile.ZipFile, name: str) -> str:
    """sha256 of a file in a zip, read in pieces."""
    found = hashlib.sha256()
    with archive.open(name) as stream:
        while chunk := stream.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def read_statement(path: Path) -> tuple[Record, Capsule | None]:
    """The record of a file, of a cell's folder, or of a submission, with the submission.

    Raises:
        UsageError: nothing of the kind.
    """
    if path.suffix == ".zip":
        capsule = open_capsule(path)
        return capsule.record, capsule
    return read_record(path / RECORD if path.is_dir() else path), None


def manifest_fits(capsule: Capsule) -> list[str]:
    """What in a manifest contradicts the record, as clauses."""
    record, found = capsule.record, list[str]()
    for row in record.rows:
        blocks: list[Any] = capsule.samples.get(row.steps, [])
        repeats = max((len(value.values) for value in row.metrics.values()), default=0)
        if len(blocks) != repeats or blocks[:1] != [row.samples_sha256]:
            found.append(f"manifest: samples of {row.steps} steps are not those of the record")
    return found
