"""Several processes that work on one run: who is who, sums over all, and a common end.

A process is one of many when a launcher says so in the environment: ours (`training.ranks`),
torchrun, or srun. With one process there is no process group, and every function here is a plain
no-op.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# A rank that waits longer than this for another takes it for lost.
PATIENCE = timedelta(minutes=10)
# Gradients are summed in pieces of this many numbers: few calls, little extra memory.
BUCKET = 2**24
# What a failing rank gets between taking its place among the failures and speaking: it may be
# killed in between, and nobody may wait for it for ever.
LAST_WORD_SECONDS = 2.0
FAILURES = "failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Which of how many processes this is, on all machines and on this one."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1

    @property
    def leads(self) -> bool:
        """Say whether this process writes."""
        return self.rank == 0


def from_environment(environment: Mapping[str, str] = os.environ) -> World:
    """Read what a launcher says: torch's elastic agent, or srun with several tasks."""
    if "TORCHELASTIC_RUN_ID" in environment:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        rank, size, local_rank, local_size = (int(environment[name]) for name in names)
        return World(rank=rank, size=size, local_rank=local_rank, local_size=local_size)
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1 and "SLURM_PROCID" in environment:
        per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", str(tasks))
        node = int(environment.get("SLURM_NODEID", "0"))
        return World(
            rank=int(environment["SLURM_PROCID"]),
            size=tasks,
            local_rank=int(environment["SLURM_LOCALID"]),
            local_size=expand_counts(per_node)[node],
        )
    return World()


def expand_counts(text: str) -> list[int]:
    """Read SLURM's tasks per node.

    Examples
    --------
    >>> expand_counts("2(x3),1")
    [2, 2, 2, 1]
    """
    counts: list[int] = []
    for part in text.split(","):
        count, _, times = part.rstrip(")").partition("(x")
        counts += [int(count)] * int(times or 1)
    return counts


def first_host(nodes: str) -> str:
    """Give the first machine of SLURM's list.

    Examples
    --------
    >>> first_host("gpu[07-09,12],login")
    'gpu07'
    """
    head, bracket, rest = nodes.partition("[")
    if not bracket or "," in head:
        return head.split(",")[0]
    return head + rest.split("]")[0].split(",")[0].split("-")[0]


def meeting_point(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """Give the host and port where ranks that somebody else launched find one another."""
    if "MASTER_ADDR" in environment:
        return environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    step = int(environment["SLURM_JOB_ID"]) * 31 + int(environment.get("SLURM_STEP_ID", "0"))
    return first_host(environment["SLURM_STEP_NODELIST"]), 20_000 + step % 20_000


@contextmanager
def process_group(
    world: World, device: str = "auto", address: tuple[str, int] | None = None
) -> Iterator[Any]:
    """Open torch's process group and close it again; gives the ranks' common store."""
    if world.size == 1:
        yield None
        return
    import torch.distributed as dist

    host, port = address or meeting_point()
    # torchrun's agent serves a store already; with ours the parent does; else rank 0 must.
    served = address is not None or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, None if served else world.size, world.leads and not served, timeout=PATIENCE
    )
    on = pick_device(device, world)
    if on.type == "cuda":
        import torch

        torch.cuda.set_device(on)
    dist.init_process_group(
        "nccl" if on.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
        rank=world.rank,
        world_size=world.size,
        timeout=PATIENCE,
    )
    try:
        yield store
        # Nobody leaves while another still talks to it; after a failure nobody waits.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def pick_device(wanted: str, world: World) -> torch.device:
    """Choose where to compute; each rank of a machine takes a GPU of its own."""
    import torch

    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not there):
        return torch.device("cpu")
    if there < world.local_size:
        raise UserError(
            "each device of train.devices needs a GPU of its own",
            got=f"{world.local_size} devices and {there} GPUs that torch can use",
            remedy="lower train.devices, use train.device=cpu, or install torch's CUDA build",
        )
    return torch.device("cuda", world.local_rank)


def grouped() -> bool:
    """Say whether this process has others to talk to."""
    # Without torch in the process there is no group, and a baseline need not load it.
    if "torch" not in sys.modules:
        return False
    import torch.distributed as dist

    return dist.is_available() and dist.is_initialized()


def all_reduce(values: Tensor) -> Tensor:
    """Sum a tensor over all ranks, in place."""
    if grouped():
        import torch.distributed as dist

        dist.all_reduce(values)
    return values


def all_reduce_many(tensors: Sequence[Tensor]) -> None:
    """Sum many tensors over all ranks, in place, a bucket of them at a time."""
    if not grouped():
        return
    import torch

    bucket: list[Tensor] = []
    for index, tensor in enumerate(tensors):
        bucket.append(tensor)
        full = sum(member.numel() for member in bucket) >= BUCKET
        if full or index == len(tensors) - 1:
            flat = all_reduce(torch.cat([member.reshape(-1) for member in bucket]))
            parts = flat.split([member.numel() for member in bucket])
            torch._foreach_copy_(
                bucket, [part.view_as(member) for part, member in zip(parts, bucket, strict=True)]
            )
            bucket = []


def all_reduce_arrays(
    arrays: Mapping[str, NDArray[np.float64]], on: torch.device
) -> dict[str, Any]:
    """Sum named arrays over all ranks."""
    import torch

    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays.values()])).to(on)
    whole = all_reduce(flat).cpu().numpy()
    ends = np.cumsum([array.size for array in arrays.values()])[:-1]
    parts = np.split(whole, ends)
    return {
        name: part.reshape(array.shape)
        for (name, array), part in zip(arrays.items(), parts, strict=True)
    }


def gather_rows(rows: Tensor, total: int, world: World) -> Tensor:
    """Put the ranks' slices (`share_of`) of `total` rows together in order, on every rank."""
    if not grouped():
        return rows
    import torch
    import torch.distributed as dist

    longest = -(-total // world.size)
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(world.size)]
    dist.all_gather(parts, padded)
    lengths = [len(share_of(np.arange(total), rank, world.size)) for rank in range(world.size)]
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def share_of(rows: NDArray[np.int64], rank: int, size: int) -> NDArray[np.int64]:
    """Give one rank its slice of some rows; the first ranks have one more where it is uneven."""
    return np.array_split(rows, size)[rank]


def broadcast(tensors: Sequence[Tensor]) -> None:
    """Give every rank the tensors of rank 0."""
    if grouped():
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor, 0)


def broadcast_object(value: Any) -> Any:
    """Give every rank the small value that rank 0 has."""
    if not grouped():
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, 0)
    return box[0]


def all_gather_objects(value: Any, world: World) -> list[Any]:
    """Give every rank the small values of all ranks."""
    if not grouped():
        return [value]
    import torch.distributed as dist

    box: list[Any] = [None] * world.size
    dist.all_gather_object(box, value)
    return box


StartSignal = Callable[[], bool]


@contextmanager
def wait_for_leader(world: World) -> Iterator[StartSignal]:
    """Let the other ranks wait until rank 0 says whether there is work.

    Rank 0 calls the function that this yields once the others are to begin; leaving the block
    without a call tells them that there is nothing to do. On the other ranks the same function
    waits for that decision and returns it.
    """
    started = False

    def start() -> bool:
        nonlocal started
        started = True
        return bool(broadcast_object(True))

    try:
        yield start
    finally:
        if world.leads and not started:
            broadcast_object(False)


def report_failure(store: Any, rank: int, trace: str) -> None:
    """Store this rank's traceback where rank 0 reads it."""
    if store is not None:
        place = store.add(FAILURES, 1)
        store.set(f"{FAILURES}/{place}", f"rank {rank} on {socket.gethostname()}:\n{trace}")


def failures(store: Any) -> list[str]:
    """Read the tracebacks of failed ranks, in the order in which they failed."""
    count = store.add(FAILURES, 0) if store is not None else 0
    tracebacks = [failure_at(store, f"{FAILURES}/{place}") for place in range(1, count + 1)]
    return [trace for trace in tracebacks if trace is not None]


def failure_at(store: Any, place: str) -> str | None:
    """Read one traceback; None if its rank was killed before it could store it."""
    latest = time.monotonic() + LAST_WORD_SECONDS
    while not store.check([place]):
        if time.monotonic() > latest:
            return None
        time.sleep(0.05)  # The store's own way of waiting writes a warning to stderr.
    word: bytes = store.get(place)
    return word.decode()
