"""A finished record → everything that a wandb run shows of it.

Arrays: C cells, K classes.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline import files as atomic
from leadline.runs import record
from leadline.runs.record import Predictions
from leadline.runs.tracking.base import reported
from leadline.runs.tracking.wandb import sdk, uploaded

# wandb's own limits; predictions.npz in the same artifact holds all cells.
MOST_ROWS, MOST_ROWS_OF_A_CHART = 200_000, 10_000
COLUMNS = ("cell", "true", "predicted", "correct", "probability of true", "of predicted")


def tell_record(run: Any, folder: Path, *, after: int) -> tuple[int, Any]:
    """Tell what a run has not been told: epochs after `after`, scores, tables, the artifact.

    The scores of the finished run make one more step behind the last epoch, together with the
    confusion matrices. Gives that last step, and the artifact if there is one.
    """
    facts = record.read_facts(folder)
    rows = list(epochs(folder))
    for step, values in rows:
        if step > after:
            run.log(values, step=step)
    last = max([step for step, _ in rows], default=0) + 1
    parts, classes = predictions(folder)
    with sdk.staged_in(uploaded.waiting(folder)):
        if last > after:
            charts = {f"{part}/confusion": chart(part, parts[part], classes) for part in parts}
            run.log({**reported(facts), **charts}, step=last)
        run.summary.update(wandb_summary(facts))
        packed = artifact(facts["run_id"], folder, parts, classes) if parts else None
        logged = run.log_artifact(packed) if packed is not None else None
    return last, logged


def epochs(folder: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Read the learning curve as (epoch, values)."""
    path = folder / record.EPOCHS
    if not path.exists():
        return
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("epoch"))
            yield step, {name: number(text) for name, text in row.items() if text}


def number(text: str) -> float:
    """Read a number as it was written: counts stay whole."""
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def predictions(folder: Path) -> tuple[dict[str, Predictions], tuple[str, ...]]:
    """Read the predictions; a record of another kind of run has none."""
    if not (folder / record.PREDICTIONS).exists():
        return {}, ()
    return record.read_predictions(folder)


def wandb_summary(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a table of runs should show: scores, costs, sizes, and that it is done."""
    fit = facts.get("fit", {})
    sizes = ("parameters_total", "parameters_trainable")
    return {
        **reported(facts),
        **{f"cost/{name}": value for name, value in facts.get("cost", {}).items()},
        **{name: fit[name] for name in sizes if name in fit},
        "best_epoch": facts.get("selected", {}).get("best_epoch"),
        "data_fingerprint": facts.get("data", {}).get("fingerprint"),
        "split_fingerprint": facts.get("split", {}).get("fingerprint"),
        "warnings": list(facts.get("warnings", [])),
    }


def confusion(said: Predictions, classes: Sequence[str]) -> NDArray[np.int64]:
    """Count cells by true class (rows) and predicted class (columns)."""
    counts_KK = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts_KK, (said.truth_C, said.predicted_C), 1)
    return counts_KK


def confusion_table(said: Predictions, classes: Sequence[str]) -> Any:
    """Lay a confusion matrix out as wandb's chart expects it; of a huge one, what is not 0."""
    counts_KK = confusion(said, classes)
    huge = counts_KK.size > MOST_ROWS_OF_A_CHART
    data = [
        [true, predicted, int(counts_KK[i, j])]
        for i, true in enumerate(classes)
        for j, predicted in enumerate(classes)
        if counts_KK[i, j] or not huge
    ]
    columns = ["Actual", "Predicted", "nPredictions"]
    return sdk.sdk().Table(columns=columns, data=data)


def chart(part: str, said: Predictions, classes: Sequence[str]) -> Any:
    """Make the chart that wandb draws a confusion matrix with."""
    return sdk.sdk().plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=confusion_table(said, classes),
        fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
        string_fields={"title": f"confusion, {part} cells"},
    )


def artifact(
    run_id: str, folder: Path, parts: Mapping[str, Predictions], classes: Sequence[str]
) -> Any:
    """Pack the predictions: as they are in the record, and as tables that wandb shows.

    wandb would copy what is added to a folder in the user's home; we name files that stay.
    """
    packed = sdk.sdk().Artifact(name=f"predictions-{run_id}", type="predictions")
    files = {"predictions.npz": folder / record.PREDICTIONS}
    for part, said in parts.items():
        for name, table in (
            (f"{part}_cells.table.json", predictions_table(said, classes)),
            (f"{part}_confusion.table.json", confusion_table(said, classes)),
        ):
            files[name] = uploaded.waiting(folder) / name
            atomic.write_text(files[name], json.dumps(table.to_json(packed)))
    for name, path in files.items():
        packed.add_file(str(path), name=name, policy="immutable", skip_cache=True)
    return packed


def predictions_table(said: Predictions, classes: Sequence[str]) -> Any:
    """Lay predictions out cell by cell."""
    shown = slice(0, MOST_ROWS)
    names_K = np.array(classes)
    truth_C, predicted_C = said.truth_C[shown], said.predicted_C[shown]
    proba_CK = said.proba_CK[shown].astype(np.float32)
    cells = np.arange(len(truth_C))
    columns = (
        said.ids[shown],
        names_K[truth_C],
        names_K[predicted_C],
        truth_C == predicted_C,
        proba_CK[cells, truth_C],
        proba_CK[cells, predicted_C],
    )
    data = [list(row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return sdk.sdk().Table(columns=list(COLUMNS), data=data)
