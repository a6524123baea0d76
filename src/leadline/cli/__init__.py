"""The command line: `main`, and the exit codes that it returns.

Each command imports what it needs when it is called: `--help` is instant.
"""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Sequence
from importlib import import_module

from leadline.cli.parser import parser
from leadline.errors import FAILED, GOOD, MISTAKE, REQUEUE, UserError

__all__ = ["FAILED", "GOOD", "MISTAKE", "REQUEUE", "main"]

# A place that is not the user's to write to, is no folder, or is full.
NO_PLACE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT)
# Commands that are not `call` of a file of their own name.
ELSEWHERE = {
    "predict": ("leadline.cli.run", "predict"),
    "reproduce": ("leadline.papers.reproduce", "reproduce"),
    "sync": ("leadline.cli.wandb", "sync"),
    "import-wandb": ("leadline.cli.wandb", "import_runs"),
}


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command; settings may also stand behind a flag, where argparse finds no place."""
    known = parser()
    chosen, rest = known.parse_known_args(words)
    settings = hasattr(chosen, "overrides") and not any(word.startswith("-") for word in rest)
    if rest and not settings:
        known.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        chosen.overrides = [*chosen.overrides, *rest]
    return chosen


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; give the exit code."""
    chosen = parsed(words)
    try:
        own = (f"leadline.cli.{chosen.command.replace('-', '_')}", "call")
        place, name = ELSEWHERE.get(chosen.command, own)
        code: int = getattr(import_module(place), name)(chosen)
        return code
    except UserError as error:
        print(f"leadline: {error}", file=sys.stderr)
        return MISTAKE
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        print(
            "leadline: files and folders must be there to be read and written: got "
            f"{error.filename!r} ({error.strerror}); choose another place, or change its rights",
            file=sys.stderr,
        )
        return MISTAKE
    except KeyboardInterrupt:
        print("leadline: interrupted; the same command goes on", file=sys.stderr)
        return FAILED
