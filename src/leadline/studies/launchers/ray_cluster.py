"""Workers on a Ray cluster: `hydra/launcher=ray`.

Ray finds a machine with the resources and keeps an actor there; the actor holds a warm worker,
the same program as with `local`. Ray itself never runs a run: its signals and its handling of
Python stay out of the way of checkpoints and ranks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from leadline import processes
from leadline.config import RayLauncher
from leadline.errors import UserError
from leadline.runs import record
from leadline.studies.launchers.base import (
    Launcher,
    QueuedRun,
    TaskResult,
    TaskState,
    outcome_line,
    read_outcome,
    read_task,
    task_line,
)
from leadline.studies.launchers.execute import lost
from leadline.studies.launchers.processes import Worker
from leadline.studies.launchers.slurm import groups

POLL_SECONDS = 0.3
GRACE_SECONDS = 60.0
# What a killed actor's worker gets to let go of its run before another attempt is made.
RELEASE_SECONDS = 30.0
CONNECT_SECONDS = 10.0


class Seat:
    """What an actor is: one warm worker on the machine that Ray chose."""

    def __init__(self, threads: int, cores_here: int, gpus: float) -> None:
        self.environment = {**processes.share_of(threads), processes.SHARE: str(cores_here)}
        if not gpus:
            # Who asks for no GPU must not come upon those of others.
            self.environment["CUDA_VISIBLE_DEVICES"] = ""
        self.worker: Worker | None = None

    def compute(self, line: bytes) -> bytes:
        """Compute one task; a worker that dies is replaced at the next."""
        if self.worker is not None and not self.worker.alive:
            self.worker.close()
            self.worker = None
        if self.worker is None:
            self.worker = Worker(self.environment)
        self.worker.give(read_task(line))
        return outcome_line(self.worker.collect())

    def preempt(self) -> None:
        """Let the run in hand write a checkpoint and end."""
        if self.worker is not None:
            self.worker.preempt()


class RayCluster(Launcher):
    """Actors, as many as there is room for; each computes one run at a time."""

    def __init__(self, config: RayLauncher) -> None:
        self.config = config
        self.ray = import_ray()
        self.actors: list[Any] = []

    def __enter__(self) -> RayCluster:
        options: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
        if self.config.address is None:
            options |= {"include_dashboard": False, "num_cpus": processes.of_machine()}
        require_listening(self.config.address)
        try:
            # Ray's handlers would end this process on SIGTERM.
            with (
                warnings.catch_warnings(),
                processes.signal_handlers(signal.SIGTERM, signal.SIGINT),
            ):
                warnings.simplefilter("ignore")
                self.ray.init(address=self.config.address or "local", **options)
        except (ConnectionError, ValueError) as error:
            raise no_ray(self.config.address, first_line(error)) from error
        return self

    def close(self) -> None:
        """Let go of the cluster; workers see it and end."""
        self.release()
        self.ray.shutdown()

    def run(self, tasks: Iterable[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks, those of one shape after those of another; see `base.Launcher`."""
        for group in reversed(groups(list(tasks))):
            if stop.is_set():
                return
            yield from self.run_group(group, stop)
            # Its resources may be what the next shape waits for.
            self.release()

    def run_group(self, tasks: list[QueuedRun], stop: threading.Event) -> Iterator[TaskResult]:
        """Compute tasks that need the same resources."""
        devices, waiting = tasks[0].devices, list(tasks)
        places = min(len(tasks), self.room(devices))
        idle = [self.actor(devices) for _ in range(places)]
        running: dict[Any, tuple[Any, QueuedRun]] = {}
        deadline = float("inf")
        while running or (waiting and not stop.is_set()):
            while waiting and idle and not stop.is_set():
                actor, task = idle.pop(), waiting.pop(0)
                running[actor.compute.remote(task_line(task))] = (actor, task)
            if stop.is_set() and deadline == float("inf"):
                deadline = time.monotonic() + GRACE_SECONDS
                for actor, _ in running.values():
                    actor.preempt.remote()
            if time.monotonic() > deadline:
                for actor, _ in running.values():
                    self.ray.kill(actor)
            ready, _ = self.ray.wait(list(running), timeout=POLL_SECONDS)
            for answer in ready:
                actor, task = running.pop(answer)
                outcome, alive = self.outcome(answer, task)
                idle.append(actor if alive else self.replaced(actor, devices))
                yield judged(outcome, stopping=stop.is_set())

    def outcome(self, answer: Any, task: QueuedRun) -> tuple[TaskResult, bool]:
        """Fetch an outcome; say whether the actor is still there."""
        try:
            return read_outcome(self.ray.get(answer)), True
        except self.ray.exceptions.RayError as error:
            wait_for_release(task)
            return lost(task, f"its Ray worker is gone: {first_line(error)}"), False

    def actor(self, devices: int) -> Any:
        """Ask Ray for a place."""
        config = self.config
        kind = self.ray.remote(
            num_cpus=config.cpus * devices,
            num_gpus=config.gpus * devices,
            # One computes while the other passes on that it should stop.
            max_concurrency=2,
            max_restarts=0,
        )(Seat)
        actor = kind.remote(config.cpus, config.cpus * devices, config.gpus)
        self.actors.append(actor)
        return actor

    def replaced(self, actor: Any, devices: int) -> Any:
        """Give a new place for one that is gone."""
        self.actors.remove(actor)
        return self.actor(devices)

    def release(self) -> None:
        """Give all places back."""
        for actor in self.actors:
            with contextlib.suppress(self.ray.exceptions.RayError):
                self.ray.kill(actor)
        self.actors.clear()

    def room(self, devices: int) -> int:
        """Count how many such runs the cluster can do at once."""
        there = self.ray.cluster_resources()
        needs = {"CPU": self.config.cpus * devices, "GPU": self.config.gpus * devices}
        room = min(int(there.get(name, 0) // need) for name, need in needs.items() if need)
        if not room:
            wanted = " and ".join(f"{need:g} {name}" for name, need in needs.items() if need)
            has = " and ".join(f"{there.get(name, 0):g} {name}" for name in needs)
            raise UserError(
                f"a run needs {wanted} on Ray",
                got=f"a cluster of {has}",
                remedy="change hydra.launcher.cpus, hydra.launcher.gpus or train.devices",
            )
        return room if self.config.n_jobs == -1 else min(room, self.config.n_jobs)


def import_ray() -> Any:
    """Import Ray, or say how to get it."""
    # The way that Ray announces for later; until it is chosen Ray warns. `Seat` hides GPUs.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise UserError(
            "hydra/launcher=ray needs Ray",
            got="no such package",
            remedy='install it: pip install "leadline[ray]"',
        ) from error
    return ray


def require_listening(address: str | None) -> None:
    """Refuse an address where nobody listens: Ray would try for minutes, and end the process."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        raise no_ray(address, str(error)) from error


def no_ray(address: str | None, reason: str) -> UserError:
    """Say that there is no Ray at an address."""
    return UserError(
        "hydra.launcher.address must be that of a running Ray",
        got=f"{address!r} ({reason})",
        remedy="start one with `ray start --head`, or leave the address out",
    )


def judged(outcome: TaskResult, *, stopping: bool) -> TaskResult:
    """Tell a worker that was stopped by somebody else from one that the sweeper stopped."""
    if outcome.state is TaskState.PREEMPTED and not stopping:
        message = f"{outcome.run_id}: its worker was told to stop (SIGTERM)"
        return replace(outcome, message=message, transient=True)
    if stopping and outcome.state is TaskState.FAILED and outcome.transient:
        return replace(outcome, state=TaskState.PREEMPTED)
    return outcome


def wait_for_release(task: QueuedRun) -> None:
    """Wait until the worker of a killed actor has checkpointed and let go."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while time.monotonic() < deadline and record.state(task.folder) is record.State.RUNNING:
        time.sleep(POLL_SECONDS)


def first_line(error: Exception) -> str:
    """Give the first line of an error."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
