"""The rules of metrics that plugins bring; an id never changes its meaning."""

from __future__ import annotations

import math

from bench.check.metric_evidence import PART, SUITES, MetricEvidence
from bench.check.rules import Rule

CLOSE = 1e-6  # relative: sums in another order


def declares(found: MetricEvidence) -> str | None:
    """DB201."""
    return found.undeclared


def gives_a_number(found: MetricEvidence) -> str | None:
    """DB202."""
    for suite, why in found.raised.items():
        return f"on samples of {suite}: {why}"
    reasons = "; ".join(f"{suite}: {why}" for suite, why in found.lacking.items())
    return None if found.values else f"none of {', '.join(SUITES)} can feed it: {reasons}"


def repeats(found: MetricEvidence) -> str | None:
    """DB203."""
    for suite, value in found.values.items():
        if value.again != value.whole:
            return f"on {suite}: {value.whole!r} the first time, {value.again!r} the second"
    return None


def ignores_the_batch(found: MetricEvidence) -> str | None:
    """DB204."""
    for suite, value in found.values.items():
        if not math.isclose(value.parts, value.whole, rel_tol=CLOSE, abs_tol=CLOSE):
            return f"on {suite}: {value.whole!r} of all samples at once, {value.parts!r} of {PART} at a time"
    return None


def draws_from_its_generator(found: MetricEvidence) -> str | None:
    """DB205."""
    used = ", ".join(sorted(found.watch.random))
    return f"drew from the global generator of {used}; use self.rng" if used else None


def stays_off_the_network(found: MetricEvidence) -> str | None:
    """DB206."""
    return f"called {', '.join(dict.fromkeys(found.watch.outward))}" if found.watch.outward else None


def opens_no_file(found: MetricEvidence) -> str | None:
    """DB207."""
    return f"opened {found.watch.files[0]}" if found.watch.files else None


def leaves_torch_alone(found: MetricEvidence) -> str | None:
    """DB208."""
    changed = ", ".join(sorted(found.watch.settings))
    return f"changed {changed}" if changed else None


METRIC_RULES = (
    Rule(
        "DB201",
        "The metric says what it is",
        "Records and columns are made from `name`, `title`, `about`, `better`, `digits`, `version` and "
        "`needs`; a number without a sentence cannot be read by others.",
        declares,
    ),
    Rule(
        "DB202",
        "It gives a finite number",
        "On blocks of real samples of every embedded suite that can feed it. It is given arrays that cannot "
        "be written to: the next metric is given the same ones.",
        gives_a_number,
        ("DB201", "DB206"),
    ),
    Rule(
        "DB203",
        "The same samples give the same number",
        "To the bit: a number that cannot be had again cannot be verified.",
        repeats,
        ("DB202", "DB205"),
    ),
    Rule(
        "DB204",
        "The number does not depend on the size of batches",
        "How many samples come at a time is a matter of memory. Means of means weigh a smaller last batch "
        "too much.",
        ignores_the_batch,
        ("DB203",),
    ),
    Rule(
        "DB205",
        "Random numbers come from the generator it is given",
        "`self.rng` is a named stream of the block's seed, the same for every row; the global generators are "
        "seeded by nobody.",
        draws_from_its_generator,
    ),
    Rule(
        "DB206",
        "It opens no socket and starts no program",
        "What is fetched today may be another thing tomorrow, and a run may be without network.",
        stays_off_the_network,
    ),
    Rule(
        "DB207",
        "It opens no file",
        "What decides its numbers is in its source, of which records keep the digest, and in what it is "
        "given. A network of its own would be in neither.",
        opens_no_file,
    ),
    Rule(
        "DB208",
        "It leaves torch's settings and the bench's functions as they are",
        "They belong to the run.",
        leaves_torch_alone,
    ),
)
