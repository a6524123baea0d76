"""The tables of a report."""

from __future__ import annotations

import csv
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from leadline import stats
from leadline.errors import UserError
from leadline.report.compare import cells
from leadline.report.compare.arms import sides_of
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.study import MCNEMAR, flags_of
from leadline.report.folds import folds_of, runs_of
from leadline.report.study import Facts, StudyResults, settings_of
from leadline.report.tables import Link, Table, Value
from leadline.stats import tests
from leadline.stats.difference import times_for_folds
from leadline.stats.metrics import title as metric_title

# What a run of the baseline writes beside its predictions.
TOP_GENES, MOST_GENES = "top_genes.csv", 8
SHOWN = ("accuracy", "macro_f1", "balanced_accuracy", "log_loss", "calibration_error")


# What of a verdict paper has room for; the CSV file has the rest.
PRINTED_VERDICTS = (
    *("arm", "against", "data set", "labels", "metric", "verdict", "difference"),
    *("95 % from", "95 % to", "test", "p (Holm)", "p (TOST)", "n"),
)


def verdict_table(study: StudyResults, found: Sequence[ArmComparison]) -> Table:
    """Give every comparison with its difference, test, equivalence and verdict."""
    rows: list[list[Value]] = [
        [
            each.a.arm,
            each.b.arm,
            each.a.dataset,
            f"{each.a.fraction:.0%}",
            metric_title(each.a.metric),
            each.verdict,
            each.estimate,
            None if each.interval is None else each.interval.low,
            None if each.interval is None else each.interval.high,
            each.test or None,
            each.p,
            each.corrected,
            None if each.equivalence is None else each.equivalence.p,
            None if each.effect is None else each.effect.estimate,
            each.detectable,
            each.a.values.size,
            each.b.values.size,
            each.a.mean,
            each.b.mean,
            each.speaks_for,
            _of_runs(each),
            each.shares.get("cells", each.shares.get("donors")),
            None if each.parts is None else each.parts.donors or None,
            *(each.of_these_donors or (None, None)),
            ", ".join(dict.fromkeys(flag.id for flag in each.flags)) or each.why,
            "; ".join(f"{test} {p:.2g}" for test, p in each.others.items()),
            *([", ".join(str(look.seeds) for look in each.looks)] if study.looks else []),
        ]
        for each in found
    ]
    return Table(
        name="comparisons",
        title="Verdicts",
        columns=[
            "arm",
            "against",
            "data set",
            "labels",
            "metric",
            "verdict",
            "difference",
            "95 % from",
            "95 % to",
            "test",
            "p",
            "p (Holm)",
            "p (TOST)",
            "Hedges g, in spreads between runs",
            "detectable",
            "n",
            "n against",
            "mean",
            "mean against",
            "speaks for",
            "share of runs",
            "share of cells",
            "donors",
            "these donors from",
            "these donors to",
            "flags",
            "same cells only",
            *(["looks"] if study.looks else []),
        ],
        rows=rows,
        notes=[
            "Difference: mean of the arm less mean of what it is compared with. p (Holm) is "
            f"corrected over the rows of its metric, a family of “{study.family}”; better and "
            f"worse need p (Holm) < .05. The first metric, {metric_title(study.metrics[0])}, "
            "decides the study; every other one has a family, and words, of its own. p (TOST) "
            f"< .05 shows that the difference is within ±{study.margin:g}. detectable: the "
            "smallest true difference that so many runs of such spread, on so many cells, would "
            "have shown with power .8. share of runs, of cells: of the variance of the "
            "difference, what comes from luck of training, and from which cells, or donors, were "
            "held out; the rest is both at once. donors: how many are held out, where fresh ones "
            "are spoken for; these donors: the 95 % interval for fresh cells of those that are "
            "there. same cells only: p over runs alone, which decides nothing "
            "unless the study is about these very cells; one_sample: the other arm has no luck "
            "of its own, its runs are one number.",
            *notes_of_folds(study),
        ],
        printed=PRINTED_VERDICTS,
    )


def notes_of_folds(study: StudyResults) -> list[str]:
    """Say what a run and a cell are where cells were reported in folds."""
    folds = folds_of(study.records)
    if not folds:
        return []
    return [
        f"Each cell is reported once, in {folds} folds: a run is the {folds} fits of one seed, its "
        "scores are of all cells together. Folds share training cells; the variance over cells is "
        f"counted {times_for_folds(folds):.3g} times for it (Nadeau and Bengio), an approximation."
    ]


def _of_runs(each: ArmComparison) -> float | None:
    """Add up the shares of the variance that come from runs."""
    shares = [share for source, share in each.shares.items() if source.startswith("runs")]
    return sum(shares) if shares else None


def means_table(study: StudyResults) -> Table:
    """Average over seeds, with the interval of the mean."""
    metrics = [metric for metric in (*study.metrics, *SHOWN) if _any_has(study, metric)]
    metrics = list(dict.fromkeys(metrics))
    rows: list[list[Value]] = []
    lines = {
        metric: {(s.dataset, s.fraction, s.name): s for s in sides_of(study, metric)}
        for metric in metrics
    }
    for place, first in lines[metrics[0]].items() if metrics else ():
        row: list[Value] = [first.arm, first.model, place[0], f"{place[1]:.0%}", first.values.size]
        for metric in metrics:
            side = lines[metric].get(place)
            row.append(None if side is None else side.mean)
            if metric in study.metrics:
                varies = side is not None and side.values.size > 1 and np.ptp(side.values) > 0
                half = stats.student_interval(side.values).half_width if varies and side else None
                row.append(half)
        rows.append(row)
    columns = ["arm", "model", "data set", "labels", "runs"]
    for metric in metrics:
        columns += (
            [metric_title(metric), "±"] if metric in study.metrics else [metric_title(metric)]
        )
    columns = [f"± {columns[at - 1]}" if name == "±" else name for at, name in enumerate(columns)]
    return Table(
        name="means",
        title="Means over runs",
        columns=columns,
        rows=rows,
        notes=[
            "±: half of the 95 % Student interval of the mean; none where runs do not vary.",
            *fewer_runs(study),
            *notes_of_folds(study),
        ],
    )


def fewer_runs(study: StudyResults) -> list[str]:
    """Say which arms rest on fewer runs than were asked for, and on how many of how many."""
    lost = Counter(each.arm for each in study.unfinished)
    there = Counter(str(facts["arm"]) for facts in (*_every_run(study), *study.pretraining))
    told = [f"{arm} {there[arm]} of {there[arm] + n} runs" for arm, n in sorted(lost.items())]
    return [f"Fewer runs than were asked for: {', '.join(told)}."] if told else []


def _any_has(study: StudyResults, metric: str) -> bool:
    return any(metric in facts["metrics"]["test"] for facts in study.records)


def runs_table(study: StudyResults, runs_dir: Path, out: Path) -> Table:
    """List every finished run, linked to its record."""
    metrics = list(dict.fromkeys((*study.metrics, *SHOWN)))
    runs = _every_run(study)
    folds = any("fold" in facts["protocol"] for facts in runs)
    rows: list[list[Value]] = [
        [
            link_to(facts["run_id"], runs_dir, out),
            facts["arm"],
            facts["dataset"],
            f"{float(facts['fraction']):.0%}",
            int(facts["seed"]),
            *([facts["protocol"].get("fold")] if folds else []),
            *(_number(facts["metrics"]["test"].get(metric)) for metric in metrics),
            _get(facts, "selected", "best_epoch"),
            _number(_get(facts, "cost", "wall_seconds")),
            _number(_get(facts, "cost", "gpu_seconds")),
            len(facts.get("warnings", ())),
        ]
        for facts in runs
    ]
    columns = ["run", "arm", "data set", "labels", "seed", *["fold"] * folds]
    columns += map(metric_title, metrics)
    return Table(
        name="runs",
        title="Runs",
        columns=[*columns, "epoch", "seconds", "GPU seconds", "warnings"],
        rows=rows,
        notes=["Scores of the reported cells. Each name leads to the folder of its record."],
    )


def _every_run(study: StudyResults) -> list[Facts]:
    """List runs, those of every fold too."""
    return [run for facts in study.records for run in runs_of(facts)]


def pretraining_table(study: StudyResults, runs_dir: Path, out: Path) -> Table:
    """List the runs that learnt genes from genes; they have metrics of their own."""
    rows: list[list[Value]] = [
        [
            link_to(facts["run_id"], runs_dir, out),
            facts["arm"],
            facts["model"],
            int(facts["seed"]),
            f"{part}: {metric}",
            _number(value),
        ]
        for facts in study.pretraining
        for part, scores in facts["metrics"].items()
        for metric, value in scores.items()
    ]
    return Table(
        name="pretraining",
        title="Pre-training runs",
        columns=["run", "arm", "model", "seed", "metric", "value"],
        rows=rows,
    )


def top_genes_table(study: StudyResults, runs_dir: Path) -> Table:
    """List the genes that speak most for and against each class, of one run of the baseline."""
    known = [
        facts
        for facts in study.records
        if facts["model"] == "logreg" and (runs_dir / facts["run_id"] / TOP_GENES).is_file()
    ]
    rows: list[list[Value]] = []
    notes = []
    if known:
        run = min(known, key=lambda facts: (-float(facts["fraction"]), int(facts["seed"])))
        text = (runs_dir / run["run_id"] / TOP_GENES).read_text(encoding="utf-8")
        weights: dict[str, list[tuple[float, str]]] = {}
        for row in csv.DictReader(text.splitlines()):
            weights.setdefault(row["class"], []).append((float(row["weight"]), row["gene"]))
        rows = [
            [
                name,
                ", ".join([gene for weight, gene in found if weight > 0][:MOST_GENES]) or None,
                ", ".join([gene for weight, gene in found if weight < 0][:MOST_GENES]) or None,
            ]
            for name, found in weights.items()
        ]
        notes = [
            f"The largest weights of {run['run_id']}, the largest first; how large a weight is "
            "depends on how much its gene varies."
        ]
    return Table(
        name="top_genes",
        title="Top genes of logistic regression",
        columns=["class", "speak for it", "speak against it"],
        rows=rows,
        notes=notes,
    )


def other_runs_table(study: StudyResults, runs: Sequence[Facts], out: Path) -> Table:
    """List runs of tasks that neither name cells nor make weights, score by score."""
    rows: list[list[Value]] = [
        [
            link_to(facts["run_id"], study.runs_dir, out),
            facts["arm"],
            str(facts.get("task", "")),
            int(facts["seed"]),
            part,
            metric_title(metric),
            _number(value),
        ]
        for facts in runs
        for part, scores in facts["metrics"].items()
        for metric, value in scores.items()
    ]
    return Table(
        name="other_runs",
        title="Runs of other tasks",
        columns=["run", "arm", "task", "seed", "cells", "score", "value"],
        rows=rows,
    )


def link_to(run_id: str, runs_dir: Path, out: Path) -> Link:
    """Lead from the page to the folder of a record."""
    return Link(run_id, f"{_folder_from(runs_dir, out)}/{quote(run_id)}/")


@lru_cache(maxsize=8)
def _folder_from(runs_dir: Path, out: Path) -> str:
    """Give the way from a page to the folder of records, as an address."""
    place = os.path.relpath(runs_dir.resolve(), out.resolve())
    return quote(Path(place).as_posix())


def unfinished_table(study: StudyResults) -> Table:
    """List what gave no result, with the last line of its error."""
    return Table(
        name="unfinished",
        title="Runs without a result",
        columns=["run", "arm", "state", "error"],
        rows=[
            *([each.run_id, each.arm, str(each.state), each.error] for each in study.unfinished),
            *([each.left_out[0], each.arm, "left out", each.sentence] for each in study.incomplete),
        ],
        notes=[
            "missing: planned, not begun. The same leadline ablate makes what is missing and "
            "tries again what failed; FAILED in the record's folder holds the whole error."
        ],
    )


def flags_table(study: StudyResults, found: Sequence[ArmComparison]) -> Table:
    """List what a reader must know before believing a comparison, and what the runs warned of."""
    rows: list[list[Value]] = [list(row) for row in flags_of(found)]
    counted: dict[str, list[str]] = {}
    for facts in (*_every_run(study), *study.pretraining):
        for text in facts.get("warnings", ()):
            counted.setdefault(str(text), []).append(str(facts["arm"]))
    for text, arms in sorted(counted.items()):
        where = f"{len(arms)} runs of {', '.join(dict.fromkeys(arms))}"
        rows.append(["warning", "of the run", text, where])
    return Table(
        name="flags",
        title="Flags",
        columns=["severity", "flag", "what", "where"],
        rows=rows,
    )


def differences_table(study: StudyResults) -> Table:
    """Say in which settings each arm differs from what it is compared with."""
    rows: list[list[Value]] = []
    settings = {arm: _settings(study, arm) for arm in study.arms}
    models = {arm: {str(f["model"]) for f in study.records if f["arm"] == arm} for arm in settings}
    for arm, other in study.pairs:
        if arm not in settings or other not in settings:
            continue
        left, right = settings[arm], settings[other]
        same_model = models[arm] == models[other]
        private = 0
        for key in sorted({*left, *right}):
            if left.get(key) == right.get(key):
                continue
            # Two models have few settings in common: only their names are told.
            if not same_model and (key not in left or key not in right):
                private += 1
                continue
            rows.append([arm, other, key, left.get(key), right.get(key)])
        if private:
            rows.append([arm, other, f"{private} settings that only one of the models has", "", ""])
    return Table(
        name="configuration",
        title="What differs between the arms",
        columns=["arm", "against", "setting", "in the arm", "in the other"],
        rows=rows,
        notes=["Read from config.yaml of every run; seed, share of the labels and paths left out."],
    )


def _settings(study: StudyResults, arm: str) -> dict[str, str]:
    """Give the values that the runs of an arm have of each setting."""
    values: dict[str, dict[str, None]] = {}
    for facts in study.records:
        if facts["arm"] == arm:
            for key, value in settings_of(study.configs.get(facts["run_id"], {})).items():
                values.setdefault(key, {})[_plain(value)] = None
    return {key: ", ".join(seen) for key, seen in values.items()}


def _plain(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def costs_table(study: StudyResults) -> Table:
    """Add up what each arm cost."""
    rows: list[list[Value]] = []
    by_arm: dict[str, list[Facts]] = {}
    for facts in (*_every_run(study), *study.pretraining):
        by_arm.setdefault(str(facts["arm"]), []).append(facts)
    for arm, runs in by_arm.items():
        total = {
            name: sum(_number(_get(facts, "cost", name)) or 0.0 for facts in runs) / 3600
            for name in ("wall_seconds", "cpu_seconds", "gpu_seconds")
        }
        peak = max((_number(_get(f, "cost", "peak_memory_mib")) or 0.0 for f in runs), default=0.0)
        parameters = {_number(_get(facts, "fit", "parameters_trainable")) for facts in runs}
        trained = max((value for value in parameters if value is not None), default=None)
        rows.append([arm, len(runs), *total.values(), peak or None, trained])
    return Table(
        name="costs",
        title="What it cost",
        columns=[
            "arm",
            "runs",
            "hours",
            "CPU hours",
            "GPU hours",
            "peak memory, MiB",
            "trained parameters, most",
        ],
        rows=rows,
    )


def _get(facts: Mapping[str, Any], *keys: str) -> Any:
    found: Any = facts
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


COLUMNS = (
    *("arm", "against", "data set", "labels", "seed", "only the arm is right"),
    *("only the other is right", "cells", "difference in accuracy", "p", "p (Holm)", "method"),
)


def mcnemar_table(study: StudyResults, found: Sequence[ArmComparison]) -> Table:
    """Test two runs of each shared seed wherever two arms are compared; empty if nobody asked."""
    rows = list(_rows(study, found)) if MCNEMAR in study.tests else []
    family = {str(at): row["p"] for at, row in enumerate(rows) if "p" in row}
    for at, corrected in (stats.holm(family) if family else {}).items():
        rows[int(at)]["p (Holm)"] = corrected
    said: list[list[Value]] = [[row.get(name) for name in COLUMNS] for row in rows]
    return Table(
        name=MCNEMAR,
        title=tests.title(MCNEMAR),
        columns=list(COLUMNS),
        rows=said,
        notes=[
            "Two trained models on the same cells, one row for each seed that both arms have: what "
            f"fresh runs would give is not asked. p (Holm) is corrected over the {len(family)} "
            "tests of this table."
        ],
    )


def _rows(study: StudyResults, found: Sequence[ArmComparison]) -> Iterator[dict[str, Any]]:
    for each in found:
        # Which is right does not depend on the metric, so one is enough.
        if each.a.metric != study.metrics[0]:
            continue
        place = {
            "arm": each.a.arm,
            "against": each.b.arm,
            "data set": each.a.dataset,
            "labels": f"{each.a.fraction:.0%}",
        }
        partners = dict(zip(each.b.seeds, each.b.records, strict=True))
        shared = [pair for pair in zip(each.a.seeds, each.a.records, strict=True)
                  if pair[0] in partners]  # fmt: skip
        if not shared:
            yield {**place, "method": "not tested: no seed that both arms have"}
        for seed, facts in shared:
            try:
                test = cells.mcnemar(facts, partners[seed], study.runs_dir)
            except UserError as error:
                yield {**place, "seed": seed, "method": f"not tested: {error.rule}"}
                continue
            yield {
                **place,
                "seed": seed,
                "only the arm is right": test.only_a_right,
                "only the other is right": test.only_b_right,
                "cells": test.cells,
                "difference in accuracy": test.estimate,
                "p": test.p,
                "method": test.method,
            }
