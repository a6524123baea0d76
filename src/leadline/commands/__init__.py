"""Commands that look at what was made or use it; each module is one, described without imports.

A module has SUMMARY, HELP, `add_arguments(parser)` and `call(chosen)`, which gives the exit code.
"""

from leadline.commands import (
    ablate,
    compare,
    completion,
    import_wandb,
    listing,
    plan,
    predict,
    show,
    sync,
)

ROOMS = {
    "ablate": ablate,
    "plan": plan,
    "predict": predict,
    "list": listing,
    "show": show,
    "compare": compare,
    "sync": sync,
    "import-wandb": import_wandb,
    "completion": completion,
}

__all__ = ["ROOMS"]
