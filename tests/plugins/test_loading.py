"""Methods of others from a file, a folder and an entry point: one class, one digest, clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from plugin_sources import install, method, package

from bench.catalog import METHODS
from bench.closure import closure_digest, imported_files, is_project
from bench.errors import UsageError
from bench.meter import Meter
from bench.methods import MethodRegistry
from bench.plugins.loading import load_methods
from bench.plugins.suites import brought_suites
from bench.suite import load_suite, suite_names


@pytest.fixture(autouse=True)
def fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules of plugins are forgotten between tests."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [
        name for name in sys.modules if name.startswith(("small_package", "bench_plugin_", "helper"))
    ]:
        del sys.modules[name]
    closure_digest.cache_clear()


def digest_of(*plugins: Path) -> str:
    return MethodRegistry(plugins).find("small").closure_sha256


def test_three_ways_are_one_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = package(tmp_path / "one" / "deep")
    lone = tmp_path / "a_lone_file.py"
    lone.write_text(method())
    inside = folder / "src" / "small_package" / "method.py"
    digests = [digest_of(lone), digest_of(inside), digest_of(folder)]
    install(folder, tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(folder / "src")
    found = MethodRegistry().find("small")
    assert {*digests, found.closure_sha256} == {digests[0]}
    assert (found.version, MethodRegistry((folder,)).find("small").version) == ("2.1", "2.1")
    assert MethodRegistry((lone,)).find("small").version == "plugin"
    assert not found.ships and all(MethodRegistry().find(name).ships for name in METHODS)


def test_digest_of_a_built_in_has_project_files_only() -> None:
    root = next(path for path in sys.path if (Path(path) / "baselines" / "sid.py").is_file())
    files = imported_files(Path(root) / "baselines" / "sid.py")
    assert files and all(is_project(file.resolve()) for file in files)


def test_digest_sees_helpers_and_initialisers_and_not_the_place(tmp_path: Path) -> None:
    source = method(imports="from .helper import WEIGHT")
    folders = []
    for number, (helper, init) in enumerate(
        [("WEIGHT = 1", ""), ("WEIGHT = 2", ""), ("WEIGHT = 1", "import os")]
    ):
        folder = package(tmp_path / ("x" * (number + 1)), source, init)
        (folder / "src" / "small_package" / "helper.py").write_text(helper)
        folders.append(folder)
    same = package(tmp_path / "elsewhere" / "same", source, "")
    (same / "src" / "small_package" / "helper.py").write_text("WEIGHT = 1")
    code = Path("src") / "small_package" / "method.py"
    digests = [closure_digest((folder / code).resolve()) for folder in (*folders, same)]
    assert len(set(digests)) == 3 and digests[3] == digests[0]


def test_a_lone_file_may_import_its_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(method(imports="from helper_beside import WEIGHT"))
    (tmp_path / "helper_beside.py").write_text("WEIGHT = 1")
    first = digest_of(path)
    closure_digest.cache_clear()
    (tmp_path / "helper_beside.py").write_text("WEIGHT = 2")
    assert digest_of(path) != first


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("import torch\ntorch.set_default_dtype(torch.float64)", "changes torch's default dtype on import"),
        ("import torch\ntorch.set_num_threads(3)", "changes torch's number of threads on import"),
        (
            "from bench.meter import Meter\nMeter.charge = lambda self, *a, **k: None",
            "changes bench.meter.Meter.charge on import",
        ),
        (
            "from bench.meter import Meter\nMeter.charge.__code__ = (lambda self, role, samples, cost, *, "
            "backward=0.0: None).__code__",
            "changes bench.meter.Meter.charge on import",
        ),
        ("raise SystemExit(0)", "raised SystemExit on import"),
        ("1 / 0", "raised ZeroDivisionError on import"),
    ],
)
def test_a_bad_import_is_undone_and_refused(lines: str, expected: str, tmp_path: Path) -> None:
    before = torch.get_default_dtype(), torch.get_num_threads(), Meter.charge.__code__
    path = tmp_path / "mine.py"
    path.write_text(method(imports=lines))
    with pytest.raises(UsageError, match=expected.replace(".", r"\.")):
        load_methods(path)
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), Meter.charge.__code__)
    meter = Meter()
    meter.charge("student", 2, 1.0)
    assert meter.work() == 2


def test_wrong_folders_and_entry_points(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"found no pyproject\.toml, expected a Python file or a package"):
        load_methods(tmp_path)
    folder = package(tmp_path / "package")
    text = (folder / "pyproject.toml").read_text()
    (folder / "pyproject.toml").write_text(text.replace('small = "', 'other = "'))
    with pytest.raises(UsageError, match="entry point other leads to a method named 'small'"):
        load_methods(folder)
    (folder / "pyproject.toml").write_text(text.replace(":Small", ":Absent"))
    with pytest.raises(UsageError, match="expected a subclass of Distiller"):
        load_methods(folder)
    (folder / "pyproject.toml").write_text(text.partition("[project.entry")[0])
    with pytest.raises(UsageError, match="the package brings no method"):
        load_methods(folder)


def test_one_name_twice(tmp_path: Path) -> None:
    for name in ("one.py", "two.py"):
        (tmp_path / name).write_text(method())
    with pytest.raises(UsageError, match=r"two\.py: method 'small' is also in .*one\.py; rename one"):
        MethodRegistry((tmp_path / "one.py", tmp_path / "two.py"))


def brings_suites(site: Path, name: str = "new_suite", package: str = "suite_package") -> None:
    """An installed package with a suite file."""
    from importlib import resources

    text = (resources.files("bench") / "suites" / "gmm2d.toml").read_text()
    folder = site / package / "suites"
    folder.mkdir(parents=True)
    (site / package / "__init__.py").write_text("raise RuntimeError('listing suites imports no package')")
    (folder / f"{name}.toml").write_text(text.replace('name = "gmm2d"', f'name = "{name}"', 1))
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[distillbench.suites]\nmine = {package}.suites\n")


def test_an_installed_suite_is_listed_and_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brings_suites(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    assert set(brought_suites()) == {"new_suite"} and "new_suite" in suite_names()
    assert load_suite("new_suite").id == "new_suite@1.0"


def test_suites_that_clash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brings_suites(tmp_path, "gmm2d")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="brings suite 'gmm2d', which is the name of a built-in one"):
        suite_names()
    brings_suites(tmp_path, "gmm2d", "another_package")
    with pytest.raises(UsageError, match="two installed packages bring suite 'gmm2d'"):
        brought_suites()
