import pytest
from record_factory import failed, provenance, record, row

from bench.cli import main
from bench.record import MetricValue, write_record
from bench.report.compare import difference
from bench.report.statistics import detectable975
from metrics.statistics import paired_difference


@pytest.fixture
def compare(tmp_path, capsys):
    """Compare two records: status, stdout, stderr."""

    def call(a, b, *suffixes):
        paths = []
        for name, one in (("a", a), ("b", b)):
            write_record(one, tmp_path / f"{name}.json")
            paths.append(str(tmp_path / f"{name}.json"))
        if suffixes:
            paths = [path + suffix for path, suffix in zip(paths, suffixes, strict=True)]
        status = main(["compare", *paths])
        return status, *capsys.readouterr()

    return call


def test_protocols_name_every_field_that_differs(capsys):
    assert main(["compare", "suite-fid50k@1", "suite-fid5k-dev@1"]) == 0
    out = capsys.readouterr().out
    names = [line.split()[0] for line in out.splitlines()[1:-1] if line[2] != " "]
    assert names == ["sampling.samples", "sampling.blocks", "repeats.count", "repeats.shown"]
    assert "50000" in out and " 5000" in out and "never ranked together" in out
    assert main(["compare", "digits@1", "digits@1"]) == 0
    assert capsys.readouterr().out == "digits@1 and digits@1 agree in every field\n"


def test_rows_of_one_protocol_get_their_paired_difference(compare):
    """Repeats share noise: a constant gap is exact although each interval is wide."""
    status, out, err = compare(record("sid", [row(1, 9.0, 2.0)]), record("dmd", [row(1, 10.0, 2.0)]))
    assert (status, err) == (0, "")
    assert "A 9, B 10, A - B -1 [-1, -1] (paired): A is better" in out
    assert "another training would differ is not known" in out


def test_other_noise_is_not_paired(compare):
    other = provenance(seeds={"sample": 7})
    _, out, _ = compare(
        record("sid", [row(1, 9.0, 2.0)]), record("dmd", [row(1, 10.0, 2.0)], provenance=other)
    )
    assert "(not paired): not separable" in out and "(paired)" not in out


def test_paired_intervals_are_those_of_the_statistics_module():
    a, b = [3.0, 5.0, 4.5], [2.0, 4.8, 3.1]
    made = [MetricValue(mean=sum(v) / 3, values=v) for v in (a, b)]
    expected = paired_difference(a, b)
    found = difference(*made, paired=True)
    assert found.mean == pytest.approx(expected.mean) and found.interval == pytest.approx(expected.ci95)


def test_unpaired_interval_is_welchs_with_the_degrees_rounded_down():
    """By hand: variances 1 and 4, n = 3: total 5/3, degrees (5/3)^2 / (1/18 + 16/18) = 2.94, taken as 2."""
    made = [MetricValue(mean=m, values=v) for m, v in ((2.0, [1.0, 2.0, 3.0]), (4.0, [2.0, 4.0, 6.0]))]
    found = difference(*made, paired=False)
    half = 4.302652729911275 * (5 / 3) ** 0.5
    assert found.mean == -2 and found.interval == pytest.approx((-2 - half, -2 + half))


def test_one_repeat_has_no_interval(compare):
    _, out, _ = compare(record("sid", [row(1, 9.0, None)]), record("dmd", [row(1, 10.0, None)]))
    assert "(no interval): one repeat says nothing of the error" in out


def test_rows_of_different_protocols_are_refused_with_the_fields(compare):
    status, out, err = compare(record("sid"), record("sid", protocol="digits@1"))
    assert status == 1 and err.count("\n") == 1
    assert "not compared: protocol gmm2d@1 and digits@1 differ in metrics, sampling.samples" in err
    assert "better" not in out and "sampling.labels" in out
    status, _, err = compare(record("sid"), record("sid", protocol="gmm2d@1-smoke"))
    assert status == 1 and "fields not known here" in err


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"suite": "gmm2d-grid"}, "suite: gmm2d and gmm2d-grid"),
        ({"suite_version": "1.1"}, "suite_version: 1.0 and 1.1"),
        ({"provenance": provenance(reference_sha256="7" * 64)}, "provenance.reference_sha256: None and 777"),
        ({"provenance": provenance(extractor_sha256="8" * 64)}, "provenance.extractor_sha256: None and 888"),
    ],
)
def test_records_of_another_reference_or_suite_are_refused(compare, change, field):
    status, out, err = compare(record("sid"), record("dmd", **change))
    assert (status, out) == (1, "") and f"the records differ in {field}" in err


def test_other_budgets_and_unfinished_rows_get_no_verdict(compare):
    _, out, _ = compare(record("sid"), record("dmd", [row(1, 20.0)], budget="standard"))
    assert "Not ranked together: budgets quick and standard." in out and "is better" not in out
    _, out, _ = compare(record("sid"), record("dmd", [row(1, 20.0)], status="truncated"))
    assert "Not ranked: dmd is truncated." in out and "is better" not in out


def test_rows_meet_at_equal_evaluations(compare):
    a = record("progressive", [row(1, 30.0), row(2, 15.0), row(4, 7.0)])
    _, out, _ = compare(a, record("lcm", [row(2, 14.0), row(4, 8.0), row(8, 5.0)]))
    assert [line for line in out.splitlines() if "evaluation" in line] == ["2 evaluations", "4 evaluations"]
    _, out, _ = compare(a, record("lcm", [row(2, 14.0), row(8, 5.0)]), "@4", "@8")
    assert "A 4 evaluations, B 8: not ranked together" in out and "is better" not in out
    status, _, err = compare(a, record("lcm", [row(8, 5.0), row(16, 5.0)]))
    assert status == 2 and "no rows of equal evaluations: 1, 2, 4 and 8, 16" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (
            ["suite-fid50k@2", "digits@1"],
            2,
            "unknown protocol 'suite-fid50k@2'; did you mean 'suite-fid50k@1'?",
        ),
        (["none.json", "digits@1"], 2, "none.json: no such record file"),
        (["digits@1"], 2, "Missing argument"),
    ],
)
def test_wrong_operands(capsys, arguments, status, message):
    assert main(["compare", *arguments]) == status
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_more_wrong_operands(compare, tmp_path, capsys):
    status, _, err = compare(failed("sid"), record("dmd"))
    assert status == 1 and "sid, seed 0: status failed, no row to compare" in err
    status, _, err = compare(record("sid"), record("dmd"), "@3", "@1")
    assert status == 2 and "no row of 3 steps; its rows have 1" in err
    assert main(["compare", str(tmp_path / "a.json"), "digits@1"]) == 2
    assert "one is a protocol, the other a record" in capsys.readouterr().err
    assert main(["compare", str(tmp_path), "digits@1"]) == 2
    assert "no record.json in this folder" in capsys.readouterr().err


def test_detectable_difference_is_that_of_the_pairs():
    a, b = [3.0, 5.0, 4.5], [2.0, 4.8, 3.1]
    made = [MetricValue(mean=sum(v) / 3, values=v) for v in (a, b)]
    found = difference(*made, paired=True)
    error = paired_difference(a, b).std / 3**0.5
    assert found.detectable == pytest.approx(detectable975(2) * error)
    assert found.detectable > found.interval[1] - found.mean  # more than half an interval


def test_detectable_difference_is_printed(compare):
    _, out, _ = compare(record("sid", [row(1, 9.0, 2.0)]), record("dmd", [row(1, 10.0, 1.0)]))
    assert "; detectable " in out and "with power 80 %" in out
