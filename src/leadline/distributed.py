"""Several processes that work on one run: who is who, sums over all, and a common end.

A process is one of many when a launcher says so in the environment: ours (`training.ranks`),
torchrun, or srun. With one process there is no process group, and every function here is a plain
no-op.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError
from leadline.processes import Preempted

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

# A rank that waits longer than this for another takes it for lost.
PATIENCE = timedelta(minutes=10)
# What a failing rank gets between taking its place among the failures and speaking: it may be
# killed in between, and nobody may wait for it for ever.
LAST_WORD_SECONDS = 2.0
FAILURES = "failures"
# What the other ranks wait for after a stop until rank 0 has ended, and how long.
LEFT, LEAVE_SECONDS = "left", 15.0


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
    os.environ |= torch_environment()
    import torch.distributed as dist

    host, port = address or meeting_point()
    # torchrun's agent serves a store already; with ours the parent does; else rank 0 must.
    served = address is not None or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host, port, None if served else world.size, world.leads and not served, timeout=PATIENCE
    )
    on = own_device(device, world, dist.PrefixStore("devices", store))  # type: ignore[attr-defined]
    if on.type == "cuda":
        import torch

        torch.cuda.set_device(on)
    dist.init_process_group(
        # Flags and objects go from CPU to CPU; through NCCL they would wait for the GPU.
        "cpu:gloo,cuda:nccl" if on.type == "cuda" else "gloo",
        store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
        rank=world.rank,
        world_size=world.size,
        timeout=PATIENCE,
        device_id=on if on.type == "cuda" else None,
    )
    try:
        yield store
        part()
    except Preempted:
        # srun may kill the others as soon as one ends (--kill-on-bad-exit): the writer goes first.
        if address is None:
            leave_after_leader(store, world)
        raise
    finally:
        if grouped():
            dist.destroy_process_group()


def part() -> None:
    """Leave the group, all together: nobody goes while another still talks to it."""
    if grouped():
        import torch.distributed as dist

        dist.barrier()
        dist.destroy_process_group()


def leave_after_leader(store: Any, world: World) -> None:
    """Let rank 0 end first after a stop, but do not wait long: it may be gone already."""
    if world.leads:
        store.set(LEFT, "")
        return
    latest = time.monotonic() + LEAVE_SECONDS
    # The store goes with rank 0.
    with suppress(RuntimeError):
        while not store.check([LEFT]) and time.monotonic() < latest:
            time.sleep(0.05)


def pick_device(wanted: str, world: World) -> torch.device:
    """Choose where to compute; a rank among several keeps the GPU that `process_group` gave it."""
    os.environ |= torch_environment()
    import torch

    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if world.size > 1:
        return torch.device("cuda", torch.cuda.current_device())
    if not torch.cuda.is_available():
        raise too_few_gpus(1, 0)
    return torch.device("cuda", 0)


def torch_environment() -> dict[str, str]:
    """Give what torch reads from the environment when it is loaded, and when it meets a GPU.

    It shall not advise against what `data_parallel` must do, and not lose memory to fragments.
    """
    ours = {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    return {name: os.environ.get(name, value) for name, value in ours.items()}


def own_device(wanted: str, world: World, store: Any) -> torch.device:
    """Choose a rank's device: a GPU that no other rank takes, whatever each of them sees.

    A scheduler may show every task one GPU as number 0, or all GPUs of its machine; only their
    UUIDs tell whether two ranks mean the same one.
    """
    import torch

    if wanted == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    seen = [str(torch.cuda.get_device_properties(gpu).uuid) for gpu in range(count)]
    store.set(f"gpus/{world.rank}", json.dumps(seen))
    seen_by_all = [json.loads(store.get(f"gpus/{rank}")) for rank in range(world.size)]
    if wanted == "auto" and not any(seen_by_all):
        return torch.device("cpu")
    return torch.device("cuda", share_gpus(seen_by_all)[world.rank])


def share_gpus(seen_by_all: Sequence[Sequence[str]]) -> list[int]:
    """Give each rank the place, among the GPUs that it sees, of one that no rank before it took.

    Examples
    --------
    >>> share_gpus([["a", "b"], ["a", "b"]]), share_gpus([["a"], ["b"]])
    ([0, 1], [0, 0])
    """
    taken: set[str] = set()
    places = []
    for seen in seen_by_all:
        place = next((k for k, name in enumerate(seen) if name not in taken), None)
        if place is None:
            raise too_few_gpus(len(seen_by_all), len(set().union(*seen_by_all)))
        taken.add(seen[place])
        places.append(place)
    return places


def too_few_gpus(ranks: int, gpus: int) -> UserError:
    """Say that ranks would have to share a GPU."""
    return UserError(
        "each rank of a run needs a GPU of its own",
        got=f"{ranks} ranks and {gpus} GPUs that torch can use",
        remedy="lower train.devices or give each task a GPU (srun --gpus-per-task=1), use "
        "train.device=cpu, or install torch's CUDA build",
    )


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


def data_parallel(losses: nn.Module) -> nn.Module:
    """Let torch sum the gradients of a module over ranks while its backward pass goes on.

    Summed, where torch would take the mean: what a rank adds counts by its weight, not its number.
    """
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    parallel = DistributedDataParallel(
        losses,
        # Buffers change alike on all ranks.
        forward_sync_buffers=False,
        # A parameter that no rank used must stay without a gradient, as on a single process.
        find_unused_parameters=True,
        gradient_as_bucket_view=True,
    )
    parallel.register_comm_hook(
        None,
        lambda _, bucket: (
            dist.all_reduce(bucket.buffer(), async_op=True)
            .get_future()
            .then(lambda done: done.value()[0])
        ),
    )
    return parallel


def summing(losses: nn.Module, *, now: bool) -> AbstractContextManager[None]:
    """Give the context of a forward and backward pass: gradients are summed now, or only kept."""
    return nullcontext() if now or not grouped() else losses.no_sync()  # type: ignore[operator]


def all_reduce_arrays(arrays: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Sum named arrays over all ranks."""
    import torch

    flat = torch.from_numpy(np.concatenate([array.ravel() for array in arrays.values()]))
    whole = all_reduce(flat).numpy()
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
