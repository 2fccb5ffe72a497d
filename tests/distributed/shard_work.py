"""What two ranks do for ``test_shards.py``, each in a process: ``shard_work.py FOLDER TASK ...``.

The same functions with ``ALONE`` in the place of ranks give what is expected.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from test_spread import cell_of
from tiny_pipeline import WIDTH, unet
from torch import nn
from torch.distributed.tensor import DTensor

import bench.training
from baselines.diffusion.cond import Cond
from baselines.diffusion.denoiser import Denoiser, EDMScaling
from baselines.diffusion.edm2 import EDM2Denoiser
from baselines.distiller import descend, frozen
from baselines.networks.checkpointing import checkpoint_blocks
from baselines.networks.edm2_unet import EDM2UNet
from baselines.networks.low_rank import with_low_rank
from baselines.networks.mlp import ResidualMLP
from baselines.networks.song_unet import SongUNet
from baselines.networks.text_unet import TextUNet
from baselines.streams import torch_generator
from bench.distributed import gathering
from bench.distributed.following import Follower
from bench.distributed.group import Group
from bench.distributed.in_shards import SpreadInShards
from bench.errors import BenchError
from bench.lab import Lab
from bench.making import training_of
from bench.memory import PeakBytes, weight_bytes
from bench.meter import Meter, Metered, Sharing
from bench.suite import load_suite
from bench.training import Training

METHODS = ["sid", "dmd2[steps=1]", "lcm", "moment_matching[steps=8]", "ddil[base=lcm]"]
OTHERS = ["dmd", "dmd2[steps=4]", "progressive", "ddil[base=dmd2,steps=4]"]
STEPS, HALF = 20, 4
Numbers = list[list[float]]


def small_lab() -> Lab:
    """gmm2d with a network of one block: each exchange between processes takes its time."""
    lab = Lab.open(load_suite("gmm2d"))
    model = ResidualMLP(2, 32, 1).initialise(torch_generator(0, "init"))
    return replace(lab, net=Denoiser(model, lab.net.scaling).eval().requires_grad_(False))


def lent(share: Sharing, lab: Lab) -> Any:
    return share.keeps.lent(lab.net)


# ------------------------------------------------------------------ gradients


def networks() -> dict[str, Denoiser]:
    """Small ones of each kind: blocks, single layers, numbers as weights, attention that reads weights."""
    generator = torch_generator(1, "init")
    unet = SongUNet(16, 1, model_channels=8, channel_mult=(1,), num_blocks=1, attn_resolutions=(16,))
    edm2 = EDM2Denoiser(EDM2UNet(8, 2, widths=(64,), num_blocks=1), EDMScaling(), uncertainty_channels=8)
    made = {
        "unet": Denoiser(unet.initialise(generator), EDMScaling()),
        "edm2": edm2.initialise(generator),
        "mlp": Denoiser(ResidualMLP(2, 16, 2).initialise(generator), EDMScaling()),
    }
    for net in made.values():
        with torch.no_grad():
            for p in net.parameters():  # none is zero, as after a training
                p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return {name: net.double().eval().to(memory_format=torch.channels_last) for name, net in made.items()}  # type: ignore[call-overload]


def gradients(
    net: Denoiser, share: Sharing, shape: tuple[int, ...], clip: float | None = 0.1, cond: Cond | None = None
) -> list[torch.Tensor]:
    """Of a loss that couples the rows, in weights and inputs: three methods, calls on calls, and frozen."""
    share.keeps.keep(net)
    shell = Metered(net, "net", Meter(), 1.0, share)
    generator = torch_generator(2, "init")
    x = torch.randn(3, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    sigma = torch.rand(3, generator=generator, dtype=torch.float64) + 0.5
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2, foreach=True)
    out = shell(x, sigma, cond)
    loss = (out.sum(0) ** 2).mean() + (shell(out, 0.7, cond).mean(0) ** 3).sum()
    loss = loss + shell.raw(x, sigma, cond).square().mean() + shell.features(x, sigma, cond).square().mean()
    descend(loss, optimizer, clip=clip, finite=True)
    getattr(net, "normalise_weights", lambda: None)()
    assert x.grad is not None
    found = {f"grad/{n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    with frozen(shell):
        other = (shell(x, sigma, cond).sum(0) ** 2).mean() + shell.features(x, 0.3, cond).sum()
        (through,) = torch.autograd.grad(other, x)
    kept = share.keeps.whole({**found, **dict(net.named_parameters())})
    return [loss.detach(), x.grad, through, *kept.values()]


def shapes() -> dict[str, tuple[int, ...]]:
    return {"unet": (1, 16, 16), "edm2": (2, 8, 8), "mlp": (2,)}


def all_gradients(share: Sharing) -> dict[str, list[torch.Tensor]]:
    made = networks()
    checkpoint_blocks(made["edm2"])
    return {name: gradients(net, share, shapes()[name]) for name, net in made.items()}


def text_network() -> Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)  # diffusers draws first values from the global generator
        return Denoiser(TextUNet(unet()), EDMScaling())


def text_gradients(share: Sharing) -> dict[str, list[torch.Tensor]]:
    """diffusers' U-Net: plain, with activations made again, and of which a low-rank change is trained."""
    generator, found = torch_generator(3, "init"), {}
    cond = Cond(text=torch.randn(3, 5, WIDTH, generator=generator, dtype=torch.float64))
    for name in ("plain", "spare", "thin"):
        net = text_network()
        if name == "spare":
            checkpoint_blocks(net)
        if name == "thin":
            with_low_rank(net, 2, torch_generator(4, "init"))
        found[name] = gradients(net.double().train(), share, (4, 8, 8), cond=cond)
    return found


# ------------------------------------------------------------------ trainings


def first_steps(label: str, lab: Lab, share: Sharing, steps: int = STEPS) -> dict[str, Any]:
    """Scalars of the first steps, work by role, and a digest of the student's weights."""
    cell = cell_of(label, lab)
    with lent(share, lab):
        training = training_of(lab, cell, Path("nowhere"), lambda *_: None, share)
        scalars = [list(training.iterate().values()) for _ in range(steps)]
        weights = training.weights().values()
        sums = [float(w.double().abs().sum()) for w in weights]
    return {"scalars": scalars, "work": training.context.meter.state_dict(), "sums": sums}


def going_on(folder: Path, lab: Lab, share: Sharing, kind: type[Training], *, last: bool = False) -> Numbers:
    """Scalars of four more steps of a training in a folder, saved at its end."""
    with lent(share, lab):
        training = training_of(lab, cell_of("dmd2[steps=1]", lab), folder, lambda *_: None, share, kind)
        training.resume()
        found = [list(training.iterate().values()) for _ in range(HALF)]
        training.write_snapshot()
        training.finish() if last else training.save()
    return found


def bytes_of(training: Training) -> int:
    """Of parameters, averages and optimiser states that lie in this process."""
    nets = [shell.plain for shell in training.context.networks.values()]
    tensors = [p for net in (*nets, *training.averages.values()) for p in net.parameters()]
    for optimizer in training.context.optimizers.values():
        tensors += [t for values in optimizer.state.values() for t in values.values() if t.ndim]
    return sum(getattr(t, "_local_tensor", t).nbytes for t in tensors)


def held(lab: Lab, share: Sharing) -> int:
    """Bytes after a step of SiD."""
    with lent(share, lab):
        training = training_of(lab, cell_of("sid", lab), Path("nowhere"), lambda *_: None, share)
        training.iterate()
        return bytes_of(training)


# ------------------------------------------------------------------ tasks of ranks


def task_gradients(folder: Path, group: Group) -> Any:
    found = all_gradients(SpreadInShards(group, "cpu"))
    if group.leads:
        torch.save(found, folder / "gradients.pt")


def task_text(folder: Path, group: Group) -> Any:
    gathering.LARGE = 1  # the weights that stay are tiny here
    share = SpreadInShards(group, "cpu")
    found = text_gradients(share)
    if group.leads:
        torch.save(found, folder / "text.pt")
    thin = text_network()
    with_low_rank(thin, 2, torch_generator(4, "init"))
    share.keeps.keep(thin)
    whole = [name for name, t in thin.state_dict().items() if not isinstance(t, DTensor)]
    assert not whole, whole


def task_wrong(folder: Path, group: Group) -> Any:
    """Gradients that are averaged, and that are not reduced at all."""
    right = Group.own_row_summed
    try:
        Group.own_row_summed = lambda self, rows: right(self, rows) / self.size  # type: ignore[method-assign]
        averaged = gradients(networks()["mlp"], SpreadInShards(group, "cpu"), (2,), None)
        Group.own_row_summed = lambda self, rows: rows[self.rank].clone()  # type: ignore[method-assign]
        alone = gradients(networks()["mlp"], SpreadInShards(group, "cpu"), (2,), None)
    finally:
        Group.own_row_summed = right  # type: ignore[method-assign]
    if group.leads:
        torch.save({"averaged": averaged, "alone": alone}, folder / "wrong.pt")


def task_methods(folder: Path, group: Group) -> Any:
    lab = small_lab()
    before = {name: p.clone() for name, p in lab.net.named_parameters()}
    found = {label: first_steps(label, lab, SpreadInShards(group, "cpu")) for label in METHODS}
    after = dict(lab.net.named_parameters())
    assert all(type(p) is nn.Parameter and torch.equal(p, before[name]) for name, p in after.items())
    assert not any("forward" in vars(module) for module in lab.net.modules())
    return found


def task_others(folder: Path, group: Group) -> Any:
    lab = small_lab()
    return {label: first_steps(label, lab, SpreadInShards(group, "cpu")) for label in OTHERS}


def task_digits(folder: Path, group: Group) -> Any:
    lab = Lab.open(load_suite("digits"))
    return {one: first_steps(one, lab, SpreadInShards(group, "cpu"), 4) for one in ("lcm", "dmd2[steps=1]")}


def task_kept(folder: Path, group: Group) -> Any:
    """Bytes of a forward pass at its peak, and left for the backward pass, over those of the weights."""
    share = SpreadInShards(group, "cpu")
    net = Denoiser(ResidualMLP(2, 256, 4).initialise(torch_generator(0, "init")), EDMScaling())
    size = weight_bytes([net])
    share.keeps.keep(net)
    with PeakBytes() as counted:
        out = share.call(net, "__call__", torch.ones(3, 2), 1.0)
    assert out.requires_grad
    return counted.peak / size, counted.live / size


def task_bytes(folder: Path, group: Group) -> Any:
    return held(small_lab(), SpreadInShards(group, "cpu"))


def task_go_on(folder: Path, group: Group) -> Any:
    kind = Training if group.leads else Follower
    return going_on(folder / "training", small_lab(), SpreadInShards(group, "cpu"), kind)


def task_end(folder: Path, group: Group) -> Any:
    kind = Training if group.leads else Follower
    return going_on(folder / "training", small_lab(), SpreadInShards(group, "cpu"), kind, last=True)


def task_clocks(folder: Path, group: Group) -> Any:
    """Checkpoints of a whole training, always due by rank 0's clock and never by another's."""
    bench.training.CHECKPOINT_SECONDS = -1.0 if group.leads else 1e9
    share, lab, kind, saves = (
        SpreadInShards(group, "cpu"),
        small_lab(),
        Training if group.leads else Follower,
        0,
    )

    class Counted(kind):  # type: ignore[misc, valid-type]
        def save(self) -> None:
            nonlocal saves
            saves += 1
            super().save()

    cell = cell_of("lcm", lab)
    cell = replace(cell, budget=cell.budget.model_copy(update={"work": 1500.0}))
    with lent(share, lab):
        training = training_of(lab, cell, folder / "clocks", lambda *_: None, share, Counted)
        training.run()
    return {"saves": saves, "iterations": training.context.iteration, "snapshots": training.snapshots}


def task_refusals(folder: Path, group: Group) -> Any:
    """What is said of forward mode, of a changed weight, of a weight of two layers, and of an old torch."""
    share, lab, said = SpreadInShards(group, "cpu"), small_lab(), []
    with lent(share, lab):
        shell = Metered(lab.net, "net", Meter(), 1.0, share)
        net = replace(lab, net=lab.net).net.requires_grad_(True)
        loss = shell(torch.ones(3, 2, requires_grad=True), 1.0).sum()
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(2.0)
        for wrong in (lambda: shell.jvp({}, torch.ones(3, 2), 1.0), loss.backward):
            said.append(message(wrong))
        net.requires_grad_(False)
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    said.append(message(lambda: share.keeps.keep(tied)))
    known = torch.nan_to_num_
    try:
        torch.nan_to_num_ = None
        return [*said, message(lambda: SpreadInShards(group, "cpu"))]
    finally:
        torch.nan_to_num_ = known


def message(wrong: Any) -> str:
    try:
        wrong()
    except (BenchError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def main(folder: Path, *tasks: str) -> None:
    """Do tasks and write what each returns."""
    torch.set_num_threads(1)
    group = Group.join("cpu")
    found = {task: globals()[f"task_{task}"](folder, group) for task in tasks}
    (folder / f"{group.rank}.json").write_text(json.dumps(found))
    group.leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
