import numpy as np
import pytest
from matplotlib.image import imread
from record_factory import board, curve, record, references, row

from bench.report.curves import Excess, line_name
from bench.report.pareto_picture import pareto_png
from bench.report.pictures import curve_png, mosaic, sample_grid_png
from bench.report.prompts import head, prompt_grid_png
from bench.suite import load_suite

SUITE = load_suite("gmm2d")


def test_curves_are_excesses_averaged_over_seeds():
    excess = Excess.of(board(), SUITE)
    curves = excess.curves()
    assert set(curves) == {("sid", 1), ("dmd", 1), ("progressive", 1), ("progressive", 2), ("progressive", 4)}
    assert curves["sid", 1][-1] == pytest.approx((1.5e6, 5.0))
    assert [work for work, _ in curves["sid", 1]] == sorted(work for work, _ in curves["sid", 1])
    assert (excess.floor, excess.teacher, excess.smallest) == pytest.approx((4.0, 0.2, 0.1))


def test_trainings_for_different_step_counts_are_one_line():
    assert line_name("dmd2[gan=off,steps=4]") == "dmd2[gan=off]"
    assert line_name("ddil[base=dmd2,steps=2]") == "ddil[base=dmd2]"
    assert line_name("dmd2[steps=8]") == "dmd2"
    assert line_name("sid") == "sid"


def test_the_floor_of_the_curve_protocol_is_preferred():
    real = references()[0]
    own = real.model_copy(update={"curve": curve(6.0)[-1:]})
    assert Excess.of([own, *board()[:1]], SUITE).floor == pytest.approx(6.0)


def test_without_a_floor_the_values_are_shown_as_they_are():
    excess = Excess.of([record(curve=curve(9.0))], SUITE)
    assert excess.floor is None and excess.curves()["sid", 1][-1][1] == pytest.approx(9.0)


def test_budgets_are_told_apart_and_other_versions_left_out():
    records = [
        record(curve=curve(9.0)),
        record(curve=curve(5.0), budget="full"),
        record(curve=curve(1.0), suite_version="0.9"),
        record("dmd", curve=curve(1.0), status="diverged"),
    ]
    assert set(Excess.of(records, SUITE).curves()) == {("sid, quick", 1), ("sid, full", 1)}


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("real", "real"),
        ("lcm, NFE 1", "lcm|NFE 1"),
        ("moment_matching[steps=4], NFE 4", "moment_matching|[steps=4]|NFE 4"),
        ("ddil[base=dmd2,steps=4], NFE 4", "ddil|[base=dmd2,|steps=4]|NFE 4"),
    ],
)
def test_names_above_columns_break_between_their_parts(name, lines):
    assert head(name).split("\n") == lines.split("|")


@pytest.mark.parametrize("extra", [(), (8, 16)])
def test_a_curve_is_drawn_900_pixels_wide(tmp_path, extra):
    more = [record("lcm", [row(1, 9.0)], curve=[p for n in extra for p in curve(9.0, n)])]
    assert imread(curve_png([*board(), *more], SUITE, tmp_path / "a.png")).shape[1] == 902
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_the_order_of_records_does_not_change_the_picture(tmp_path):
    records = [record(curve=curve(9.0)), record("dmd", curve=curve(7.0)), *references()]
    first = curve_png(records, SUITE, tmp_path / "a.png").read_bytes()
    assert curve_png(records[::-1], SUITE, tmp_path / "b.png").read_bytes() == first


def test_an_excess_below_none_is_drawn_at_the_floor(tmp_path):
    under = [record(curve=curve(3.9)), *references()]
    assert curve_png(under, SUITE, tmp_path / "a.png").is_file()


def test_many_methods_get_distinct_lines(tmp_path):
    many = [record(f"method_with_a_long_name_{i}", curve=curve(9.0 + i)) for i in range(9)]
    assert curve_png(many, SUITE, tmp_path / "a.png").is_file()


def test_no_curve_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"no record of gmm2d@1\.0 has a curve"):
        curve_png(references(), SUITE, tmp_path / "a.png")


def test_a_mosaic_keeps_every_pixel():
    images = np.arange(9 * 4, dtype=np.uint8).reshape(9, 1, 2, 2)
    found = mosaic(images)
    assert found.shape == (5, 23, 3)
    np.testing.assert_array_equal(found[3:5, :2, 0], images[8, 0])
    np.testing.assert_array_equal(found[:2, 21:, 1], images[7, 0])
    assert (found[2] == 255).all()


@pytest.mark.parametrize("count", [1, 5])
def test_grids_of_images_and_points_are_drawn(tmp_path, count):
    rng = np.random.default_rng(0)
    images = {f"m{i}": rng.integers(0, 255, (20, 1, 8, 8), dtype=np.uint8) for i in range(count)}
    points = {f"m{i}": rng.normal(size=(50, 2)) for i in range(count)}
    modes = (np.array([[0.7, 0.0], [-0.7, 0.0]]), 0.04)
    assert imread(sample_grid_png(images, tmp_path / "i.png")).shape[1] == 902
    assert imread(sample_grid_png(points, tmp_path / "p.png", modes=modes)).shape[1] == 902
    assert imread(sample_grid_png(points, tmp_path / "q.png")).shape[1] == 902


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((0, 2)),
        np.zeros((3, 3)),
        np.zeros((3, 1, 8, 8)),
        np.zeros((3, 2, 8, 8), dtype=np.uint8),
        np.zeros((0, 1, 8, 8), dtype=np.uint8),
    ],
)
def test_samples_that_cannot_be_drawn_are_named(tmp_path, samples):
    with pytest.raises(ValueError, match=r"samples of 'odd': found .* expected uint8"):
        sample_grid_png({"odd": samples}, tmp_path / "a.png")
    with pytest.raises(ValueError, match="no samples"):
        sample_grid_png({}, tmp_path / "a.png")


def test_captions_and_what_was_made_of_them(tmp_path):
    rng = np.random.default_rng(0)
    tiles = {f"method {i}": rng.integers(0, 255, (9, 3, 32, 32), dtype=np.uint8) for i in range(5)}
    captions = [f"a red ring {i} to the left of a small blue cross on a brown background" for i in range(9)]
    shown = imread(prompt_grid_png(tiles, captions, tmp_path / "grid.png"))
    blank = imread(prompt_grid_png(tiles, [" "] * 9, tmp_path / "blank.png"))
    assert shown.shape == blank.shape and (shown != blank).any(axis=2).mean() > 0.005, "captions are written"
    with pytest.raises(ValueError, match="samples of 'few': 3 for 8 captions"):
        prompt_grid_png({"few": tiles["method 0"][:3]}, captions, tmp_path / "a.png")
    with pytest.raises(ValueError, match="no captions or no samples"):
        prompt_grid_png(tiles, [], tmp_path / "a.png")


def test_quality_against_latency(tmp_path):
    def timed(label, ratio, swd):
        one = row(1, swd)
        latency = one.latency.model_copy(update={"ratio": ratio})
        return record(label, [one.model_copy(update={"latency": latency})])

    records = [timed("a", 1.0, 3.0), timed("b", 2.0, 2.0), timed("c", 3.0, 4.0)]
    path = pareto_png(records, SUITE, tmp_path / "pareto.png")
    assert imread(path).shape[1] == 902
    other = pareto_png(records[::-1], SUITE, tmp_path / "other.png")
    assert path.read_bytes() == other.read_bytes(), "the order of records does not matter"
    with pytest.raises(ValueError, match="has a latency"):
        pareto_png([record("a", [row(1, 1.0).model_copy(update={"latency": None})])], SUITE, path)
