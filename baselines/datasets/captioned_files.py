"""Captions, and pictures with captions, in files: what trainings of text-to-image models draw from."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from baselines.datasets.order import rows_at
from baselines.datasets.stored_images import BROKEN, FORMATS

INDEX = "metadata.jsonl"  # of a folder of pictures, as Hugging Face's "imagefolder" has it
FILE, TEXT = "file_name", "text"


@dataclass(frozen=True, eq=False)
class CaptionList:
    """Captions without pictures, for methods that need no data.

    Attributes:
        texts: in the order of the file.
    """

    path: Path
    texts: Sequence[str]

    @staticmethod
    def open(path: Path) -> CaptionList:
        """Read a text file with one caption a line, or a pickled list of captions (DMD2's); runs nothing.

        Raises:
            ValueError: unreadable, something else in the pickle, no caption, or an empty one.
        """
        texts = pickled(path) if path.suffix == ".pkl" else lines_of(path)
        if not texts:
            raise ValueError(f"{path}: no captions; expected one a line")
        empty = next((number for number, text in enumerate(texts, 1) if not text.strip()), None)
        if empty is not None:
            raise ValueError(f"{path}: caption {empty} of {len(texts)} is empty; expected words")
        return CaptionList(path, texts)

    def batch(self, seed: int, iteration: int, size: int) -> tuple[None, Sequence[str]]:
        """No pictures, and the captions of a batch."""
        return None, self.captions(seed, iteration, size)

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        """Those of batch ``iteration`` of endlessly reshuffled epochs."""
        return [self.texts[row] for row in rows_at(seed, iteration * size, size, len(self.texts))]


@dataclass(frozen=True, eq=False)
class CaptionedPictures:
    """A folder of pictures with ``metadata.jsonl``: a line ``{"file_name": ..., "text": ...}`` for each.

    Attributes:
        names: of the pictures, relative to the folder; texts: their captions, in the same order.
        side: pixels to which the centre square of a picture is brought, by PIL's Lanczos.
    """

    path: Path
    names: Sequence[str]
    texts: Sequence[str]
    side: int

    @staticmethod
    def open(path: Path, side: int) -> CaptionedPictures:
        """Read the index; raises ValueError as ``read_index`` does."""
        return CaptionedPictures(path, *read_index(path), side)

    def batch(self, seed: int, iteration: int, size: int) -> tuple[np.ndarray, Sequence[str]]:
        """Pictures uint8 ``[N, 3, side, side]`` and captions of a batch, reshuffled every epoch."""
        rows = self._rows(seed, iteration, size)
        return np.stack([self.picture(row) for row in rows]), [self.texts[row] for row in rows]

    def captions(self, seed: int, iteration: int, size: int) -> Sequence[str]:
        """The same captions alone."""
        return [self.texts[row] for row in self._rows(seed, iteration, size)]

    def picture(self, row: int) -> np.ndarray:
        """One picture, uint8 ``[3, side, side]``; raises ValueError naming a file that is none."""
        file = self.path / self.names[row]
        try:
            # filters of warnings are those of all threads, and this one may read ahead: they stay as they are
            found = Image.open(io.BytesIO(file.read_bytes()), formats=FORMATS)
            if found.width * found.height > (Image.MAX_IMAGE_PIXELS or np.inf):
                raise ValueError(f"{found.width} x {found.height} pixels, at most {Image.MAX_IMAGE_PIXELS:,}")
            image = found.convert("RGB")
        except BROKEN as error:
            raise ValueError(f"{file}: not a whole image file ({error}); make it again") from error
        least = min(image.size)
        left, top = (image.width - least) // 2, (image.height - least) // 2
        square = image.crop((left, top, left + least, top + least))
        scaled = square.resize((self.side, self.side), Image.Resampling.LANCZOS)
        return np.asarray(scaled).transpose(2, 0, 1)

    def _rows(self, seed: int, iteration: int, size: int) -> list[int]:
        found: list[int] = rows_at(seed, iteration * size, size, len(self.names)).tolist()
        return found


def lines_of(path: Path) -> list[str]:
    """Lines of a text file; raises ValueError if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); expected UTF-8, one caption a line") from error


def read_index(path: Path) -> tuple[list[str], list[str]]:
    """Names and captions of a folder of pictures.

    Raises:
        ValueError: no index, a line that is none, an empty caption, or a name out of the folder.
    """
    names, texts = [], []
    for number, line in enumerate(lines_of(path / INDEX), 1):
        name, text = entry(f"{path / INDEX}: line {number}", line)
        if not (path / name).resolve().is_relative_to(path.resolve()):
            raise ValueError(f"{path / INDEX}: line {number}: {name!r} leads out of the folder")
        names.append(name)
        texts.append(text)
    if not names:
        raise ValueError(f"{path / INDEX}: no pictures; expected a line for each")
    return names, texts


def entry(where: str, line: str) -> tuple[str, str]:
    """Name and caption of a line of the index; raises ValueError for any other."""
    try:
        found = json.loads(line)
        name, text = found[FILE], found[TEXT]
        good = isinstance(name, str) and isinstance(text, str) and bool(text.strip())
    except (json.JSONDecodeError, KeyError, TypeError):
        good = False
    if not good:
        shown = line[:80]
        raise ValueError(f'{where}: found {shown!r}, expected {{"{FILE}": NAME, "{TEXT}": CAPTION}}')
    return name, text


class PlainOnly(pickle.Unpickler):
    """Reads numbers, strings and containers of them; any name in the file is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not allowed")


def pickled(path: Path) -> list[str]:
    """A pickled list of strings; raises ValueError for anything else."""
    try:
        with path.open("rb") as stream:
            found = PlainOnly(stream).load()
    except Exception as error:  # unpickling garbage can raise anything
        raise ValueError(f"{path}: not a pickled list of captions ({error}); nothing was run") from error
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{path}: holds {type(found).__name__}, expected a list of captions")
    return found
