"""Several ranks on this machine, inside one run: torch's elastic agent starts and watches them."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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
MISTAKE, STOPPED, RESULT = "mistake.json", "stopped", "result"

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
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    store = dist.TCPStore(  # type: ignore[attr-defined]
        HERE, 0, is_master=True, wait_for_workers=False
    )
    os.environ |= distributed.torch_environment()
    logs = tempfile.TemporaryDirectory(prefix="leadline-ranks-")
    # torch's agent replaces signal handlers and leaves its own.
    handlers = signal_handlers(signal.SIGTERM, signal.SIGINT)
    with logs as folder, quiet_agent(), handlers:
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
            # Where torch writes down what a rank raised.
            logs_specs=DefaultLogsSpecs(log_dir=folder),
            numa_options=near_gpus(device),
        )
        try:
            said = elastic_launch(plan, rank_main)(
                os.getpid(), (HERE, store.port), device, work, arguments
            )
        except ChildFailedError as error:
            for path in Path(folder).rglob(MISTAKE):
                rule, got, remedy = json.loads(path.read_text())
                raise UserError(rule, got=got, remedy=remedy) from None
            raise RankFailed(reasons(error, tracebacks(Path(folder)))) from None
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
    """Do one rank's work; torch writes down what it raises."""
    watched = {parent: started(parent)}
    threading.Thread(target=exit_when_gone, args=(watched, 0.0), daemon=True).start()
    world = distributed.from_environment()
    with processes.sigterm_as_stop() as notice:
        try:
            with recorded(), distributed.process_group(world, device, address), recorded():
                exit_with_peers(world)
                result = work(world, notice, *arguments)
        except Preempted:
            return STOPPED, None
    return RESULT, result if world.leads else None


@contextmanager
def recorded() -> Iterator[None]:
    """Have torch write down what goes wrong, before other ranks see no more than a lost peer."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler

    try:
        yield
    except Exception as error:
        get_error_handler().record_exception(error)
        if isinstance(error, UserError):
            told = json.dumps([error.rule, error.got, error.remedy])
            Path(os.environ["TORCHELASTIC_ERROR_FILE"]).with_name(MISTAKE).write_text(told)
        # torch would write it down a second time, and later than what followed from it.
        raise SystemExit(1) from error


def near_gpus(device: str) -> Any:
    """Bind each rank to the cores beside its GPU, where there are GPUs."""
    import torch
    from torch.numa.binding import AffinityMode, NumaOptions

    if device == "cpu" or not torch.cuda.is_available():
        return None
    return NumaOptions(AffinityMode.NODE, should_fall_back_if_binding_fails=True)


def tracebacks(folder: Path) -> list[str]:
    """Give what ranks raised, in the order in which they failed: the first made others fail."""
    found = []
    for path in sorted(folder.rglob("error.json"), key=lambda path: path.stat().st_mtime_ns):
        # A rank may be killed while torch writes.
        with suppress(ValueError):
            trace = json.loads(path.read_text())["message"]["extraInfo"]["py_callstack"]
            found.append(f"rank {path.parent.name} on {socket.gethostname()}:\n{trace.strip()}")
    return found


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


def reasons(error: Any, raised: list[str]) -> str:
    """Say what ended each rank, first what no rank could say itself: that it was killed."""
    killed = []
    for rank, failure in sorted(error.failures.items()):
        if failure.exitcode < 0 and failure.exitcode not in (-signal.SIGTERM, -signal.SIGKILL):
            killed.append(f"rank {rank} was ended by {signal.Signals(-failure.exitcode).name}")
        elif failure.exitcode == -signal.SIGKILL:
            killed.append(
                f"rank {rank} was killed (SIGKILL); the kernel does so when memory runs out"
            )
    if not killed and not raised:
        killed = [f"rank {r} ended with exit code {f.exitcode}" for r, f in error.failures.items()]
    return "\n\n".join([*killed, *raised])


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
