"""Where the runs of a study are computed. None of it is science."""

from __future__ import annotations

from dataclasses import dataclass, field

from leadline.config.checks import TO_BE_COMPOSED, within
from leadline.errors import UserError


def require_gpus(each: float) -> None:
    """Refuse numbers of GPUs that cannot be shared out."""
    within("hydra.launcher.gpus", each, 0, 64)
    if each > 1 and each != int(each):
        raise UserError(
            "hydra.launcher.gpus is a share of one GPU, or a whole number",
            got=f"{each:g}",
            remedy="write for example 0.5, 1 or 2",
        )


@dataclass(slots=True, kw_only=True)
class LauncherConfig:
    """A launcher by its name."""

    name: str = TO_BE_COMPOSED


@dataclass(slots=True, kw_only=True)
class BasicLauncher(LauncherConfig):
    """One run after the other, in the process of the sweeper."""


@dataclass(slots=True, kw_only=True)
class LocalLauncher(LauncherConfig):
    """Warm processes on this machine; `docs/launchers.md` tells what each setting does."""

    n_jobs: int = -1
    threads: int = 0
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.n_jobs != -1:
            within("hydra.launcher.n_jobs", self.n_jobs, 1, 1024)
        within("hydra.launcher.threads", self.threads, 0, 1024)
        require_gpus(self.gpus)


@dataclass(slots=True, kw_only=True)
class RayLauncher(LauncherConfig):
    """Workers on a Ray cluster, or on a Ray of this machine."""

    address: str | None = None
    n_jobs: int = -1
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.n_jobs != -1:
            within("hydra.launcher.n_jobs", self.n_jobs, 1, 100_000)
        within("hydra.launcher.cpus", self.cpus, 1, 1024)
        require_gpus(self.gpus)


@dataclass(slots=True, kw_only=True)
class SubmititSlurmLauncher(LauncherConfig):
    """Arrays of jobs for SLURM."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    timeout: int = 1440
    cpus: int = 1
    memory_gb: float | None = None
    gpus: int = 0
    tasks_per_node: int = 0
    array_parallelism: int = 64
    runs_per_job: int = 1
    warning_seconds: int = 120
    poll_seconds: float = 5.0
    setup: list[str] = field(default_factory=list)
    additional: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        within("hydra.launcher.timeout", self.timeout, 1, 525_600)
        within("hydra.launcher.cpus", self.cpus, 1, 1024)
        if self.memory_gb is not None:
            within("hydra.launcher.memory_gb", self.memory_gb, 0, 1e5, open_low=True)
        within("hydra.launcher.gpus", self.gpus, 0, 64)
        within("hydra.launcher.tasks_per_node", self.tasks_per_node, 0, 1024)
        within("hydra.launcher.array_parallelism", self.array_parallelism, 1, 100_000)
        within("hydra.launcher.runs_per_job", self.runs_per_job, 1, 10_000)
        within("hydra.launcher.warning_seconds", self.warning_seconds, 1, 65_535)
        within("hydra.launcher.poll_seconds", self.poll_seconds, 0, 3600, open_low=True)


# Option name in conf/hydra/launcher/ → the schema that its YAML file starts from.
LAUNCHERS: dict[str, type[LauncherConfig]] = {
    "basic": BasicLauncher,
    "local": LocalLauncher,
    "ray": RayLauncher,
    "submitit_slurm": SubmititSlurmLauncher,
}

# Launchers that other programs have and leadline does not → why, and what to write in their place.
_HERE = "hydra/launcher=local hydra.launcher.n_jobs=2"
ABSENT_LAUNCHERS = {
    "joblib": (
        "runs on this machine are computed by leadline's own worker processes, not by joblib",
        f"use {_HERE}",
    ),
    "submitit_local": (
        "submitit submits jobs to SLURM, and only to SLURM",
        f"use {_HERE} on this machine, or hydra/launcher=submitit_slurm on a cluster",
    ),
}
