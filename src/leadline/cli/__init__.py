"""The command line: `main`, and the exit codes that it returns.

Each command imports what it needs when it is called: `--help` is instant.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from leadline.cli.parser import parser
from leadline.errors import FAILED, GOOD, MISTAKE, REQUEUE, UserError

__all__ = ["FAILED", "GOOD", "MISTAKE", "REQUEUE", "main"]

# A place that is not the user's to write to, is no folder, or is full.
NO_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT),
    *(errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.EIO, errno.EMFILE, errno.ENFILE),
    *(errno.ESTALE, errno.ENXIO, errno.EFBIG, errno.EEXIST),
)
# What pathlib says where ~ stands for nobody's home.
NO_HOME = "Could not determine home directory"
REPORT = (
    "leadline: this is a fault of leadline, not of what you asked for; please report it with the "
    "lines above, the command and `leadline doctor`"
)
# Commands that are not `call` of a file of their own name.
ELSEWHERE = {
    "predict": ("leadline.cli.run", "predict"),
    "reproduce": ("leadline.papers.reproduce", "reproduce"),
    "sync": ("leadline.cli.transfer", "sync"),
    "import-ledger": ("leadline.cli.transfer", "import_table"),
    "invariance": ("leadline.cli.worker", "invariance"),
    "import-wandb": ("leadline.cli.transfer", "import_runs"),
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
        own = (f"leadline.cli.{chosen.command}", "call")
        place, name = ELSEWHERE.get(chosen.command, own)
        code: int = getattr(import_module(place), name)(chosen)
        return code
    except UserError as error:
        print(f"leadline: {error}", file=sys.stderr)
        return MISTAKE
    except BrokenPipeError:
        # Whoever read stdout has seen enough; Python would complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MemoryError:
        print("leadline: there is not enough memory for this; use fewer cells", file=sys.stderr)
        return FAILED
    except OSError as error:
        if error.errno not in NO_PLACE:
            traceback.print_exc()
            print(REPORT, file=sys.stderr)
            return FAILED
        print(
            "leadline: files and folders must be there to be read and written: got "
            f"{error.filename!r} ({error.strerror}); choose another place, or change its rights",
            file=sys.stderr,
        )
        return MISTAKE
    except Exception as error:
        if NO_HOME in str(error):
            print(
                "leadline: a path that begins with ~ must name a home that there is: got none; "
                "set HOME, or write the path out",
                file=sys.stderr,
            )
            return MISTAKE
        traceback.print_exc()
        print(REPORT, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("leadline: interrupted; the same command goes on", file=sys.stderr)
        return FAILED
