"""The paper's numbers as data, in the tidy schema of our own results.

`runs()` has one number per row and run, `aggregates()` the printed aggregates; README.md beside the
files tells where they come from. Both frames are fresh copies at each call.
"""

from __future__ import annotations

import csv
import math
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from leadline.errors import UserError, nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd


DATASETS = {
    "PBMC Zheng68K": "zheng68k",
    "multiple sclerosis": "ms",
    "myeloid": "myeloid",
    "pancreas": "pancreas",
    "Panglao": "panglao",
    "MacParland liver": "macparland",
    "MacParland liver (15 classes)": "macparland_merged",
    "MacParland liver (merged hepatocytes, 15 classes)": "macparland_merged",
    "MacParland liver (unmerged, 20 classes)": "macparland_unmerged",
    # Rows of the prose that name a model where the dataset stands.
    "scGPT": "",
}

MODELS = {
    "scBERT": "scbert",
    "scBERT pretraining": "scbert",
    "scGPT": "scgpt",
    "logistic regression": "logreg",
    "scBERT vs LR": "scbert vs logreg",
    "scGPT vs LR": "scgpt vs logreg",
    "competing method in scBERT paper": "competitor",
    "data": "data",
    "": "",
}

ARMS = {
    "finetune": "reference",
    "reproduced (finetune)": "reference",
    "few-shot finetune": "reference",
    "pretrained finetune": "reference",
    "full data": "reference",
    "few-shot": "reference",
    "scGPT (pre-trained)": "reference",
    "with gene2vec": "reference",
    "full scBERT (with gene2vec)": "reference",
    "no_gene2vec": "no_gene2vec",
    "no gene2vec": "no_gene2vec",
    "no_pretraining": "no_pretraining",
    "no pre-training (all trainable)": "no_pretraining",
    "scGPT no pre-training (all trainable)": "no_pretraining",
    "no pre-training (embeddings frozen)": "no_pretraining_frozen",
    "scGPT no pre-training (freeze weights)": "no_pretraining_frozen",
    "reported in original publication": "original_publication",
    "from-scratch (original authors)": "original_publication_from_scratch",
    "finetune vs no_gene2vec": "reference vs no_gene2vec",
    "finetune vs no_pretraining": "reference vs no_pretraining",
    "pre-trained vs scGPT no pre-training (all trainable)": "reference vs no_pretraining",
    "pre-trained vs scGPT no pre-training (freeze weights)": "reference vs no_pretraining_frozen",
}

# Variants of logistic regression that are the reported baseline, not a search for C.
BASELINES = (
    "L1 C=0.1 liblinear",
    "L1 C=0.1",
    "L1, C by CV",
    "few-shot",
    "full data",
)


def arm(model: str, variant: str, artefact: str) -> str:
    """Name the arm of a row as a study would."""
    if model.endswith(" vs LR"):
        return "reference vs logreg"
    # Figure 3 shows ten runs; a log prints five of them again, which must not count twice.
    printed_again = artefact == "Figure 3" and variant.startswith("few-shot ")
    suffix = " (printed log)" if printed_again else ""
    if model != "logistic regression":
        return ARMS.get(variant, variant) + suffix
    tried = artefact.startswith(("C selection", "pilot")) or artefact.endswith("(older notebook)")
    if not tried and (variant in BASELINES or variant.endswith("(by CV)") or printed_again):
        return "logreg" + suffix
    return f"logreg {variant}"


def split_name(dataset: str, model: str, metric: str) -> tuple[str, str]:
    """Name the set a number was computed on, and the metric without that set in its name."""
    for prefix, name in (("train_", "train"), ("cv_", "cross_validation")):
        if metric.startswith(prefix):
            return name, metric.removeprefix(prefix)
    if model in ("data", "") or dataset == "":
        return "", metric
    return ("test" if dataset in ("ms", "myeloid", "pancreas") else "validation"), metric


NUMBERS_OF_TABLES = (
    "mean",
    "ci95",
    "p_value",
    "recomputed_mean",
    "recomputed_ci95_popsd",
    "recomputed_ci95_samplesd",
    "recomputed_p",
)
STUDY = "published"
# Stated for some hidden markers in the source; the others were derived in the same way.
DERIVED_HALF_WIDTH = 0.01
# Python prints a double with up to 17 digits; fewer than this many were cut by a print format.
DIGITS_IN_FULL = 12


def runs() -> pd.DataFrame:
    """Give the 1,044 per-run numbers; filter by `artefact`, as some runs appear under several."""
    import pandas as pd

    frame = pd.DataFrame([_tidy(row, row["value"]) for row in _read("published_runs.csv")])
    return _typed(frame)


def aggregates() -> pd.DataFrame:
    """Give the 265 aggregates: the columns of `runs()`, then what was printed and recomputed.

    `value` is the printed mean (or the one number of a row that has no mean), `printed` the cell
    as the paper shows it, `n_a` and `n_b` the runs of the arms, `test` the authors' test.
    """
    import pandas as pd

    rows = []
    for row in _read("published_tables.csv"):
        is_test = bool(row["test"])
        text = row["mean"] or ("" if is_test else row["value"])
        n_a, n_b = _runs_per_arm(row["n"])
        numbers = {name: _number(row[name]) for name in NUMBERS_OF_TABLES}
        printed = {"printed": row["value"], "test": row["test"], "n_a": n_a, "n_b": n_b}
        rows.append(_tidy(row, text) | printed | numbers)
    frame = _typed(pd.DataFrame(rows))
    return frame.astype({"n_a": "Int64", "n_b": "Int64"})


def artefacts() -> tuple[str, ...]:
    """Name the tables, figures and passages that the numbers stand in."""
    rows = [*_read("published_runs.csv"), *_read("published_tables.csv")]
    return tuple(sorted({part for row in rows for part in row["artefact"].split("; ")}))


def select(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Keep the rows whose columns equal the wanted values.

    `artefact` asks whether the row belongs to that artefact, since one number may serve several
    ("Table 1; Table 2"). A name that no row has is an error, an empty combination is not.
    """
    kept = frame
    for column, value in wanted.items():
        if column not in frame.columns:
            remedy = nearest(column, map(str, frame.columns))
            raise UserError("a filter must name a column", got=column, remedy=remedy)
        matches = _matches(frame, column, value)
        if not matches.any():
            known = {part for cell in frame[column].dropna() for part in str(cell).split("; ")}
            raise UserError(
                f"{column} must be one that the numbers have",
                got=str(value),
                remedy=nearest(str(value), known),
            )
        kept = kept[matches.loc[kept.index]]
    return kept.copy()


def _matches(frame: pd.DataFrame, column: str, value: object) -> pd.Series[bool]:
    if column == "artefact":
        # Our own results serve no artefact of the paper and have none there.
        return frame[column].map(lambda text: str(value) in (text or "").split("; ")).astype(bool)
    return (frame[column] == value).fillna(False).astype(bool)


def half_widths(frame: pd.DataFrame) -> npt.NDArray[np.float64]:
    """Half-width within which each value is known, 0 where it is known in full."""
    import numpy as np

    return np.array([0.0 if p == "full" else float(p) for p in frame["precision"]])


def _read(name: str) -> list[dict[str, str]]:
    text = files("leadline.papers.boiarsky").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _tidy(row: dict[str, str], value: str) -> dict[str, Any]:
    artefact, label = row["artefact"], row["seed_or_run"]
    dataset, model = DATASETS.get(row["dataset"], ""), MODELS[row["model"]]
    split, metric = split_name(dataset, model, row["metric"])
    seed = _seed(label)
    words = {"variant": row["variant"], "run": label, "fraction": row["fraction"]}
    # What the typed columns carry exactly need not be said again.
    if str(seed) == label:
        del words["run"]
    if _number(row["fraction"]) == _number(row["fraction"]) or not row["fraction"]:
        del words["fraction"]
    wording = [f"{name}: {text}" for name, text in words.items() if text]
    return {
        "study": STUDY,
        "artefact": artefact,
        "dataset": dataset,
        "model": model,
        "arm": arm(row["model"], row["variant"], artefact),
        "fraction": 1.0 if row["fraction"] == "5% validation" else _number(row["fraction"]),
        "seed": seed,
        "split": split,
        "metric": metric,
        "value": _number(value),
        "precision": _precision(row.get("precision", "as printed"), value),
        "source": row["source"],
        "run_id": "",
        "note": "; ".join([*wording, row["note"]] if row["note"] else wording),
    }


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    # Int64 keeps missing seeds missing: a float column would turn 2021 into 2021.0.
    return frame.astype({"seed": "Int64", "value": "float64", "fraction": "float64"})


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _seed(label: str) -> int | None:
    """Read the printed seed, or the replicate number that pairs replicates; infer nothing."""
    patterns = (r"(\d+)", r"run (\d+)", r"rep (\d+)( \(.*\))?", r"one pass, SEED=(\d+),.*")
    for pattern in patterns:
        if found := re.fullmatch(pattern, label):
            return int(found.group(1))
    return None


def _runs_per_arm(text: str) -> tuple[int | None, int | None]:
    found = re.fullmatch(r"(\d+)(?:\+(\d+))?", text)
    if not found:
        return None, None
    return int(found.group(1)), int(found.group(2)) if found.group(2) else None


def _precision(word: str, value: str) -> str | float:
    """Turn a word of the source into "full" or a half-width."""
    if word in ("full", "exact"):
        return "full"
    if word == "derived":
        return DERIVED_HALF_WIDTH
    if found := re.search(r"\+/-([\d.]+)", word):
        return float(found.group(1))
    if found := re.fullmatch(r"(\d+)dp", word):
        return 0.5 * 10.0 ** -int(found.group(1))
    number = _number(value)
    if math.isnan(number) or number == 0:
        return "full"
    if found := re.fullmatch(r"(\d+) significant digits", word):
        return 0.5 * 10.0 ** (math.floor(math.log10(abs(number))) - int(found.group(1)) + 1)
    decimals = value.partition(".")[2]
    in_full = len(decimals) >= DIGITS_IN_FULL or not decimals
    return "full" if in_full else 0.5 * 10.0 ** -len(decimals)
