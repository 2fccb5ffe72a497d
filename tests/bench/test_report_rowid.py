"""Row ids: what they say, that they are safe everywhere, and that other rows move nothing that is cited."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import board, record, references, row

from bench.report.rowid import ROW_ID, name_of, record_digest, slug
from bench.report.table import tables
from bench.suite import load_suite

SUITE = load_suite("gmm2d")


def lines(records):
    return [line for t in tables(records, SUITE) for section in t.sections for line in section.lines]


def test_an_id_says_suite_row_budget_and_evaluations():
    names = [name_of(line.id) for line in lines(board())]
    assert names[0] == "gmm2d@1.0/sid/quick/nfe1"
    assert "gmm2d@1.0/euler/solver/nfe4" in names and "gmm2d@1.0/dmd[lr=1.0]/quick/failed" in names
    assert len(names) == len(set(names))


def test_the_digest_is_of_the_records():
    plain, again = lines([record("sid")])[0], lines([record("sid")])[0]
    assert plain.id == again.id
    others = [
        [record("sid", [row(1, 9.01)])],
        [record("sid"), record("sid", seed=1)],
        [record("sid", notes=["edited"])],
    ]
    found = {lines(each)[0].id for each in others}
    assert plain.id not in found and len(found) == 3
    assert {name_of(each) for each in found} == {name_of(plain.id)}


def test_the_budget_of_the_table_is_no_part_of_a_reference():
    students = [record("sid", budget="quick"), record("sid", budget="standard")]
    found = [line.id for line in lines([*students, *references("quick")]) if line.label == "euler"]
    assert len(found) == 6 and len(set(found)) == 3


def test_a_field_at_its_default_moves_no_digest():
    one = record("sid")
    assert record_digest(one) == record_digest(one.model_copy(update={"notes": [], "curve": []}))


@given(st.text(max_size=40))
def test_ids_are_safe_whatever_the_label(label):
    (line,) = lines([record("sid").model_copy(update={"label": label})])
    assert ROW_ID.fullmatch(line.id)


@given(st.text(max_size=12), st.text(max_size=12))
def test_other_labels_have_other_slugs(a, b):
    assert (slug(a) == slug(b)) is (a == b)


OTHERS = st.builds(
    lambda name, swd, half, nfe, seed, kind: record(name, [row(nfe, swd, half)], seed=seed, kind=kind),
    st.sampled_from(["sid", "sid[lr=1.0]", "new", "progressive", "zeta"]),
    st.floats(0.01, 600),
    st.floats(0.001, 50),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(7, 9),
    st.sampled_from(["student", "solver", "external"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(OTHERS, min_size=1, max_size=5))
def test_a_cited_number_never_moves_when_others_submit(others):
    """Anchors are fixed: only rank, tie letters and the count of trainings started answer to other rows."""
    others = [one.model_copy(update={"config": {"of": "others"}}) for one in others]
    before, after = lines(board()), {line.id: line for line in lines([*board(), *others])}
    for line in before:
        now = after[line.id]
        for field in ("metrics", "excess", "against", "work", "latency", "seeds", "started", "status"):
            assert getattr(now, field) == getattr(line, field)


@pytest.mark.parametrize("kind", ["solver", "anchor", "teacher"])
def test_a_submitted_reference_is_no_yardstick(kind):
    better = record("mine", [row(1, 0.5)], kind=kind, paper=None)
    (sid,) = [line for line in lines([*board(), better]) if line.label == "sid"]
    assert sid.against is not None and sid.against.solver == "euler" and sid.excess == 5.0
