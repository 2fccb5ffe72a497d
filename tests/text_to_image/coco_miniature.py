"""Small files of the published formats under the ids that ``coco2014-30k`` and ``sdxl-coco10k`` ask for."""

from __future__ import annotations

import dataclasses
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from published_files import write_torchscript
from safetensors.torch import save_file
from tiny_pipeline import XL_UNET, edit, filled, unet, write_pipeline, write_xl_pipeline
from torch import Tensor, nn

from baselines.networks.low_rank import TARGETS
from baselines.streams import numpy_generator, torch_generator
from bench.assets.registry import Asset, assets, find
from bench.cli import main
from bench.record import Record, read_record
from bench.request import Request, resolve
from bench.suite import Suite
from bench.suite_protocol import PublishedProtocol
from metrics.features.nvidia import CleanInception
from metrics.features.registry import ENTRIES
from metrics.protocols.registry import shipped_protocols

NAME, XL_NAME = "coco2014-30k", "sdxl-coco10k"
FEATURES, PICTURES = 16, 20
CAPTIONS = [f"a {colour} {thing}" for thing in ("cat", "disc", "bar") for colour in ("red", "blue", "dark")]
LONG = "a very long caption of many words"  # for a context of twelve tokens
CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


class SmallInception(nn.Module):
    """NVIDIA's TorchScript file, as far as clean-fid calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, FEATURES, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, img: Tensor) -> Tensor:
        return self.layers(img)  # type: ignore[no-any-return]


def write_folder(path: Path) -> None:
    """A Stable Diffusion or SDXL folder."""
    large = path.name.startswith("sdxl")
    (write_xl_pipeline if large else write_pipeline)(path)
    edit(path / "vae" / "config.json", scaling_factor=0.13025 if large else 0.18215)


def picture(rng: np.random.Generator, mode: str = "RGB") -> bytes:
    """A JPEG of some size."""
    shape = (int(rng.integers(20, 40)), int(rng.integers(20, 40)), *((3,) if mode == "RGB" else ()))
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def write_val(path: Path) -> None:
    """COCO's zip; one photograph is grey, as some of the real ones are."""
    rng = numpy_generator(0, "data")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(PICTURES):
            name = f"val2014/COCO_val2014_{number:012d}.jpg"
            archive.writestr(name, picture(rng, "L" if number == 3 else "RGB"))


def write_prompted(path: Path) -> None:
    """DMD2's zip: pictures, and the pickled list of what they show."""
    rng = numpy_generator(0, "data")
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(PICTURES):
            archive.writestr(f"coco10k/subset/{number:05d}.jpg", picture(rng))
        archive.writestr("coco10k/all_prompts.pkl", pickle.dumps([*CAPTIONS, LONG]))


def rewritten(path: Path, *lists: object) -> None:
    """DMD2's zip with other lists of captions."""
    with zipfile.ZipFile(path) as archive:
        pictures = {name: archive.read(name) for name in archive.namelist() if name.endswith(".jpg")}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in pictures.items():
            archive.writestr(name, data)
        for number, one in enumerate(lists):
            archive.writestr(f"part{number}/all_prompts.pkl", pickle.dumps(one))


def write_training(path: Path) -> None:
    """Captioned pictures as Hugging Face's imagefolder has them."""
    path.mkdir(parents=True, exist_ok=True)
    rng, lines = numpy_generator(1, "data"), []
    for number, text in enumerate(CAPTIONS):
        (path / f"{number}.jpg").write_bytes(picture(rng))
        lines.append(json.dumps({"file_name": f"{number}.jpg", "text": text}))
    (path / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def write_inception(path: Path) -> None:
    """TorchScript weights."""
    write_torchscript(path, SmallInception())


def write_clip(path: Path) -> None:
    """A state dict of open_clip's, of a smaller ViT-g-14."""
    import open_clip

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = open_clip.create_model("ViT-g-14", load_weights=False)
    torch.save(network.state_dict(), path)


def network(path: Path, **changes: Any) -> Any:
    """A U-Net of the kind that a file is for."""
    return unet(**(XL_UNET if "sdxl" in str(path.parent.name) else {}), **changes)


def write_lora(path: Path) -> None:
    """LCM-LoRA: kohya's names, fp16, an alpha for each layer; DMD2's has no alpha."""
    state, generator = {}, torch_generator(3, "init")
    for name, layer in network(path).named_modules():
        if isinstance(layer, nn.Linear) and name.endswith(tuple(f".{target}" for target in TARGETS)):
            flat, (out, into) = f"lora_unet_{name.replace('.', '_')}", layer.weight.shape
            state[f"{flat}.lora_down.weight"] = torch.randn(2, into, generator=generator).half()
            state[f"{flat}.lora_up.weight"] = torch.randn(out, 2, generator=generator).half()
            state[f"{flat}.alpha"] = torch.tensor(2.0)
    if "dmd2" in str(path):
        state = {name: value for name, value in state.items() if not name.endswith("alpha")}
    save_file(state, path)


def write_student(path: Path, width: int | None) -> None:
    """A U-Net by diffusers' names: DMD2's in a torch file, LCM's with a guidance embedding in safetensors."""
    net = filled(network(path, time_cond_proj_dim=width), sum(map(ord, path.parent.name)))
    state = {name: value.contiguous() for name, value in net.state_dict().items()}
    torch.save(state, path) if path.suffix == ".bin" else save_file(state, path)


def write_asset(asset: Asset, path: Path) -> None:
    """One file or folder, by its id."""
    path.parent.mkdir(parents=True, exist_ok=True)
    match asset.id:
        case "sd15" | "sdxl-base-1.0":
            write_folder(path)
        case "captions/coco2014-30k-txt":
            path.write_text("\n".join([*CAPTIONS, LONG]) + "\n")
        case "captions/laion-6.25":
            path.write_bytes(pickle.dumps(CAPTIONS))
        case "data/coco-val2014":
            write_val(path)
        case "data/laion-625-pictures":
            write_training(path)
        case "inception/nvidia-torchscript":
            write_inception(path)
        case "clip/openclip-vit-g-14":
            write_clip(path)
        case "data/coco10k-dmd2":
            write_prompted(path)
        case "lcm/lora-sd15" | "lcm/lora-sdxl" | "dmd2/sdxl-4step-lora-fp16":
            write_lora(path)
        case "lcm/dreamshaper-v7-unet":
            write_student(path, 32)
        case _:
            write_student(path, None)


def write_cache(cache: Path, suite: Suite) -> None:
    """Every file of the suite, where ``bench prepare`` puts it."""
    for id_ in suite.all_assets:
        asset = find(id_)
        write_asset(asset, cache / "files" / id_ / asset.file)


def without_digests(suite: Suite, patch: pytest.MonkeyPatch) -> None:
    """Small files are not refused for digests and counts of the real ones; ViT-g-14 is a small network."""
    import open_clip

    for id_ in suite.all_assets:
        patch.setitem(assets(), id_, dataclasses.replace(assets()[id_], sha256=None, size=None))
    protocol = suite.protocol
    assert isinstance(protocol, PublishedProtocol) and protocol.clip
    for id_ in (protocol.id, protocol.clip, *protocol.others):
        law, count = shipped_protocols()[id_], len(CAPTIONS) + 1
        assert law.sampling and law.sampling.prompts
        prompts = law.sampling.prompts.model_copy(update={"sha256": None, "count": count})
        changed: dict[str, Any] = {"sampling": law.sampling.model_copy(update={"prompts": prompts})}
        if law.extractor and law.reference:
            real = law.reference.assets[0].model_copy(update={"count": PICTURES})
            asset = law.extractor.asset.model_copy(update={"sha256": None})
            changed["reference"] = law.reference.model_copy(update={"assets": (real,)})
            changed["extractor"] = law.extractor.model_copy(update={"asset": asset, "dimension": FEATURES})
        patch.setitem(shipped_protocols(), id_, law.model_copy(update=changed))
    own = dataclasses.replace(ENTRIES["inception-clean"], sha256=None, dimension=FEATURES)
    patch.setitem(ENTRIES, "inception-clean", own)
    patch.setattr(CleanInception, "dimension", FEATURES)
    patch.setitem(open_clip.factory._MODEL_CONFIGS, "ViT-g-14", CLIP)


def smoke(name: str = NAME) -> Suite:
    """A suite in the size of a smoke run."""
    return resolve(Request(name, smoke=True))[0]


def records_of(suite: str, out: Path, *words: str) -> dict[str, Record]:
    """Records of a smoke run, by label; all are ok."""
    assert main(["run", "--suite", suite, "--smoke", "--offline", "--out", str(out), *words]) == 0
    records = [read_record(path) for path in out.glob("*/*/record.json")]
    assert {record.status for record in records} == {"ok"}
    return {record.label: record for record in records}
