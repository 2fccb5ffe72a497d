import pytest
from record_factory import board

from bench.errors import UsageError
from bench.report.filters import choose, choose_seeds, parse_filter, sort
from bench.report.table import tables
from bench.suite import load_suite

SUITE = load_suite("gmm2d")
KEYS = [column.key for column in SUITE.metrics]


def shown(*texts, records=None):
    filters = [parse_filter(text, KEYS) for text in texts]
    found = tables(choose_seeds(board() if records is None else records, filters), SUITE)
    return [line for t in choose(found, filters) for section in t.sections for line in section.lines]


def labels(*texts):
    return {f"{line.label}@{line.nfe}" for line in shown(*texts)}


def test_numbers_compare():
    assert labels("nfe=4") == {"progressive@4", "euler@4"}
    assert labels("nfe>4") == {"teacher[heun]@79"}
    assert labels("swd<9.1", "kind=student") == {"sid@1", "progressive@4"}
    assert labels("rank<=1", "nfe<2") == {"sid@1", "dmd@1"}


def test_a_missing_number_never_passes():
    assert "dmd[lr=1.0]@None" in labels("kind=student")
    assert "dmd[lr=1.0]@None" not in labels("kind=student", "swd!=0")


def test_words_compare():
    assert labels("status=failed") == {"dmd[lr=1.0]@None"}
    assert labels("method=dmd") == {"dmd@1", "dmd[lr=1.0]@None"}
    assert labels("method=dmd[lr=1.0]") == {"dmd[lr=1.0]@None"}
    assert labels("method!=dmd", "nfe=1", "kind=student") == {"sid@1", "progressive@1"}


def test_filters_move_no_rank():
    (line,) = shown("method=progressive", "nfe=1")
    assert line.rank == 3


def test_seed_chooses_what_is_averaged_and_keeps_references():
    found = {line.label: line for line in shown("seed=1")}
    assert found["sid"].metrics["swd"].mean == pytest.approx(9.3)
    assert found["sid"].seeds == 1
    assert found["real"].metrics["swd"].mean == 4.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nfe", "expected key"),
        ("nfe<=", "expected key"),
        ("<=4", "expected key"),
        ("nfe<=four", "nfe holds numbers, found 'four'"),
        ("nfee<=4", "unknown key 'nfee'; did you mean 'nfe'"),
        ("sdw<4", "unknown key 'sdw'; did you mean 'swd'"),
        ("method<sid", "method holds words, so compare with = or !=, found <"),
    ],
)
def test_what_cannot_be_parsed_is_explained(text, message):
    with pytest.raises(UsageError, match=message):
        parse_filter(text, KEYS)


@pytest.mark.parametrize(("text", "near"), [("method=sidd", "sid"), ("status=fialed", "failed")])
def test_a_word_that_no_line_has_gets_its_nearest(text, near):
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        shown(text)


def test_sort_orders_inside_sections_and_puts_missing_last():
    (table,) = sort(tables(board(), SUITE), "method")
    assert [line.label for line in table.sections[0].lines] == ["dmd", "progressive", "sid"]
    (table,) = sort(tables(board(), SUITE), "within")
    assert [line.label for line in table.sections[0].lines] == ["sid", "dmd", "progressive"]
    (table,) = sort(tables(board(), SUITE), "rank")
    assert [line.label for line in table.sections[1].lines] == ["progressive", "lcm"]


def test_sort_by_an_unknown_key_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'latency'"):
        sort(tables(board(), SUITE), "latenci")
