"""From a launcher's configuration to the launcher."""

from __future__ import annotations

from leadline import config
from leadline.studies.launchers.base import Launcher


def build(chosen: config.LauncherConfig) -> Launcher:
    """Make the launcher that a configuration describes; it starts nothing yet.

    Raises
    ------
    UserError
        When what it needs is not installed or not there.
    """
    match chosen:
        case config.BasicLauncher():
            from leadline.studies.launchers.in_process import Basic

            return Basic()
        case config.JoblibLauncher():
            from leadline.studies.launchers.processes import Processes

            return Processes(chosen)
        case config.RayLauncher():
            from leadline.studies.launchers.ray_cluster import RayCluster

            return RayCluster(chosen)
        case config.SubmititLocalLauncher():
            from leadline.studies.launchers.submitit_local import LocalJobs

            return LocalJobs(chosen)
        case config.SubmititSlurmLauncher():
            from leadline.studies.launchers.slurm import Slurm

            return Slurm(chosen)
    raise AssertionError(f"no launcher for {type(chosen).__name__}")
