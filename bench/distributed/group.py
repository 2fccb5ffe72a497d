"""The processes of a run that share their work (torch.distributed under torchrun)."""

from __future__ import annotations

import os
import pickle
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import BenchError

TIMEOUT = timedelta(minutes=30)  # of one exchange: longer than any step may take
GRACE = timedelta(seconds=30)  # in which ranks that fail at the same place all get to say so
POLL_SECONDS = 0.01
AWAKE_SECONDS = 0.02  # for which a rank stays awake in an exchange of tensors
TOGETHER, APART = "together", "apart"

Made = TypeVar("Made")


@dataclass
class Log:
    """What a rank has done with the others; ranks that stand at the same place have done as much.

    Attributes:
        exchanges: that it entered.
        broken: whether it left one by an exception.
        meetings: see ``Group.in_step``.
    """

    exchanges: int = 0
    broken: bool = False
    meetings: int = 0


@dataclass(frozen=True)
class Group:
    """Processes numbered ``0 .. size``; rank 0 leads.

    Every method here is called by all of them, in the same order.

    Attributes:
        store: of keys and values that all ranks see, beside the exchanges.
    """

    rank: int
    size: int
    store: Any = None
    log: Log = field(default_factory=Log, compare=False)

    @staticmethod
    def asked_for() -> bool:
        """Whether torchrun started this process beside others."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ

    @staticmethod
    def join(device: str) -> Group:
        """Meet the others: NCCL between GPUs, gloo between CPUs."""
        from torch.distributed.distributed_c10d import PrefixStore  # not there in every torch
        from torch.distributed.rendezvous import rendezvous

        store, rank, size = next(rendezvous("env://", timeout=TIMEOUT))
        # torchrun's store outlives its processes: those started again must not find what the last ones left;
        # of several nodes each counts for itself how often it started
        one_node = os.environ.get("LOCAL_WORLD_SIZE") == str(size)
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if one_node else ""
        backend, own = "nccl" if device.startswith("cuda") else "gloo", PrefixStore(f"group {start}", store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=TIMEOUT)
        name = Group(rank, size).tell(uuid4().hex)
        return Group(rank, size, PrefixStore(name, store))

    def leave(self) -> None:
        """Part from the others."""
        dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def tell(self, value: Any = None) -> Any:
        """What rank 0 says, on every rank (any value that pickles)."""
        box = [value]
        self._exchange(dist.broadcast_object_list, box, src=0)
        return box[0]

    def everyone(self, value: Any) -> list[Any]:
        """What each rank says, by rank."""
        said: list[Any] = [None] * self.size
        self._exchange(dist.all_gather_object, said, value)
        return said

    def agree(self, what: dict[str, Any]) -> None:
        """Refuse ranks that differ in what decides numbers.

        Raises:
            BenchError: naming the first difference.
        """
        said = self.everyone((socket.gethostname(), what))
        (first, expected), *others = said
        for rank, (host, found) in enumerate(others, 1):
            for key, value in expected.items():
                if found.get(key) != value:
                    self._heard()
                    raise BenchError(
                        f"rank {rank} on {host}: {key} is {found.get(key)}, expected {value} as on rank 0 "
                        f"({first}); run the same code and files everywhere"
                    )

    def all_or_none(self, make: Callable[[], Made]) -> Made:
        """What this rank makes; if that fails on any of them, the first such error is raised on all."""
        try:
            made, error = make(), None
        except Exception as caught:
            error = sendable(caught)
        for failed in self.everyone(error):
            if failed is not None:
                self._heard()
                raise failed
        return made

    def collected(self, makers: Sequence[Callable[[], Tensor]]) -> list[Tensor]:
        """What the makers make, on every rank; each rank calls every ``size``-th of them."""
        mine = range(self.rank, len(makers), self.size)
        made: dict[int, Tensor] = self.all_or_none(lambda: {n: makers[n]() for n in mine})
        whole: list[Any] = []
        for n in range(len(makers)):
            box = [made.pop(n, None)]
            self._exchange(dist.broadcast_object_list, box, src=n % self.size)
            whole.append(box[0])
        return whole

    def _heard(self) -> None:
        """Wait until all know what stops them: a process that ended earlier would break their exchange."""
        self.in_step("heard", failed=True)

    def _exchange(self, exchange: Callable[..., Any], *args: Any, **how: Any) -> None:
        self.log.exchanges += 1
        try:
            exchange(*args, **how)
        except BaseException:
            self.log.broken = True
            raise

    def _exchange_tensors(self, exchange: Callable[..., Any], *tensors: Any) -> None:
        """Awake on CPUs, by the device of the last one; on GPUs in the order of their stream."""
        if tensors[-1].device.type == "cpu":
            self._exchange(awake, exchange, *tensors)
        else:
            self._exchange(exchange, *tensors)

    def in_step(self, what: str, *, failed: bool) -> bool:
        """Whether all ranks ended something after the same exchanges, so that they can go on together.

        They say it through the store, since a rank that is left alone in an exchange cannot answer another.

        Args:
            what: that they ended.
            failed: on this rank; then it waits for the others no longer than they need to fail likewise.
        """
        self.log.meetings += 1
        name = f"meeting {self.log.meetings}"
        stand = f"broken on {self.rank}" if self.log.broken else f"{what} {self.log.exchanges}"
        try:
            self.store.set(f"{name} {self.rank}", stand)
            if self.store.add(f"{name} there", 1) == self.size:
                stands = {self.store.get(f"{name} {rank}") for rank in range(self.size)}
                alike = len(stands) == 1 and not self.log.broken
                self.store.compare_set(name, "", TOGETHER if alike else APART)
            end = time.monotonic() + (GRACE if failed else TIMEOUT).total_seconds()
            while not self.store.check([name]) and time.monotonic() < end:
                time.sleep(POLL_SECONDS)
            return self.store.compare_set(name, "", APART) == TOGETHER.encode()  # who is first decides
        except RuntimeError:  # the process that holds the store is gone
            return False

    # ------------------------------------------------------------------ rows

    def sizes(self, count: int) -> list[int]:
        """How many of ``count`` rows each rank has: as even as can be, the first ones one more."""
        each, more = divmod(count, self.size)
        return [each + (rank < more) for rank in range(self.size)]

    def rows(self, count: int) -> slice:
        """The rows of this rank."""
        sizes = self.sizes(count)
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def gathered(self, mine: Tensor, count: int) -> Tensor:
        """All ``count`` rows on every rank, from those that each has."""
        sizes = self.sizes(count)
        padded = mine.contiguous()
        if len(set(sizes)) > 1:  # one size for all: that is what is exchanged
            padded = mine.new_zeros(max(sizes), *mine.shape[1:])
            padded[: len(mine)] = mine
        parts = [torch.empty_like(padded) for _ in sizes]
        self._exchange_tensors(dist.all_gather, parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum over ranks of each tensor, in one exchange."""
        flat = torch.cat([t.reshape(-1) for t in tensors])
        self._exchange_tensors(dist.all_reduce, flat)
        parts = flat.split([t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    # ------------------------------------------------------------------ shards

    def rows_of_all(self, mine: Tensor) -> Tensor:
        """What each rank has ``[n]``, by rank ``[size, n]``."""
        found = mine.new_empty(self.size, len(mine))
        self._exchange_tensors(dist.all_gather, list(found.unbind()), mine)
        return found

    def own_row_summed(self, rows: Tensor) -> Tensor:
        """The row ``[n]`` of this rank in the sum over ranks of ``rows [size, n]``.

        Rows are exchanged and added up in the order of the ranks: gloo has no sum that is dealt out before
        torch 2.8.
        """
        rows = rows.contiguous()
        found = torch.empty_like(rows)
        self._exchange_tensors(dist.all_to_all_single, found, rows)
        return found.sum(0)


def awake(exchange: Callable[..., Any], *args: Any) -> None:
    """An exchange on CPUs, looked at until it is done, and slept through if it takes long.

    A rank that sleeps is woken late, by a millisecond or more where cores are virtual, and ranks that wake at
    different times wait for each other again: a training of small networks spends a fifth of its time so.
    """
    work = exchange(*args, async_op=True)
    end = time.monotonic() + AWAKE_SECONDS
    while not work.is_completed() and time.monotonic() < end:
        time.sleep(0)  # whoever else wants the core has it
    work.wait()


def sendable(error: Exception) -> Exception:
    """An error that another process can read; one that cannot be sent becomes what it says."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return BenchError(f"{type(error).__name__}: {error}")
    return error
