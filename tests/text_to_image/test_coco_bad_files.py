"""Files of a published text-to-image suite that do not fit: one clear sentence each."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest
import torch
from coco_miniature import CAPTIONS, NAME, smoke
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file

from bench.assets.registry import find
from bench.assets.store import AssetStore
from bench.cli import main
from bench.errors import AssetError
from bench.evaluation import evaluator_for
from bench.lab import Lab
from bench.models import released_student
from bench.parts import PublishedStudent
from bench.suite import load_suite
from metrics.protocols.registry import shipped_protocols

pytestmark = pytest.mark.usefixtures("one_thread", "no_files")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([*CAPTIONS, " "], "line 10 is empty; expected a caption"),
        (CAPTIONS, "9 captions for the 10 images of coco30k-cleanfid256@1"),
    ],
)
def test_a_caption_list_with_an_empty_line_or_of_another_length(
    lines: list[str], words: str, cache: Path
) -> None:
    path = next((cache / "files" / "captions/coco2014-30k-txt").iterdir())
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(AssetError, match=words):
        evaluator_for(smoke()).captions(range(1))  # type: ignore[attr-defined]


def test_captions_of_another_list(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law = shipped_protocols()["coco30k-cleanfid256@1"]
    assert law.sampling and law.sampling.prompts
    prompts = law.sampling.prompts.model_copy(update={"sha256": "0" * 64})
    changed = law.model_copy(update={"sampling": law.sampling.model_copy(update={"prompts": prompts})})
    for id_ in (law.id, "coco30k-clipvitg14@1"):
        other = shipped_protocols()[id_].model_copy(update={"sampling": changed.sampling})
        monkeypatch.setitem(shipped_protocols(), id_, other)
    with pytest.raises(AssetError, match=r"sha256 found .* captions of another list or order"):
        evaluator_for(smoke()).captions(range(1))  # type: ignore[attr-defined]


def test_real_pictures_that_are_not_all_of_them(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    law = shipped_protocols()["coco30k-cleanfid256@1"]
    assert law.reference is not None
    whole = law.reference.assets[0].model_copy(update={"count": 40504})
    reference = law.reference.model_copy(update={"assets": (whole,)})
    monkeypatch.setitem(shipped_protocols(), law.id, law.model_copy(update={"reference": reference}))
    with pytest.raises(AssetError, match=r"statistics of 20 pictures, coco30k-cleanfid256@1.* has 40,504"):
        evaluator_for(smoke()).reference_moments()


def test_methods_that_learn_from_pictures_need_pictures(tmp_path: Path) -> None:
    text = (resources.files("bench") / "suites" / f"{NAME}.toml").read_text(encoding="utf-8")
    (tmp_path / "own.toml").write_text(text.replace('pictures = "data/laion-625-pictures"\n', ""))
    words = ["run", "--suite", str(tmp_path / "own.toml"), "--offline", "--nfe", "1", "--method"]
    assert main([*words, "lcm", "--out", str(tmp_path)]) == 2
    assert main([*words, "sid", "--out", str(tmp_path)]) == 3, "files are missing, captions are enough"


def test_a_lora_for_another_base_and_a_scale_for_a_student_without(cache: Path) -> None:
    suite = load_suite(NAME)
    path = next((cache / "files" / "lcm/lora-sd15").iterdir())
    state = load_weights(path)
    name = next(key for key in state if key.endswith("lora_up.weight"))
    save_file({**state, name: torch.ones(640, 2)}, path)
    with pytest.raises(AssetError, match=f"{path.name}.*does not fit"):
        released_student(suite, suite.published[0])
    asked = PublishedStudent(method="dmd2", file=suite.published[2].file, guidance=2.0)
    with pytest.raises(AssetError, match="takes no guidance scale as an input"):
        released_student(suite, asked)


def test_a_folder_that_is_not_stable_diffusion(cache: Path) -> None:
    folder = AssetStore.default().locate(find("sd15"))
    assert folder is not None
    config = folder / "vae" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "scaling_factor": 0.13025}))
    with pytest.raises(AssetError, match=r"scales latents by 0\.13025, the U-Net was trained on"):
        Lab.open(smoke())


def test_guidance_of_a_network_without_an_unconditional_branch(cache: Path) -> None:
    """An LCM in the teacher's place."""
    config = cache / "files" / "sd15" / "unet" / "config.json"
    weights = next((cache / "files" / "lcm/dreamshaper-v7-unet").iterdir())
    config.write_text(json.dumps({**json.loads(config.read_text()), "time_cond_proj_dim": 32}))
    save_file(load_weights(weights), config.parent / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    with pytest.raises(AssetError, match=r"guidance needs a network .* take strength 0"):
        Lab.open(smoke())
