"""One task in this process; whatever happens becomes an outcome."""

from __future__ import annotations

import gc
import sys

from leadline.errors import UserError
from leadline.locks import Busy, LockLost
from leadline.processes import Preempted
from leadline.runs import record
from leadline.studies.launchers.base import QueuedRun, TaskResult, TaskState

# What torch, numpy, the kernel and our own messages say when memory has run out.
MEMORY_WORDS = (
    "out of memory",
    "outofmemory",
    "memoryerror",
    "not enough memory",
    "sigkill",
    "alloc_failed",
)
LONGEST_MESSAGE = 1000


def execute(task: QueuedRun) -> TaskResult:
    """Compute one run unless it is done; never raises but for KeyboardInterrupt."""
    # The worker is started before it is known whether it will need any of this.
    from leadline.config.compose import compose_many
    from leadline.runs.run import RunFailed, run

    try:
        run(compose_many([task.words])[0])
    except Preempted:
        return TaskResult(run_id=task.run_id, state=TaskState.PREEMPTED)
    except Busy as error:
        return TaskResult(run_id=task.run_id, state=TaskState.BUSY, message=str(error))
    except UserError as error:
        return failed(task, str(error))
    except RunFailed as error:
        return failed(task, str(error))
    except LockLost as error:
        return failed(task, str(error), transient=True)
    except Exception as error:
        return failed(task, f"{task.run_id} failed: {error!r}")
    finally:
        tidy_memory()
    return TaskResult(run_id=task.run_id, state=TaskState.DONE)


def failed(task: QueuedRun, message: str, *, transient: bool = False) -> TaskResult:
    """Make the outcome of a failure; one for want of memory may pass."""
    memory = any(word in message.lower() for word in MEMORY_WORDS)
    return TaskResult(
        run_id=task.run_id,
        state=TaskState.FAILED,
        message=(message.strip().splitlines() or ["unknown"])[0][:LONGEST_MESSAGE],
        transient=transient or memory,
        memory=memory,
    )


def lost(task: QueuedRun, reason: str) -> TaskResult:
    """Judge a task whose worker is gone without a word: its record tells."""
    if record.state(task.folder) is record.State.DONE:
        return TaskResult(run_id=task.run_id, state=TaskState.DONE)
    return failed(task, f"{task.run_id}: {reason}", transient=True)


def tidy_memory() -> None:
    """Give back what the last run held, so that a warm worker does not sit on a GPU's memory."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
