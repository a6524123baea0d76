"""Several ranks on this machine, inside one run: torch's elastic agent starts and watches them."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from leadline import distributed, processes
from leadline.distributed import World
from leadline.errors import UserError
from leadline.locks import started
from leadline.processes import Preempted, signal_handlers

HERE = "127.0.0.1"
# Time in which ranks write a checkpoint when the run is told to stop; then they are killed.
GRACE_SECONDS = 20
# Poll interval for the parent process and the other ranks.
WATCH_SECONDS = 0.5
# Grace period after a peer rank died. A rank may hang in a collective of NCCL, which neither
# notices a lost rank nor lets Python answer a signal.
PEER_GRACE_SECONDS = 10.0
MISTAKE, STOPPED, RESULT = "mistake", "stopped", "result"

# What a rank does: (world, notice, *arguments) → its result.
Work = Callable[..., Any]


class RankFailed(Exception):
    """A rank ended without a result; the message holds what is known of each."""


def ranks(count: int, device: str, work: Work, *arguments: Any) -> Any:
    """Let `count` processes do the same work as one process group; give rank 0's result.

    Raises
    ------
    RankFailed
        When a rank failed or was killed; by then all the others have ended too.
    Preempted, UserError
        As the ranks raised them.
    """
    import torch.distributed as dist
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # The store outlives the ranks, so that what a failed one said can still be read.
    store = dist.TCPStore(  # type: ignore[attr-defined]
        HERE, 0, is_master=True, wait_for_workers=False
    )
    plan = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=f"leadline-{os.getpid()}-{store.port}",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{HERE}:0",
        local_addr=HERE,
        max_restarts=0,
        shutdown_timeout=GRACE_SECONDS,
        # SIGHUP and SIGQUIT end a run like any other program.
        signals_to_handle="SIGTERM,SIGINT",
    )
    # torch's agent replaces signal handlers and leaves its own.
    with quiet_agent(), signal_handlers(signal.SIGTERM, signal.SIGINT):
        try:
            said = elastic_launch(plan, rank_main)(
                os.getpid(), (HERE, store.port), device, work, arguments
            )
        except ChildFailedError as error:
            if store.check([MISTAKE]):
                rule, got, remedy = json.loads(store.get(MISTAKE))
                raise UserError(rule, got=got, remedy=remedy) from None
            raise RankFailed(reasons(error, distributed.failures(store))) from None
        except SignalException as error:
            if error.sigval == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise Preempted from None
    return result_of(said)


def result_of(said: dict[int, tuple[str, Any]]) -> Any:
    """Give rank 0's result, unless any rank was stopped."""
    if any(kind == STOPPED for kind, _ in said.values()):
        raise Preempted
    return said[0][1]


def rank_main(
    parent: int, address: tuple[str, int], device: str, work: Work, arguments: tuple[Any, ...]
) -> tuple[str, Any]:
    """Do one rank's work; what it raises is told to the parent through the store."""
    watched = {parent: started(parent)}
    threading.Thread(target=exit_when_gone, args=(watched, 0.0), daemon=True).start()
    world = distributed.from_environment()
    with processes.sigterm_as_stop() as notice:
        try:
            with (
                distributed.process_group(world, device, address) as store,
                report_errors(store, world),
            ):
                exit_with_peers(world)
                result = work(world, notice, *arguments)
        except Preempted:
            return STOPPED, None
    return RESULT, result if world.leads else None


@contextmanager
def report_errors(store: Any, world: World) -> Iterator[None]:
    """Store what goes wrong here before the other ranks see only a lost connection."""
    try:
        yield
    except UserError as error:
        store.set(MISTAKE, json.dumps([error.rule, error.got, error.remedy]))
        raise
    except Exception:
        distributed.report_failure(store, world.rank, traceback.format_exc())
        raise


def exit_with_peers(world: World) -> None:
    """Start a thread that ends this process soon after any other rank has ended."""
    pids = distributed.all_gather_objects(os.getpid(), world)
    watched = {pid: started(pid) for pid in pids}
    threading.Thread(target=exit_when_gone, args=(watched, PEER_GRACE_SECONDS), daemon=True).start()


def exit_when_gone(watched: dict[int, str | None], grace: float) -> None:
    """End this process when a watched one has gone; start times tell a reused process id."""
    while all(mark is None or started(pid) == mark for pid, mark in watched.items()):
        time.sleep(WATCH_SECONDS)
    time.sleep(grace)
    os._exit(1)


def reasons(error: Any, confessed: list[str]) -> str:
    """Say what ended each rank, first what no rank could say itself: that it was killed."""
    killed = []
    for rank, failure in sorted(error.failures.items()):
        if failure.exitcode < 0 and failure.exitcode not in (-signal.SIGTERM, -signal.SIGKILL):
            killed.append(f"rank {rank} was ended by {signal.Signals(-failure.exitcode).name}")
        elif failure.exitcode == -signal.SIGKILL:
            killed.append(
                f"rank {rank} was killed (SIGKILL); the kernel does so when memory runs out"
            )
    if not killed and not confessed:
        killed = [f"rank {r} ended with exit code {f.exitcode}" for r, f in error.failures.items()]
    return "\n\n".join([*killed, *confessed])


# The agent replaces the handlers of these, and leaves its own.
KEPT: dict[int, None] = {signal.SIGTERM: None, signal.SIGINT: None}


@contextmanager
def quiet_agent() -> Iterator[None]:
    """Keep torch from writing to stderr what the record will say."""
    names = ("torch.distributed.elastic", "torch.multiprocessing.spawn")
    speakers = [logging.getLogger(name) for name in names]
    before = [speaker.level for speaker in speakers]
    for speaker in speakers:
        speaker.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for speaker, level in zip(speakers, before, strict=True):
            speaker.setLevel(level)
