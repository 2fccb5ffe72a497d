"""Suite files that installed packages bring, found without importing them. Imports no numerics.

An entry point of group ``distillbench.suites`` names a package folder: ``my_suites = "my_package.suites"``.
Every ``*.toml`` in it is a suite by the name of its file.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from bench.errors import UsageError
from bench.plugins.groups import SUITES


def brought_suites() -> dict[str, Path]:
    """Suite files of installed packages, by name.

    Raises:
        UsageError: an entry point that names no folder with suite files, or two suites of one name.
    """
    found: dict[str, Path] = {}
    for point in sorted(entry_points(group=SUITES), key=lambda each: each.value):
        for path in suite_files(point):
            if path.stem in found and found[path.stem] != path:
                both = f"{found[path.stem]} and {path}"
                raise UsageError(f"two installed packages bring suite {path.stem!r}: {both}; remove one")
            found[path.stem] = path
    return found


def suite_files(point: EntryPoint) -> list[Path]:
    """The suite files in the folder that an entry point names."""
    top, *below = point.value.split(".")
    spec = find_spec(top)  # of the outermost package, which is so not imported
    places = list(spec.submodule_search_locations or ()) if spec else []
    files = [file for place in places for file in sorted(Path(place).joinpath(*below).glob("*.toml"))]
    if not files:
        raise UsageError(
            f"entry point {point.name} = {point.value!r} of group {SUITES}: found no folder with suite files "
            "(*.toml)"
        )
    return files
