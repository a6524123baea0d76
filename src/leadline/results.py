"""Records on disk → one tidy frame: one row for each run, part and metric."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline import record
from leadline.errors import UserError
from leadline.record import State
from leadline.tidy import COLUMNS

if TYPE_CHECKING:
    import pandas as pd


def find(runs_dir: Path) -> dict[Path, State]:
    """Give every run's folder below `runs_dir` with its state, in the order of names."""
    if not runs_dir.is_dir():
        raise UserError(
            "--runs must be a folder of records",
            got=repr(str(runs_dir)),
            remedy="make records first, for example with leadline run model=logreg",
        )
    folders = sorted(path for path in runs_dir.iterdir() if (path / record.CONFIG).exists())
    return {folder: record.state(folder) for folder in folders}


def read_done(runs_dir: Path) -> list[dict[str, Any]]:
    """Read the facts of every finished run; unfinished ones are left out.

    Raises
    ------
    UserError
        When a finished record was changed or damaged afterwards.
    """
    facts = []
    for folder, state in find(runs_dir).items():
        if state is not State.DONE:
            continue
        damaged = record.verify(folder)
        if damaged:
            raise UserError(
                "a finished record must not change",
                got=f"{', '.join(damaged)} in {folder} differ from what DONE says",
                remedy="delete that folder and run it again",
            )
        facts.append(record.read_facts(folder))
    return facts


def frame(records: list[dict[str, Any]]) -> pd.DataFrame:
    """Lay records out as one tidy frame with the columns of `tidy`."""
    import pandas as pd

    rows = [
        {
            **dict.fromkeys(COLUMNS),
            **{key: facts[key] for key in ("study", "dataset", "model", "arm", "fraction", "seed")},
            "split": part,
            "metric": metric,
            "value": value,
            "precision": "full",
            "source": "record",
            "run_id": facts["run_id"],
        }
        for facts in records
        for part, scores in facts["metrics"].items()
        for metric, value in scores.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
