"""Commands that look at what was made or use it; each module is one, described without imports.

A module has SUMMARY, HELP, `add_arguments(parser)` and `call(chosen)`, which gives the exit code.
"""

from leadline.cli import parser
from leadline.cli import parser__commands_ablate as ablate
from leadline.cli import parser__commands_compare as compare
from leadline.cli import parser__commands_completion as completion
from leadline.cli import parser__commands_import_wandb as import_wandb
from leadline.cli import parser__commands_listing as listing
from leadline.cli import parser__commands_plan as plan
from leadline.cli import parser__commands_show as show
from leadline.cli import parser__commands_sync as sync

ROOMS = {
    "ablate": ablate,
    "plan": plan,
    "predict": parser,
    "list": listing,
    "show": show,
    "compare": compare,
    "sync": sync,
    "import-wandb": import_wandb,
    "completion": completion,
}

__all__ = ["ROOMS"]
