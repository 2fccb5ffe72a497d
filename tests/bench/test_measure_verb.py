import hashlib
import json
import re

import numpy as np
import pytest
import torch
from sample_files import KINDS, noise, write, write_folder, write_npz

from bench.cli import main
from bench.evaluation import evaluator_for
from bench.record import read_record
from bench.suite import load_suite
from metrics.features.registry import load_extractor
from metrics.frechet import frechet_distance
from metrics.moments import Moments
from metrics.protocols.registry import shipped_protocols

DIGITS, MIXTURE = (evaluator_for(load_suite(name)) for name in ("digits", "gmm2d"))
LABELS = np.arange(2000) % 10


@pytest.fixture(scope="module")
def digits():
    """Two thousand class-balanced digits."""
    return DIGITS.anchor("class-means", 2000, 7) // 2


class Quick:
    """Stands in for the suite's evaluator: numbers that know every grey level, the order and the seed."""

    extractor_sha256, reference_sha256 = "e" * 64, "f" * 64

    def anchor(self, name, count, seed):
        return MIXTURE.anchor(name, count, seed)

    def score(self, samples, seed):
        total = float((samples.reshape(len(samples), -1).sum(1) * np.arange(1.0, len(samples) + 1)).sum())
        keys = ("fd", "class_fd", "recall", "accuracy", "nearest", "copies")
        return {key: total + seed + i for i, key in enumerate(keys)}


@pytest.fixture
def quick(monkeypatch):
    """Score digits in no time."""
    monkeypatch.setattr("bench.measuring.evaluator_for", lambda suite: Quick())
    return Quick()


@pytest.fixture
def measure(capsys, tmp_path, monkeypatch):
    """Run the verb in an empty folder: status, stdout, stderr."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def call(*arguments):
        status = main(["measure", *map(str, arguments)])
        return status, *capsys.readouterr()

    return call


def test_digits_are_scored_as_the_suite_scores_its_own(measure, tmp_path, digits):
    path = write("zip", tmp_path, digits, LABELS)
    status, out, err = measure(path, "--protocol", "digits@1", "--format", "json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert list(found["metrics"]) == ["fd", "class_fd", "recall", "accuracy", "nearest", "copies"]
    expected = frechet_distance(Moments.of(DIGITS.extractor.features(digits)), Moments.of(DIGITS.reference))
    assert found["metrics"]["fd"]["value"] == pytest.approx(expected, rel=1e-9)
    assert (found["n_samples"], found["repeats"], found["repeats_of_protocol"]) == (2000, 1, 3)
    assert found["extractor_sha256"] == DIGITS.extractor_sha256
    assert found["reference_sha256"] == DIGITS.reference_sha256


@pytest.mark.parametrize("kind", KINDS)
def test_every_container_is_the_same_set(measure, tmp_path, digits, quick, kind):
    status, out, _ = measure(
        write(kind, tmp_path, digits, LABELS), "--protocol", "digits@1", "--format", "json"
    )
    found = json.loads(out)
    assert status == 0
    assert {key: value["value"] for key, value in found["metrics"].items()} == quick.score(digits, 1000)
    # digest of shape and grey levels, in order
    stream = b"".join(repr(image.shape).encode() + image.tobytes() for image in digits)
    assert found["samples_sha256"] == [hashlib.sha256(stream).hexdigest()]


def test_text_names_protocol_n_digests_and_what_is_not_known(measure, tmp_path, digits, quick):
    status, out, _ = measure(write("npz", tmp_path, digits, LABELS), "--protocol", "digits@1")
    assert status == 0
    assert out.startswith("protocol digits@1 (final), N = 2000, 1 of 3 repeats\n  fd ")
    for word in (
        quick.extractor_sha256,
        quick.reference_sha256,
        "seeds, weights and precision are not known",
        "note: 1 of 3 repeats",
    ):
        assert word in out


def test_labels_bring_samples_in_the_order_of_the_label_law(measure, tmp_path, digits, quick):
    order = np.arange(2000).reshape(-1, 10)[:, ::-1].ravel()  # each ten of them backwards
    path = write("npz", tmp_path, digits[order], LABELS[order])
    found = json.loads(measure(path, "--protocol", "digits@1", "--format", "json")[1])
    assert found["metrics"]["fd"]["value"] == quick.score(digits, 1000)["fd"]
    assert quick.score(digits[order], 1000) != quick.score(digits, 1000)


def test_without_labels_what_needs_them_is_left_out(measure, tmp_path, digits, quick):
    status, out, _ = measure(write("npz", tmp_path, digits), "--protocol", "digits@1")
    assert status == 0 and "  fd " in out and "  class_fd " not in out and "  accuracy " not in out
    assert "note: samples.npz has no labels: class_fd and accuracy are left out" in out


def test_points(measure, tmp_path):
    points = MIXTURE.anchor("real", 5000, 3)
    np.savez(tmp_path / "p.npz", points)
    found = json.loads(measure(tmp_path / "p.npz", "--protocol", "gmm2d@1", "--format", "json")[1])
    assert {key: value["value"] for key, value in found["metrics"].items()} == MIXTURE.score(points, 1000)


def test_repeats_meet_the_blocks_of_the_protocol(measure, tmp_path, quick):
    sets = [MIXTURE.anchor("real", 5000, seed) for seed in (3, 4)]
    for name, points in zip("ab", sets, strict=True):
        np.savez(tmp_path / f"{name}.npz", points)
    files = [tmp_path / "a.npz", tmp_path / "b.npz"]
    status, out, _ = measure(*files, "--protocol", "gmm2d@1", "--format", "json")
    expected = [quick.score(points, 1000 + i)["fd"] for i, points in enumerate(sets)]
    found = json.loads(out)["metrics"]["fd"]
    assert status == 0 and found["values"] == expected and found["value"] == pytest.approx(np.mean(expected))
    assert "(mean of 2; mean" in measure(*files, "--protocol", "gmm2d@1")[1]
    status, _, err = measure(*files, *files, "--protocol", "gmm2d@1")
    assert status == 2 and "4 sets of samples; gmm2d@1 has 3 repeats" in err


def test_a_row_is_an_external_record_that_tables_show_unranked(measure, tmp_path, digits, quick, capsys):
    path = write("zip", tmp_path, digits, LABELS)
    arguments = [
        path,
        "--protocol",
        "digits@1",
        "--row",
        "Closed v1.5",
        "--nfe",
        4,
        "--out",
        tmp_path / "runs",
    ]
    status, _, err = measure(*arguments)
    (file,) = (tmp_path / "runs").rglob("record.json")
    assert (status, err) == (0, f"wrote {file}\n")
    record = read_record(file)
    assert (record.kind, record.label, record.status, record.budget) == (
        "external",
        "Closed v1.5",
        "ok",
        "none",
    )
    (row,) = record.rows
    assert row.nfe == 4 and row.nfe_by_role == {"stated": 4.0}
    assert row.metrics["fd"].mean == quick.score(digits, 1000)["fd"]
    assert record.provenance.seeds == {} and record.provenance.teacher_form == "unknown"
    assert any("as stated by the submitter" in note for note in record.notes)
    assert any("seeds, weights and precision are not known" in note for note in record.notes)
    assert str(tmp_path) not in file.read_text()

    assert measure(*arguments)[0] == 0  # again: the row is replaced
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 1
    assert main(["leaderboard", "digits", "--records", str(tmp_path / "runs"), "--format", "json"]) == 0
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    (section,) = table["sections"]
    assert section["title"].startswith("external, not ranked") and section["lines"][0]["rank"] is None


def toml_of(name):
    from importlib import resources

    return (resources.files("metrics") / "protocols" / f"{name}.toml").read_text()


def test_weights_and_reference_are_asked_for_by_name(measure, tmp_path):
    """A protocol of one's own with few samples reaches the same checks as the one of 50,000."""
    (tmp_path / "mine.toml").write_text(
        toml_of("suite-fid50k@1")
        .replace("suite-fid50k@1", "mine@1")
        .replace("samples = 50000", "samples = 6")
    )
    path = write("npz", tmp_path, noise(6))
    status, _, err = measure(path, "--protocol", tmp_path / "mine.toml")
    assert status == 3 and "mine@1: extractor inception-nvidia: no weights file given" in err
    assert "f58cb9b6ec323ed6" in err and "--weights" in err and err.count("\n") == 1
    (tmp_path / "w.pt").write_bytes(b"another network")
    status, _, err = measure(path, "--protocol", tmp_path / "mine.toml", "--weights", tmp_path / "w.pt")
    found = hashlib.sha256(b"another network").hexdigest()
    assert status == 3 and found in err and "f58cb9b6ec323ed6" in err and "w.pt" in err


def test_a_protocol_of_ones_own_with_a_shipped_network(measure, tmp_path):
    """The whole path of image protocols: reference images, extractor, moments, distance."""
    text = (
        toml_of("digits@1")
        .replace('id = "digits@1"', 'id = "mine@1"')
        .replace("samples = 2000", "samples = 100")
    )
    text = re.sub(r"metrics = .*", 'metrics = ["fd"]', text)
    text = re.sub(r"assets = .*", "", text)
    text = text.replace("count = 3\n", "count = 1\n").replace("[1000, 1001, 1002]", "[0]")
    text = text.replace("[manifold]\nk = 3\nreal = 1438\nfake = 2000\n", "")
    (tmp_path / "mine.toml").write_text(text)
    real, fake = DIGITS.anchor("real", 120, 1), DIGITS.anchor("real", 100, 2) // 2
    path, reference = write("zip", tmp_path, fake), write_folder(tmp_path / "real", real)
    arguments = [path, "--protocol", tmp_path / "mine.toml", "--reference", reference, "--format", "json"]
    status, out, err = measure(*arguments)
    found = json.loads(out)
    features = [Moments.of(DIGITS.extractor.features(images)) for images in (fake, real)]
    assert (status, err) == (0, "")
    assert found["metrics"]["fd"]["value"] == pytest.approx(frechet_distance(*features), rel=1e-4)
    assert found["provisional"] == "no digest is pinned for a reference"
    assert found["extractor_sha256"] == DIGITS.extractor_sha256 and len(found["reference_sha256"]) == 64


BAD = {
    "no such protocol": (2, "unknown protocol 'digit@1'; did you mean 'digits@1'?"),
    "a protocol of time": (2, "latency-b1@1 measures time while a generator runs"),
    "fewer": (2, "samples.npz: 20 samples, fewer than the 2000 of digits@1"),
    "more": (2, "samples.npz: 2010 samples, more than the 2000 of digits@1"),
    "of suite-fid50k": (2, "samples.npz: 20 samples, fewer than the 50000 of suite-fid50k@1"),
    "rgb": (2, "expected L images"),
    "unbalanced": (2, "labels 0 to 9 come 199, 201, 200"),
    "nan points": (2, "1 of 5000 points hold NaN"),
    "three coordinates": (2, "points of 3 coordinates; gmm2d@1 has 2"),
    "a reference too many": (2, "--reference: digits@1 brings its own or needs none"),
    "empty folder": (2, "empty: no images; expected PNG files"),
    "truncated": (2, "00000.png: not a whole image file"),
    "format": (2, "--format: unknown format 'jsn'; did you mean 'json'?"),
    "nfe without row": (2, "--nfe and --suite belong to a row"),
    "row without nfe": (2, "--row: state the evaluations per sample with --nfe"),
    "row of a method": (2, "--row 'SiD' is a method of the bench"),
    "row with slashes": (2, "--row '../x': expected letters"),
    "row of another suite": (2, "--suite gmm2d: it is measured under gmm2d@1, not digits@1"),
}


def bad(name, folder, digits):
    """Arguments of a call that must be refused."""
    good = lambda: write_npz(folder / "samples.npz", digits, LABELS)  # noqa: E731
    digits1, row = ["--protocol", "digits@1"], ["--row", "x", "--nfe", "1"]
    match name:
        case "no such protocol":
            return [folder, "--protocol", "digit@1"]
        case "a protocol of time":
            return [folder, "--protocol", "latency-b1@1"]
        case "fewer":
            return [write_npz(folder / "samples.npz", digits[:20]), *digits1, *row]
        case "more":
            more = np.concatenate([digits, digits[:10]])
            return [write_npz(folder / "samples.npz", more), *digits1, *row]
        case "of suite-fid50k":
            return [write_npz(folder / "samples.npz", noise(20)), "--protocol", "suite-fid50k@1"]
        case "rgb":
            return [write_npz(folder / "samples.npz", noise(20)), *digits1, *row]
        case "unbalanced":
            labels = LABELS.copy()
            labels[0] = 1
            return [write_npz(folder / "samples.npz", digits, labels), *digits1, *row]
        case "nan points" | "three coordinates":
            points = np.zeros((5000, 3 if name.startswith("three") else 2))
            points[7] = 0.0 if name.startswith("three") else np.nan
            np.savez(folder / "p.npz", points)
            return [folder / "p.npz", "--protocol", "gmm2d@1", *row]
        case "a reference too many":
            return [good(), *digits1, "--reference", folder]
        case "empty folder":
            (folder / "empty").mkdir()
            return [folder / "empty", *digits1, *row]
        case "truncated":
            file = write_folder(folder / "f", digits) / "000" / "00000.png"
            file.write_bytes(file.read_bytes()[:60])
            return [folder / "f", *digits1, *row]
        case "format":
            return [good(), *digits1, "--format", "jsn"]
        case "nfe without row":
            return [good(), *digits1, "--nfe", "1"]
        case "row without nfe":
            return [good(), *digits1, "--row", "x"]
        case "row of a method":
            return [good(), *digits1, "--row", "SiD", "--nfe", "1"]
        case "row with slashes":
            return [good(), *digits1, "--row", "../x", "--nfe", "1"]
        case "row of another suite":
            return [good(), *digits1, *row, "--suite", "gmm2d"]
    raise AssertionError(name)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(measure, tmp_path, digits, quick, name):
    status, out, err = measure(*bad(name, tmp_path, digits))
    assert (status, out) == (BAD[name][0], "")
    assert BAD[name][1] in err and err.startswith("error: ") and err.count("\n") == 1
    assert list((tmp_path / "cwd").iterdir()) == []


class TwoWays:
    """A CLIP of two dimensions: mean of red and of blue; a caption is "r g" levels after the prefix."""

    model, pretrained, sha256, resize, context = "two", "ways", "c" * 64, "none", 77

    def __call__(self, images):
        return images[:, [0, 2]].float().mean((2, 3))

    def texts(self, captions):
        assert all(caption.startswith("A photo depicts ") for caption in captions)
        return torch.tensor([[float(x) for x in caption.split()[3:]] for caption in captions]), 1


@pytest.fixture
def captioned(tmp_path, monkeypatch):
    """Four images, their captions, and a protocol of one's own: arguments of the verb."""
    monkeypatch.setattr("bench.feature_network.load_extractor", lambda *_, **__: TwoWays())
    text = toml_of("coco30k-clipvitb32@1").replace("coco30k-clipvitb32@1", "mine@1").replace("30000", "4")
    captions = "1 0\n0 1\n1 1\n3 4\n"
    text = re.sub(
        '(prompts.*sha256 = ")[0-9a-f]{64}', rf"\g<1>{hashlib.sha256(captions.encode()).hexdigest()}", text
    )
    (tmp_path / "mine.toml").write_text(text)
    (tmp_path / "captions.txt").write_text(captions)
    levels = np.array([[200, 0], [0, 90], [50, 50], [80, 60]], dtype=np.uint8)
    images = np.zeros((4, 3, 8, 8), dtype=np.uint8)
    images[:, [0, 2]] = levels[:, :, None, None]
    path = write("npz", tmp_path, images)
    return [path, "--protocol", tmp_path / "mine.toml", "--captions", tmp_path / "captions.txt"]


def test_clip_score_is_the_mean_cosine_of_images_and_captions(measure, captioned):
    status, out, err = measure(*captioned, "--format", "json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["metrics"]["clip_score"]["value"] == pytest.approx((1 + 1 + 1 + 0.96) / 4, abs=1e-3)
    assert found["extractor_sha256"] == "c" * 64
    assert "1 of 4 captions were cut to 77 tokens" in found["notes"]


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        ("1 0\n0 1\n1 1\n", 2, "captions.txt: 3 captions for the 4 images of mine@1"),
        ("1 0\n\n1 1\n3 4\n", 2, "captions.txt: line 2 is empty"),
        ("0 1\n1 0\n1 1\n3 4\n", 3, "captions of another list or order do not belong to its images"),
        (None, 2, "captions.txt: cannot read the captions"),
    ],
)
def test_captions_that_do_not_match_the_images(measure, captioned, text, status, message):
    if text is None:
        captioned[-1].unlink()
    else:
        captioned[-1].write_text(text)
    found, out, err = measure(*captioned)
    assert (found, out) == (status, "") and message in err and err.count("\n") == 1


def test_captions_and_weights_are_asked_for(measure, captioned, monkeypatch):
    status, _, err = measure(*captioned[:3])
    assert status == 3 and "mine@1: give --captions" in err
    monkeypatch.setattr("bench.feature_network.load_extractor", load_extractor)
    status, _, err = measure(*captioned)
    assert status == 3 and "clip-vit-b-32: no weights file given" in err and "--weights" in err


def test_a_row_needs_a_suite_of_its_protocol():
    from bench.errors import UsageError
    from bench.external import row_suite
    from bench.measuring import Measured

    protocol = shipped_protocols()["suite-fid50k@1"]
    measured = Measured(protocol, {"fid": (1.0,)}, ("0" * 64,), None, None, ())
    with pytest.raises(UsageError, match="no suite that ships is measured under suite-fid50k@1"):
        row_suite(measured, None)


def test_the_least_repeat_is_the_headline_where_the_protocol_says_so():
    from bench.measuring import Measured

    values = {"fid": (3.0, 2.0, 4.0)}
    for name, expected in (("edm-fid50k-train@1", 2.0), ("suite-fid50k@1", 3.0)):
        measured = Measured(shipped_protocols()[name], values, ("",) * 3, None, None, ())
        assert measured.headline("fid") == expected
