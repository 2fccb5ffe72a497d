"""The launchers by name."""

from __future__ import annotations

from collections.abc import Callable

from bench.distributed.group import Group
from bench.errors import UsageError, unknown
from bench.launchers.crew import Crew
from bench.launchers.launcher import InThisProcess, Launcher
from bench.launchers.slurm import Slurm
from bench.launchers.torchrun import InGroup, Torchrun
from bench.request import Request


def local(request: Request) -> Launcher:
    """On this machine: cell by cell, several at once, or each shared out over torchrun's processes."""
    if Group.asked_for():
        return InGroup(request)
    return InThisProcess(request) if request.jobs == 1 else Crew(request)


LAUNCHERS: dict[str, Callable[[Request], Launcher]] = {"local": local, "slurm": Slurm, "torchrun": Torchrun}


def find_launcher(request: Request) -> Launcher:
    """The launcher that a request names.

    Raises:
        UsageError: no such launcher, or options that it does not take.
    """
    if request.launcher not in LAUNCHERS:
        raise unknown("launcher", request.launcher, LAUNCHERS, "--launcher")
    if request.launcher != "local" and request.jobs != 1:
        raise UsageError(
            f"--jobs {request.jobs}: packs cells on this machine, but --launcher {request.launcher} was "
            "given; leave one of the two away"
        )
    if request.launcher != "slurm" and request.slurm:
        raise UsageError(f"--slurm {request.slurm[0]}: give it with --launcher slurm")
    if request.launcher != "torchrun" and request.processes:
        raise UsageError(f"--processes {request.processes}: give it with --launcher torchrun")
    if request.launcher != "local" and Group.asked_for():
        raise UsageError(f"--launcher {request.launcher}: torchrun started this process; leave it away")
    if request.sharded:
        check_shards(request)
    return LAUNCHERS[request.launcher](request)


def check_shards(request: Request) -> None:
    """Raise UsageError unless several processes train plain networks, whose weights can lie in shards."""
    if request.launcher != "torchrun" and not Group.asked_for():
        raise UsageError(
            "--shard: shares the weights of a training out over several processes, and this is one; add "
            "--launcher torchrun, or start the command with torchrun --nproc_per_node=N, N at least 2"
        )
    if request.processes == 1:
        raise UsageError("--shard: --processes is 1, expected at least 2; leave one of the two away")
    if request.compiled:
        raise UsageError(
            "--shard: gathers weights while a network runs, which --compile cannot trace; leave one of the "
            "two away"
        )
