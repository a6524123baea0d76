"""The one exception that a user's mistake raises."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# Exit codes: good, a run failed, the user's mistake, stopped and can go on (as schedulers know it).
GOOD, FAILED, MISTAKE, REQUEUE = 0, 1, 2, 75


# What a user gave may be of any length; a message is a line.
MOST_SHOWN = 1500


class UserError(Exception):
    """A user's input breaks a rule; the command line prints it as one line and exits with 2.

    The message has three parts, always in this order: the rule, what was received, the remedy.
    """

    def __init__(self, rule: str, *, got: str, remedy: str) -> None:
        shown = got if len(got) <= MOST_SHOWN else f"{got[:MOST_SHOWN]}…"
        super().__init__(f"{rule}: got {shown}; {remedy}".replace("\n", " "))
        self.rule, self.got, self.remedy = rule, got, remedy


class NotApplicable(UserError):
    """What is asked for has no meaning for a model, which says so itself; nobody's mistake."""


def nearest(word: str, known: Iterable[str], limit: int = 12) -> str:
    """Say which of the known words was probably meant, or list them.

    Examples
    --------
    >>> nearest("celltyp", ["celltype", "batch"])
    'did you mean celltype?'
    >>> nearest("zzz", ["celltype", "batch"])
    'choose one of batch, celltype'
    """
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    if not choices:
        return "there is none to choose from"
    shown = ", ".join(choices[:limit])
    more = f" and {len(choices) - limit} more" if len(choices) > limit else ""
    return f"choose one of {shown}{more}"
