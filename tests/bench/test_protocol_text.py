from pathlib import Path

import pytest

import metrics.protocols
from bench.cli import main
from bench.references import bibliography
from bench.suite import load_suite, suite_names
from bench.suite_protocol import PublishedProtocol
from metrics.protocols.registry import shipped_protocols

ALL = shipped_protocols()
FOLDER = Path(metrics.protocols.__file__).parent


def run(capsys, *arguments):
    status = main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


EMBEDDED = [  # others look theirs up
    name for name in suite_names() if not isinstance(load_suite(name).protocol, PublishedProtocol)
]


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_suite_samples_and_scores_as_its_protocol_says(name):
    """The suite's block decides what runs; the protocol of its id says the same."""
    block = load_suite(name).protocol
    protocol = ALL[block.id]
    assert protocol.sampling and protocol.sampling.samples == block.samples
    assert protocol.sampling.blocks == tuple(block.seed + repeat for repeat in range(block.repeats))
    assert protocol.sampling.labels == block.labels
    assert (protocol.repeats.count, protocol.repeats.aggregate) == (block.repeats, "mean")
    assert (protocol.extractor.asset.sha256 if protocol.extractor else None) == block.extractor_sha256
    assert protocol.metrics == tuple(column.key for column in load_suite(name).metrics)


def test_papers_that_used_a_protocol_are_in_the_bibliography():
    assert {key for protocol in ALL.values() for key in protocol.used_by} <= set(bibliography())


@pytest.mark.parametrize("name", ALL)
def test_info_shows_every_field_the_papers_and_the_state(name, capsys):
    status, out, _ = run(capsys, "info", name)
    assert status == 0
    shown = [line.split()[0] for line in out.splitlines() if line.strip()]
    assert [key for key in (*ALL[name].fields(), *ALL[name].used_by) if key not in shown] == []
    assert ("provisional: no digest" in out) == bool(ALL[name].provisional())


def test_info_of_a_protocol_file(tmp_path, capsys):
    text = (FOLDER / "digits@1.toml").read_text()
    (tmp_path / "mine.toml").write_text(text.replace("digits@1", "mine@2").replace("k = 3", "k = 5"))
    status, out, _ = run(capsys, "info", tmp_path / "mine.toml")
    assert status == 0 and out.startswith("protocol mine@2") and "manifold.k                 5" in out
    (tmp_path / "mine.toml").write_text(text.replace("k = 3", "k = 5"))
    status, _, err = run(capsys, "info", tmp_path / "mine.toml")
    assert status == 2 and "mine.toml: digits@1 is the id of a protocol that ships" in err
