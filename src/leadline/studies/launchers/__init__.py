"""Where runs are computed: here, in processes of this machine, on Ray, or through SLURM.

A sweeper asks `choose` what the user wants, `build`s it, and hands it tasks:

    config, others = choose(words)
    with build(config) as launcher:
        for outcome in launcher.run(tasks, stop):
            ...
"""

from leadline.studies.launchers.base import Launcher, QueuedRun, TaskResult, TaskState
from leadline.studies.launchers.choose import build, choose

__all__ = ["TaskState", "Launcher", "TaskResult", "QueuedRun", "build", "choose"]
