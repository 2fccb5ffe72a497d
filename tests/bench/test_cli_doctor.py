from importlib.metadata import PackageNotFoundError, version

import pytest

import bench.cli.doctor as doctor
from bench.cli import main
from bench.shipped import Weights


def run(capsys, *arguments):
    status = main(["doctor", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture
def one_package(monkeypatch):
    """A distribution that requires one package, and a fact that is only needed by an extra."""
    lines = ["numpy>=1.26", 'nothing-like-it; extra == "test"']
    monkeypatch.setattr(doctor, "requires", lambda name: lines)
    return lines


@pytest.fixture
def roomy(monkeypatch):
    """Room on every disk, so that only what a test breaks is broken."""
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2**40}))


def test_a_whole_installation_is_status_0(tmp_path, capsys, one_package, roomy):
    status, out, err = run(capsys, "--out", tmp_path / "new" / "runs")
    assert (status, err) == (0, "")
    assert all(line.startswith("ok ") for line in out.splitlines())
    for word in ("python", "numpy", version("numpy"), "device", "threads", "output", "matches"):
        assert word in out
    assert not (tmp_path / "new").exists()


def wrong(out):
    return [line.split()[1] for line in out.splitlines() if line.startswith("WRONG")]


def test_a_file_in_the_place_of_the_output(tmp_path, capsys, one_package, roomy):
    (tmp_path / "runs").write_text("")
    status, out, err = run(capsys, "--out", tmp_path / "runs")
    assert (status, wrong(out)) == (1, ["output"])
    assert "is a file where a folder is needed" in out
    assert err.startswith("error: 1 of ") and err.endswith(" checks failed\n")


def test_an_output_that_cannot_be_written(tmp_path, capsys, one_package, roomy, monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: path != tmp_path)
    status, out, _ = run(capsys, "--out", tmp_path / "runs")
    assert (status, wrong(out)) == (1, ["output"]) and "no permission to write" in out


def test_a_full_disk(tmp_path, one_package, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    found = doctor.writable("output", tmp_path)
    assert not found.good and found.text.endswith("1 kB free; too little")


def test_a_named_cache_is_checked(tmp_path, capsys, one_package, roomy, monkeypatch):
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    _, out, _ = run(capsys, "--out", tmp_path)
    assert wrong(out) == ["HF_HOME"]


def test_a_package_too_old_and_one_missing(tmp_path, capsys, one_package, roomy):
    one_package[0] = "numpy>=999"
    one_package.append("no-such-package-at-all>=1")
    status, out, _ = run(capsys, "--out", tmp_path)
    assert (status, wrong(out)) == (1, ["numpy", "no-such-package-at-all"])
    assert "needed >=999" in out and 'pip install "no-such-package-at-all>=1"' in out


def test_not_installed_at_all(tmp_path, capsys, roomy, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", missing)
    _, out, _ = run(capsys, "--out", tmp_path)
    assert wrong(out) == ["distillbench"]


def test_damaged_weights(tmp_path, capsys, one_package, roomy, monkeypatch):
    (tmp_path / "a.json").write_text('{"sha256": "00"}')
    (tmp_path / "a.safetensors").write_bytes(b"x")
    one = Weights("here/a.safetensors", tmp_path / "a.safetensors", tmp_path / "a.json")
    monkeypatch.setattr("bench.shipped.shipped_weights", lambda: [one])
    status, out, _ = run(capsys, "--out", tmp_path)
    assert (status, wrong(out)) == (1, ["here/a.safetensors"])
    monkeypatch.setattr("bench.shipped.shipped_weights", lambda: [])
    assert wrong(run(capsys, "--out", tmp_path)[1]) == ["weights"]
