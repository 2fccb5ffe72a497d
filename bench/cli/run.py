"""``bench run``: distil, sample, measure and record the cells of a suite."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from bench.cli.options import Plugins, SeedCount, Steps, SuiteName, parse_steps, portable

Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="name or name[option=value,...]; repeatable [default: all]"),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="also measure an installed metric of others; those of --plugin always are"),
]
BudgetName = Annotated[str, typer.Option(help="budget named in the suite: quick, standard, full")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Out = Annotated[Path, typer.Option(help="folder of runs; a second run goes on where the first stopped")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads (part of the device class)")]
References = Annotated[bool, typer.Option(help="also measure teacher, plain solvers and anchors")]
Students = Annotated[bool, typer.Option(help="train methods; without, only references are measured")]
Smoke = Annotated[bool, typer.Option(help="tiny budget and samples: checks the path, is not a result")]
Offline = Annotated[bool, typer.Option("--offline", help="let nothing use the network")]
ProtocolId = Annotated[
    str | None, typer.Option("--protocol", help="another of the suite's protocols, that of a paper say")
]
Isolate = Annotated[bool, typer.Option(help="run the cells of plugins in processes of their own")]
Memory = Annotated[
    int | None,
    typer.Option(
        "--plugin-memory", min=1, help="MiB a plugin's cell may take [default: 80 % of what is free]"
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="start it even if it takes more than a day of the device")]
Track = Annotated[
    str | None,
    typer.Option(help="also follow the run in tensorboard or wandb (offline); needs the extra 'track'"),
]
Jobs = Annotated[
    int, typer.Option(min=1, help="cells worked on at once on this machine, each with a device of its own")
]
LauncherName = Annotated[str, typer.Option("--launcher", help="local, torchrun, slurm")]
Processes = Annotated[
    int | None,
    typer.Option(min=1, help="that share a cell under torchrun [default: one a GPU, at least 2]"),
]
SlurmOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm", help="key=value for sbatch (partition=gpu); cluster=local tries it here; repeatable"
    ),
]
Checkpointing = Annotated[
    bool, typer.Option("--checkpointing", help="less memory, more time, same numbers: activations made again")
]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="networks of trainings by torch.compile; numbers differ by rounding"),
]
Shard = Annotated[
    bool,
    typer.Option(
        "--shard", help="the processes of a cell keep weights and optimisers in shards; needs torchrun"
    ),
]
FailFast = Annotated[bool, typer.Option(help="stop at the first failed cell")]


def run(
    suite: SuiteName,
    method: Methods = None,
    budget: BudgetName = "standard",
    nfe: Steps = None,
    seeds: SeedCount = None,
    device: Device = "auto",
    out: Out = Path("runs"),
    plugin: Plugins = None,
    metric: Metrics = None,
    isolate: Isolate = True,
    plugin_memory: Memory = None,
    threads: Threads = None,
    references: References = True,
    students: Students = True,
    smoke: Smoke = False,
    fail_fast: FailFast = False,
    yes: Yes = False,
    offline: Offline = False,
    protocol: ProtocolId = None,
    track: Track = None,
    jobs: Jobs = 1,
    launcher: LauncherName = "local",
    slurm: SlurmOptions = None,
    processes: Processes = None,
    checkpointing: Checkpointing = False,
    compiled: Compile = False,
    shard: Shard = False,
) -> None:
    """Run cells and print their leaderboard. Exit status 1 if a cell failed (the others ran)."""
    from bench import launch, request

    raise typer.Exit(launch.execute(request.Request(
        suite=suite, methods=tuple(method or ()), budget=budget, nfe=parse_steps(nfe), seeds=seeds, yes=yes,
        device=device, out=out, plugins=tuple(plugin or ()), metrics=tuple(metric or ()), isolate=isolate,
        memory_mib=plugin_memory, threads=threads, references=references, students=students, smoke=smoke,
        fail_fast=fail_fast, offline=offline, protocol=protocol, track=track, jobs=jobs, launcher=launcher,
        slurm=tuple(slurm or ()), processes=processes, checkpointing=checkpointing, compiled=compiled,
        sharded=shard, command=command_of(suite),
    )))  # fmt: skip


def command_of(suite: str) -> str:
    """The command as records print it."""
    return portable(sys.argv[1:]) if sys.argv[1:2] == ["run"] else f"bench run --suite {suite}"
