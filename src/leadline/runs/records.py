"""Records on disk → one tidy frame: one row for each run, part and metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leadline.errors import UserError, nearest
from leadline.report.frame import COLLAPSED, COLUMNS, SELECTED
from leadline.runs import record
from leadline.runs.record import State

if TYPE_CHECKING:
    import pandas as pd

# <runs_dir>/studies/<name>.json says which runs a study consists of; docs/studies.md shows one.
STUDIES = "studies"


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


def studies(runs_dir: Path) -> dict[str, dict[str, Any]]:
    """Read the manifest of every study that was run into `runs_dir`, by name."""
    found = {}
    for path in sorted((runs_dir / STUDIES).glob("*.json")):
        try:
            manifest = json.loads(path.read_text())
        except ValueError as error:
            raise UserError(
                "the manifest of a study must be JSON",
                got=f"{str(path)!r} ({error})",
                remedy=f"delete it; leadline ablate {path.stem} writes it again",
            ) from error
        found[path.stem] = manifest
    return found


def read_done(runs_dir: Path, study: str | None = None) -> list[dict[str, Any]]:
    """Read the facts of every finished run; unfinished ones are left out.

    With `study`, of that study's runs alone: a record names the study and arm that it was first
    made for, and here both are those of the study asked for. A run that serves two arms of it
    stands there twice.

    Raises
    ------
    UserError
        When a finished record was changed or damaged afterwards, or the study is not there.
    """
    if study is None:
        done = [folder for folder, state in find(runs_dir).items() if state is State.DONE]
        return [read_whole(folder) for folder in done]
    manifests = studies(runs_dir)
    if study not in manifests:
        raise UserError(
            f"a study must have been run into {str(runs_dir)!r}",
            got=repr(study),
            remedy=nearest(study, manifests) if manifests else f"start leadline ablate {study}",
        )
    return [
        read_whole(runs_dir / run["run_id"]) | {"study": study, "arm": run["arm"]}
        for run in manifests[study]["runs"]
        if record.state(runs_dir / run["run_id"]) is State.DONE
    ]


def read_whole(folder: Path) -> dict[str, Any]:
    """Read the facts of a finished run, unless one of its files was changed since."""
    damaged = record.verify(folder)
    if damaged:
        raise UserError(
            "a finished record must not change",
            got=f"{', '.join(damaged)} in {folder} differ from what DONE says",
            remedy="delete that folder and run it again",
        )
    return record.read_facts(folder)


def note(facts: dict[str, Any]) -> str:
    """Say of a run what its scores do not show."""
    collapsed = any(str(text).startswith("collapsed") for text in facts.get("warnings", ()))
    reported = facts.get("selected", {}).get("selection") == "reported"
    return "; ".join([*[COLLAPSED] * collapsed, *[SELECTED] * reported])


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
            "note": note(facts),
        }
        for facts in records
        for part, scores in facts["metrics"].items()
        for metric, value in scores.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))
