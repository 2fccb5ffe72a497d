"""``bench measure --weights`` with a whole Inception network, beside torch-fidelity on the same images."""

import hashlib
import json
import re
from importlib import resources

import numpy as np
import pytest
import torch
from random_inception import photos, theirs, write_random_inception
from sample_files import write

from bench.cli import main


@pytest.mark.slow
def test_inception_score_of_a_zip_is_torch_fidelitys(tmp_path, capsys):
    weights, images = tmp_path / "weights.pth", photos(6, seed=5)
    write_random_inception(weights)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    text = (resources.files("metrics") / "protocols" / "adm-fid50k@1.toml").read_text()
    text = text.replace("adm-fid50k@1", "mine@1").replace("50000", "6").replace("splits = 10", "splits = 2")
    text = re.sub(r"^metrics = .*", 'metrics = ["inception_score"]', text, flags=re.MULTILINE)
    text = text.replace("6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", digest)
    (tmp_path / "mine.toml").write_text(text)

    path = write("zip", tmp_path, images.numpy())
    arguments = ["measure", path, "--protocol", tmp_path / "mine.toml", "--weights", weights]
    status = main([*map(str, arguments), "--device", "cpu", "--format", "json"])
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (status, err) == (0, "") and found["extractor_sha256"] == digest

    with torch.no_grad():
        (logits,) = theirs(weights, ["logits_unbiased"])(images)
    p = torch.softmax(logits.double(), dim=1).numpy()
    halves = [np.exp((q * (np.log(q) - np.log(q.mean(0)))).sum(1).mean()) for q in np.split(p, 2)]
    score = float(np.mean(halves)) - 1  # 0 where all images look alike
    assert score > 0.03
    assert found["metrics"]["inception_score"]["value"] - 1 == pytest.approx(score, rel=1e-3)
