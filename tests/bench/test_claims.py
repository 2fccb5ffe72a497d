"""Claims against made-up records: they hold, fail, stay open or lack rows; swapped values swap verdicts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import cost, provenance, record, references, row, value, write_all
from scipy import stats

from bench.claims.catalog import CLAIMS, load_claims
from bench.claims.document import block, claims_text
from bench.claims.imitation import LowersShift
from bench.claims.matching import BEST_IN_ONE_STEP, DMD, DMD2, NeedsNoPairs
from bench.claims.moments import EightSteps
from bench.claims.parts import Beats, Finding, Rules
from bench.claims.rows import Board, Wanted
from bench.claims.sid import FallsAsPower, ReachesTeacher
from bench.claims.verdicts import Difference, Side, Verdict, all_of, difference, judge
from bench.cli import main
from bench.record import CurvePoint, MetricValue, Record
from bench.references import bibliography
from bench.shift_report import ShiftLevel, ShiftProtocol, ShiftReport, ShiftRow, write_shift
from bench.suite import load_suite

ROOT = Path(__file__).parents[2]
RULES = Rules(margin=0.1, r2=0.9)
SUITE = load_suite("gmm2d")
HOLDS, FAILS, OPEN, MISSING = Verdict


def board(*records: Record, shift: ShiftReport | None = None, refs: bool = True) -> Board:
    """A board at budget quick; the references have a floor of 4.0 and a teacher of 4.2."""
    return Board.of([*records, *(references() if refs else [])], SUITE, "quick", shift)


def trained(label: str, values: list[float], at: int = 1, /, **config: Any) -> list[Record]:
    """One record per training seed."""
    return [
        record(label, [row(at, one)], seed=seed, config=config, cost=cost())
        for seed, one in enumerate(values)
    ]


def verdicts(finding: Finding) -> list[Verdict]:
    return [line.verdict for line in finding.lines]


# differences and judgements


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=6), st.floats(-5, 5))
@settings(max_examples=50, deadline=None)
def test_repeats_of_one_sampling_seed_are_paired(ours: list[float], shift: float) -> None:
    theirs = [one + shift + 0.1 * k for k, one in enumerate(ours)]
    sides = [Side("x", (MetricValue(mean=sum(v) / len(v), values=v),), 1000) for v in (ours, theirs)]
    found, exact = difference(*sides), stats.ttest_rel(ours, theirs).confidence_interval()
    assert found.interval == pytest.approx((exact.low, exact.high), abs=1e-9)


def test_other_sampling_seeds_are_not_paired() -> None:
    a = Side("a", (MetricValue(mean=2.0, values=[1.0, 2.0, 3.0]),), 1000)
    b = Side("b", (MetricValue(mean=3.0, values=[2.0, 3.0, 4.0]),), 2000)
    assert difference(a, Side("b", b.values, 1000)).interval == (-1.0, -1.0)
    exact = stats.ttest_ind([1, 2, 3], [2, 3, 4], equal_var=False).confidence_interval()
    assert difference(a, b).interval == pytest.approx((exact.low, exact.high))  # 4 degrees, a whole number


several = st.lists(st.integers(-9, 9), min_size=2, max_size=5, unique=True)


@given(several, several)
@settings(max_examples=30, deadline=None)
def test_trainings_give_welchs_interval_or_a_little_wider(ours: list[int], theirs: list[int]) -> None:
    sides = [Side("x", tuple(value(float(one)) for one in values)) for values in (ours, theirs)]
    found, exact = difference(*sides), stats.ttest_ind(ours, theirs, equal_var=False)
    low, high = exact.confidence_interval()
    assert found.interval is not None
    assert found.interval[0] <= low + 1e-6 and found.interval[1] >= high - 1e-6
    if abs(exact.df - round(exact.df)) < 1e-12:
        assert found.interval == pytest.approx((low, high))
    assert found.mean == pytest.approx(sum(ours) / len(ours) - sum(theirs) / len(theirs))


def test_a_single_number_separates_nothing() -> None:
    one = Side("x", (value(1.0, None),))
    assert difference(one, Side("y", (value(9.0, None),))).interval is None
    assert judge(Difference(-8.0, None)) is OPEN


@pytest.mark.parametrize(
    ("interval", "margin", "verdict"),
    [
        ((-2, -1), 0, HOLDS), ((1, 2), 0, FAILS), ((-1, 1), 0, OPEN), ((0, 0), 0, OPEN),
        ((-1, 0.5), 1, HOLDS), ((0.2, 0.9), 1, HOLDS), ((1.1, 3), 1, FAILS), ((0.5, 1.5), 1, OPEN),
    ],
)  # fmt: skip
def test_judgement_by_interval_and_margin(
    interval: tuple[float, float], margin: float, verdict: Verdict
) -> None:
    assert judge(Difference(0, interval), margin) is verdict
    mirrored = Difference(0, (-interval[1], -interval[0]))
    assert judge(mirrored, margin, better="higher") is verdict


def test_a_statement_of_several_parts() -> None:
    assert all_of([HOLDS, HOLDS]) is HOLDS
    assert all_of([HOLDS, OPEN]) is OPEN
    assert all_of([OPEN, MISSING, HOLDS]) is MISSING
    assert all_of([MISSING, OPEN, FAILS, HOLDS]) is FAILS


# rows are found by method and options


def test_the_headline_row_has_the_presets_options() -> None:
    found = board(*trained("sid", [9.0]), *trained("sid[alpha=1.2]", [5.0], alpha=1.2))
    side = found.side(Wanted("sid", 1))
    assert side is not None and side.estimate.mean == 9.0
    same = board(*trained("sid[alpha=1.0]", [5.0], alpha=1.0), *trained("sid[alpha=1.2]", [1.0], alpha=1.2))
    side = same.side(Wanted("sid", 1))  # the preset's alpha is 1.0
    assert side is not None and side.estimate.mean == 5.0
    assert board(*trained("sid[preset=other]", [5.0])).side(Wanted("sid", 1)) is None


def test_steps_bases_and_variants_come_from_the_config() -> None:
    records = [
        *trained("dmd2[steps=2]", [7.0], 2, steps=2),
        *trained("moment_matching[steps=8]", [5.0], 8, steps=8, variant="alternating"),
        *trained("moment_matching[steps=8,variant=instant]", [6.0], 8, steps=8, variant="instant"),
        *trained("ddil[base=lcm]", [3.0], 2, base="lcm"),
    ]
    found = board(*records)
    for wanted, mean in (
        (Wanted("dmd2", 2), 7.0),
        (Wanted("moment_matching", 8, {"variant": "alternating"}), 5.0),
        (Wanted("moment_matching", 8, {"variant": "instant"}), 6.0),
        (Wanted("ddil", 2, {"base": "lcm"}), 3.0),
    ):
        side = found.side(wanted)
        assert side is not None and side.estimate.mean == mean
    assert found.side(DMD2) is None and found.side(Wanted("ddil", 2, {"base": "dmd2"})) is None


def test_only_comparable_records_count() -> None:
    others = [
        *(record("dmd", budget="full") for _ in range(1)),
        record("dmd2", suite_version="9.0"),
        record("lcm", protocol="gmm2d@9"),
        record("progressive", status="truncated"),
    ]
    found = board(*others)
    assert [found.side(Wanted(r.method, 1)) for r in others] == [None] * 4


def test_the_set_of_options_with_most_seeds_counts() -> None:
    old = record("dmd", [row(1, 1.0)], seed=7, config={"lr": 9.0})
    found = board(old, *trained("dmd", [5.0, 6.0], lr=1.0))
    side = found.side(DMD)
    assert side is not None and [v.mean for v in side.values] == [5.0, 6.0]


# claims


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([4.0, 4.2, 4.1], HOLDS), ([9.0, 9.1, 9.2], FAILS), ([3.0, 9.0, 5.0], OPEN), ([], MISSING)],
)
def test_sid_and_its_teacher(values: list[float], verdict: Verdict) -> None:
    finding = ReachesTeacher().check(board(*trained("sid", values)), RULES)
    assert finding.verdict is verdict and not any(line.unvaried for line in finding.lines)
    if verdict is MISSING:
        assert finding.lines[0].missing == ("sid@1",)


def test_one_training_seed_is_marked() -> None:
    finding = ReachesTeacher().check(board(*trained("sid", [9.0])), RULES)
    assert finding.shown == "does not hold†" and finding.lines[0].shown == "does not hold†"
    assert (finding.lines[0].seeds, finding.lines[0].repeats) == ("1 / -", "3 / 3")


def test_without_a_teacher_the_claim_is_not_measured() -> None:
    finding = ReachesTeacher().check(board(*trained("sid", [9.0]), refs=False), RULES)
    assert finding.verdict is MISSING and finding.lines[0].missing == ("the teacher",)


def falling(exponent: float, wiggle: float = 0.0, seed: int = 0) -> Record:
    """SiD whose excess over the floor of 4.0 is a power of the work, times e to plus or minus ``wiggle``."""
    works = [1e4 * 2**k for k in range(7)]
    excess = [
        50 * (work / 1e4) ** exponent * 2.718 ** (wiggle * (-1) ** (k // 2)) for k, work in enumerate(works)
    ]
    values = zip([0.0, *works], [123.0, *excess], strict=True)
    points = [CurvePoint(work=work, images=1, steps=1, metrics={"swd": 4 + more}) for work, more in values]
    return record("sid", [row(1, 5.0)], curve=points, seed=seed)


def test_a_power_law_is_near_linear_and_a_rough_one_is_not() -> None:
    straight = FallsAsPower().check(board(falling(-0.8, 0.01)), RULES)
    assert verdicts(straight) == [HOLDS, HOLDS] and straight.lines[0].unvaried
    rough = FallsAsPower().check(board(*(falling(-0.2, 0.6 + s / 100, s) for s in range(3))), RULES)
    assert rough.lines[1].verdict is FAILS and not rough.lines[1].unvaried
    rising = FallsAsPower().check(board(*(falling(0.5, 0.01 * s, s) for s in range(3))), RULES)
    assert rising.verdict in (FAILS, MISSING)  # the rule of the fit may find nothing to fit
    assert FallsAsPower().check(board(*trained("sid", [5.0])), RULES).verdict is MISSING


def four(dmd: float, dmd2: float, pd: float, lcm: float) -> Board:
    means = {"dmd": dmd, "dmd2": dmd2, "progressive": pd, "lcm": lcm}
    return board(*(r for name, mean in means.items() for r in trained(name, [mean, mean + 0.1, mean - 0.1])))


def test_four_comparisons_in_one_step() -> None:
    assert verdicts(BEST_IN_ONE_STEP.check(four(5, 6, 8, 9), RULES)) == [HOLDS] * 4
    assert verdicts(BEST_IN_ONE_STEP.check(four(8, 6, 7, 9), RULES)) == [FAILS, HOLDS, HOLDS, HOLDS]
    finding = BEST_IN_ONE_STEP.check(board(*trained("dmd", [5.0, 5.1])), RULES)
    assert finding.verdict is MISSING
    assert [line.missing for line in finding.lines[:2]] == [("progressive@1",), ("lcm@1",)]


@given(st.lists(st.floats(1, 50), min_size=1, max_size=3), st.lists(st.floats(1, 50), min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_swapping_two_methods_swaps_the_verdict(a: list[float], b: list[float]) -> None:
    claim = Beats("matching", (DMD,), (DMD2,))
    flipped = {HOLDS: FAILS, FAILS: HOLDS, OPEN: OPEN}
    one = claim.check(board(*trained("dmd", a), *trained("dmd2", b)), RULES).verdict
    other = claim.check(board(*trained("dmd", b), *trained("dmd2", a)), RULES).verdict
    assert other is flipped[one]


def test_dmd2_without_pairs() -> None:
    pairs = {"pairs": 5000, "pair_steps": 18}
    both = [*trained("dmd", [5.0, 5.1, 4.9], **pairs), *trained("dmd2", [5.1, 5.2, 5.0])]
    finding = NeedsNoPairs().check(board(*both), RULES)
    assert finding.verdict is HOLDS  # worse by 2 %, and the margin is 10 %
    assert "5,000 pairs of 35 teacher evaluations: about 175 k of 1.5 M units (11.7%)" in finding.facts[0]
    assert "not measured" in finding.facts[1]
    ablation = trained("dmd[lambda_reg=0]", [9.0, 9.1, 9.2], lambda_reg=0.0)
    fact = NeedsNoPairs().check(board(*both, *ablation), RULES).facts[1]
    assert fact.startswith("dmd@1 beats dmd[lambda_reg=0]@1: 5.00 ± ") and fact.endswith(": holds.")
    worse = [*trained("dmd", [5.0, 5.1, 4.9]), *trained("dmd2", [8.1, 8.2, 8.0])]
    assert NeedsNoPairs().check(board(*worse), RULES).verdict is FAILS


@pytest.mark.parametrize("variant", ["alternating", "instant"])
def test_moment_matching_in_eight_steps(variant: str) -> None:
    def eight(many: float, one: float) -> Finding:
        rows = [
            *trained("moment_matching[steps=8]", [many, many + 0.01], 8, steps=8, variant=variant),
            *trained("moment_matching[steps=1]", [one, one + 0.01], 1, steps=1, variant=variant),
        ]
        return EightSteps(variant).check(board(*rows), RULES)

    assert verdicts(eight(4.0, 9.0)) == [HOLDS, HOLDS]
    assert verdicts(eight(6.0, 9.0)) == [HOLDS, FAILS]
    assert verdicts(eight(4.0, 3.0)) == [FAILS, HOLDS]
    other = "instant" if variant == "alternating" else "alternating"
    assert EightSteps(other).check(board(), RULES).verdict is MISSING


def shifts(**by_label: list[float]) -> tuple[list[Record], ShiftReport]:
    """LCM and its wrapper at two steps (same distances), with the shift of each training."""
    records, rows = [], []
    for name, values in by_label.items():
        label, config = ("lcm", {}) if name == "lcm" else ("ddil[base=lcm]", {"base": "lcm"})
        for seed, shift in enumerate(values):
            one = record(label, [row(2, 6.0 + seed / 10)], seed=seed, config=config)
            one = one.model_copy(
                update={"rows": [one.rows[0].model_copy(update={"student_sha256": f"{name}{seed}"})]}
            )
            records.append(one)
            rows.append(shift_row(one, shift))
    return records, report(rows)


def shift_row(one: Record, shift: float) -> ShiftRow:
    return ShiftRow(
        cell=one.cell,
        label=one.label,
        budget=one.budget,
        seed=one.seed,
        steps=2,
        student_sha256=one.rows[0].student_sha256 or "",
        levels=[ShiftLevel(sigma=2.5, distance=[shift, shift + 0.1, shift - 0.1], floor=[0.5, 0.6, 0.4])],
        code_sha=None,
        dirty=False,
        diff_sha256=None,
        created="2030-01-01T00:00:00Z",
    )


def report(rows: list[ShiftRow]) -> ShiftReport:
    protocol = ShiftProtocol(
        distance="points", count=2000, repeats=3, seed=1000, teacher_sha256="0" * 64, extractor_sha256=None
    )
    return ShiftReport(suite="gmm2d", suite_version=SUITE.version, protocol=protocol, rows=rows)


def test_ddil_and_the_shift_of_its_base() -> None:
    claim = LowersShift("lcm")
    records, less = shifts(lcm=[5.0, 5.1, 5.2], ddil=[2.0, 2.1, 2.2])
    finding = claim.check(board(*records, shift=less), RULES)
    assert verdicts(finding) == [HOLDS, HOLDS]
    assert finding.facts == ("Floor of the shift (forward states against others): 0.5000 at 2 steps.",)
    records, more = shifts(lcm=[2.0, 2.1, 2.2], ddil=[5.0, 5.1, 5.2])
    assert verdicts(claim.check(board(*records, shift=more), RULES)) == [FAILS, HOLDS]
    single = shifts(lcm=[2.0], ddil=[5.0])
    assert claim.check(board(*single[0], shift=single[1]), RULES).shown == "does not hold†"


def test_what_a_shift_claim_lacks_is_named() -> None:
    claim = LowersShift("lcm")
    records, full = shifts(lcm=[5.0], ddil=[2.0])
    finding = claim.check(board(*records), RULES)  # no report
    assert verdicts(finding) == [MISSING, HOLDS]
    assert finding.lines[0].missing == ("shift of ddil[base=lcm]@2", "shift of lcm@2")
    other = full.model_copy(
        update={"rows": [r.model_copy(update={"student_sha256": "another"}) for r in full.rows]}
    )
    assert claim.check(board(*records, shift=other), RULES).verdict is MISSING
    finding = claim.check(board(*records[:1], shift=full), RULES)
    assert finding.lines[0].missing == ("ddil[base=lcm] at 2 or more steps",)
    apart = [*trained("lcm", [5.0], 4), *trained("ddil[base=lcm]", [5.0], 2, base="lcm")]
    assert claim.check(board(*apart), RULES).lines[0].missing == ("a common step count",)


# the document


def test_every_claim_has_words_and_papers() -> None:
    words = load_claims()
    assert [claim.key for claim in CLAIMS] == list(words.claims)
    for one in words.claims.values():
        assert set(one.papers) <= set(bibliography())


def test_a_claim_that_fails_says_so_and_what_was_tried() -> None:
    claim, words = ReachesTeacher(), load_claims().claims["sid-teacher"]
    words = words.model_copy(update={"tried": {}})
    failing = board(falling(-0.8).model_copy(update={"rows": [row(1, 9.0)]}))
    text = block(claim, failing, words, claim.check(failing, RULES))
    assert text.startswith("### gmm2d: does not hold†\n")
    assert "What was tried: sid: about 20 trials" in text  # the preset's tuning
    assert "real 4.00, collapsed 500.00, untrained sid 127" in text
    noted = words.model_copy(update={"tried": {"gmm2d": "Longer training."}})
    assert "What was tried: Longer training.\n" in block(claim, failing, noted, claim.check(failing, RULES))
    good = board(*trained("sid", [4.0, 4.1]))
    assert "What was tried" not in block(claim, good, noted, claim.check(good, RULES))


def test_the_verb_prints_or_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records, shift = shifts(lcm=[5.0], ddil=[2.0])
    root = write_all([*records, *references(), *trained("sid", [9.0])], tmp_path / "records")
    write_shift(shift, tmp_path / "shift" / "gmm2d.json")
    words = ["claims", "--records", str(root), "--budget", "quick"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "ddil\\[base=lcm\\]@2 has less shift than lcm@2" in text
    assert "gmm2d-grid" not in text  # a suite without records has no column
    assert main([*words, "--out", str(tmp_path / "CLAIMS.md")]) == 0
    assert (tmp_path / "CLAIMS.md").read_text() == text == claims_text(root, "quick")
    assert main(["claims", "--records", str(tmp_path / "none")]) == 2


def test_claims_need_no_numerics() -> None:
    script = (
        "import sys; from pathlib import Path; from bench.claims.document import claims_text; "
        "claims_text(Path('leaderboards/records'), 'standard'); "
        "print({m.split('.')[0] for m in sys.modules} & {'torch', 'scipy', 'pandas', 'numpy', 'sklearn'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "set()"


def test_the_committed_document_is_that_of_the_committed_records() -> None:
    """Remake: bench claims --out leaderboards/CLAIMS.md."""
    text = claims_text(ROOT / "leaderboards" / "records", "standard")
    assert (ROOT / "leaderboards" / "CLAIMS.md").read_text(encoding="utf-8") == text


def test_provenance_is_what_pairs_samples() -> None:
    """Another sampling seed in the record: Welch, which here cannot separate what pairs do."""
    a = record("dmd", [row(1, 5.0)])
    b = record("dmd2", [row(1, 5.05)])
    claim = Beats("matching", (DMD,), (DMD2,))
    assert claim.check(board(a, b), RULES).verdict is HOLDS
    moved = b.model_copy(update={"provenance": provenance(seeds={"train": 0, "sample": 7})})
    assert claim.check(board(a, moved), RULES).verdict is OPEN
