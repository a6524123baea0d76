"""One tidy frame of results, a row for each number: published and our own have the same columns."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

# One row is one number: a metric of one part of the cells in one run.
COLUMNS = (
    "study",
    "artefact",
    "dataset",
    "model",
    "arm",
    "fraction",
    "seed",
    "split",
    "metric",
    "value",
    "precision",
    "source",
    "run_id",
    "note",
)

# What the column `note` says of one of our runs, beside its scores.
COLLAPSED, SELECTED = "collapsed to one class", "selected on the reported cells"


def note(facts: dict[str, Any]) -> str:
    """Say of a run what its scores do not show."""
    warned = facts.get("warnings") or ()
    collapsed = bool(warned) and any(str(text).startswith("collapsed") for text in warned)
    reported = facts.get("selected", {}).get("selection") == "reported"
    return "; ".join([*[COLLAPSED] * collapsed, *[SELECTED] * reported])


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Lay records out as one tidy frame with the columns `COLUMNS`."""
    import pandas as pd

    return pd.DataFrame(rows_of(records), columns=list(COLUMNS))


def rows_of(
    records: Iterable[dict[str, Any]], metrics: Collection[str] | None = None
) -> list[dict[str, Any]]:
    """Give the rows of a frame; of these metrics alone, where they are named."""
    rows = []
    for facts in records:
        same = {
            **dict.fromkeys(COLUMNS),
            **{key: facts[key] for key in ("study", "dataset", "model", "arm", "fraction", "seed")},
            "precision": "full",
            "source": "record",
            "run_id": facts["run_id"],
            "note": note(facts),
        }
        for part, scores in facts["metrics"].items():
            for metric, value in scores.items():
                if metrics is None or metric in metrics:
                    rows.append({**same, "split": part, "metric": metric, "value": value})
    return rows
