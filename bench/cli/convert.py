"""``bench convert FILE``: a published weight file as safetensors with a record, read once and safely."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.errors import AssetError, BenchError, UsageError, unknown

File = Annotated[
    Path, typer.Argument(help="pickle of EDM, EDM2 or SiD; .pt, .bin or .safetensors of DMD2, OpenAI, ...")
]
Out = Annotated[
    Path | None, typer.Option(help="file to write (*.safetensors) [default: FILE's name, beside it]")
]
Digest = Annotated[str | None, typer.Option("--sha256", help="digest that FILE must have")]
Role = Annotated[
    str | None, typer.Option(help="teacher or student, of an OpenAI file whose name does not tell")
]
Resolution = Annotated[int | None, typer.Option(min=8, help="side of the images of an OpenAI file")]


def convert(
    file: File, out: Out = None, sha256: Digest = None, role: Role = None, resolution: Resolution = None
) -> None:
    """Read a published weight file without running anything in it; write safetensors and a JSON record.

    Nothing is written when the output is up to date, or when anything about the file is wrong.
    """
    if role not in (None, "teacher", "student"):
        raise unknown("role", role, ["teacher", "student"], "--role")
    if sha256 is not None and (len(sha256) != 64 or set(sha256.lower()) - set("0123456789abcdef")):
        raise UsageError(f"--sha256: {sha256!r} is no sha256; expected 64 hexadecimal digits")
    if not file.is_file():
        raise AssetError(f"{file}: no such file; fetch it first")
    target = target_of(file, out)
    from baselines.checkpoints.errors import CheckpointError
    from baselines.checkpoints.reading import read_checkpoint
    from baselines.checkpoints.sniff import file_digest
    from baselines.checkpoints.stored import is_current, save_converted

    options = {"role": role, "resolution": resolution}
    digest = file_digest(file)
    if (sha256 is None or sha256.lower() == digest) and is_current(target, digest, options):
        typer.echo(f"{target} is up to date with {file} (sha256 {digest}); nothing written")
        return
    check_free(target)
    try:
        checkpoint = read_checkpoint(file, sha256=sha256, **options)  # type: ignore[arg-type]
    except CheckpointError as error:
        raise BenchError(str(error)) from None
    try:
        record = save_converted(checkpoint, target, file.name, options)
    except Exception as error:  # safetensors has errors of its own for a full disk
        raise BenchError(f"{target}: cannot be written ({error}); nothing of it is left") from None
    typer.echo(f"wrote {target}\n{summary(record)}\n{checkpoint.licence.sentence()}")


def target_of(file: Path, out: Path | None) -> Path:
    """Where the weights go; the record lies beside them."""
    if out is not None and out.suffix != ".safetensors":
        raise UsageError(f"--out: {out} must end in .safetensors; the record gets the same name with .json")
    target = out or file.with_suffix(".safetensors")
    if target.resolve() == file.resolve():
        raise UsageError(f"{file}: the output would replace the file itself; name another with --out")
    return target


def check_free(target: Path) -> None:
    """Only what this verb wrote is replaced; raises UsageError for other files."""
    from baselines.checkpoints.stored import read_record, record_path

    for path in (target, record_path(target)):
        if path.exists() and read_record(target) is None:
            raise UsageError(f"{path} exists and was not written by bench convert; move it or choose --out")


def summary(record: dict[str, Any]) -> str:
    """What was read, in three lines."""
    source, network = record["source"], record["architecture"]["network"]
    lines = [
        f"{record['kind']}: {network}, {record['tensors']} tensors, {record['parameters']:,} numbers",
        f"source sha256 {source['sha256']}",
        f"output sha256 {record['sha256']}",
    ]
    if record["extras"]:
        extras = record["extras"]
        more = f" and {len(extras) - 4} more" if len(extras) > 4 else ""
        lines.append(f"left out, no part of the network: {', '.join(extras[:4])}{more}")
    return "\n".join(lines)
