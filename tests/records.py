"""Made-up records, complete in every file: what a report reads, without training anything."""

from dataclasses import replace

import numpy as np

from leadline import files
from leadline.runs import record
from leadline.runs.record import Predictions, ReportedBatches
from leadline.stats import metrics

CLASSES = ("CD4+ T", "CD8+ T", "B", "NK", "Monocyte", "Dendritic")
SHARES = (0.35, 0.25, 0.15, 0.12, 0.08, 0.05)


def write_run(
    runs,
    *,
    arm="reference",
    model="scbert",
    seed=1,
    accuracy=0.8,
    fraction=1.0,
    dataset="cells",
    protocol="corrected",
    cells=200,
    epochs=0,
    classes=CLASSES,
    warnings=(),
    settings=None,
    error="",
    done=True,
    gpu=0.0,
    data="f" * 64,
    study="",
    truth=None,
    calls=None,
    donors=None,
    trained_on=(),
    order=None,
    selection="holdout",
    hard=None,
):
    """Write the record of a run whose predictions are right about as often as wanted.

    `truth` and `calls`, class codes of every cell, take the place of what is drawn. `donors` names
    the donor of every cell, `trained_on` those that the run learnt from. `order` is that in which
    the cells are written.
    """
    rng = np.random.default_rng([seed, *arm.encode(), *model.encode(), int(1000 * fraction)])
    run_id = f"{model}-{dataset}-{record.identify([arm, seed, fraction, protocol, settings], 'x')}"
    truth_C = np.random.default_rng(7).choice(len(SHARES), size=cells, p=SHARES).astype(np.int32)
    proba_CK = rng.dirichlet(np.ones(len(SHARES)), size=cells)
    right_C = rng.permutation(cells) < round(accuracy * cells)
    wanted_C = np.where(right_C, truth_C, (truth_C + rng.integers(1, 6, cells)) % 6)
    if calls is not None:
        truth_C, wanted_C = truth.astype(np.int32), calls
    rows = np.arange(cells)
    proba_CK[rows, proba_CK.argmax(axis=1)], proba_CK[rows, wanted_C] = (
        proba_CK[rows, wanted_C],
        proba_CK.max(axis=1),
    )
    said = Predictions(
        ids=np.array([f"cell-{at}" for at in rows]),
        truth_C=truth_C,
        predicted_C=wanted_C.astype(np.int32),
        proba_CK=proba_CK.astype(np.float16),
    )
    if donors is not None:
        names, code_C = np.unique(donors, return_inverse=True)
        trained_on_B = np.isin(names, list(trained_on))
        batches = ReportedBatches(names=names, code_C=code_C, trained_on_B=trained_on_B)
        said = replace(said, batches=batches)
    if order is not None:
        said = reordered(said, order)
    facts = facts_of(
        run_id, arm, model, seed, fraction, dataset, protocol, said, classes, data, gpu, study, hard
    )
    facts["warnings"] = list(warnings)
    facts["selected"]["selection"] = selection
    with record.open_record(runs / run_id) as opened:
        config = {
            "data": {"name": dataset, "fraction": fraction},
            "model": {"name": model, "depth": 6},
            "train": {"batch_size": 32, "lr": 1e-4},
            "protocol": {"name": protocol},
            "seed": seed,
            "task": "classify",
        }
        for key, value in (settings or {}).items():
            group, _, name = key.partition(".")
            config[group][name] = value
        opened.write_config(config)
        opened.write_predictions({"test": said}, classes)
        if epochs:
            opened.write_epochs(curve(epochs, accuracy, rng))
            facts["selected"]["best_epoch"] = epochs // 2 + 1
        if done:
            opened.write_facts(facts)
            opened.finish()
        elif error:
            opened.fail(error)
    return run_id


def reordered(said, order):
    """Write the same predictions in another order of the cells."""
    fields = ("ids", "truth_C", "predicted_C", "proba_CK")
    said = replace(said, **{name: getattr(said, name)[order] for name in fields})
    if said.batches is None:
        return said
    return replace(said, batches=replace(said.batches, code_C=said.batches.code_C[order]))


def facts_of(
    run_id, arm, model, seed, fraction, dataset, protocol, said, classes, data, gpu, study, hard
):
    named = None if hard is None else np.array(hard)
    scores = metrics.score(
        said.truth_C, said.predicted_C, said.proba_CK, labels="truth", hard=named
    )
    return {
        "run_id": run_id,
        "study": study or None,
        "arm": arm,
        "model": model,
        "dataset": dataset,
        "fraction": fraction,
        "seed": seed,
        "protocol": {"name": protocol},
        "selected": {"best_epoch": None, "by": None, "selection": "holdout"},
        "fit": {"parameters_trainable": 185977},
        "data": {"fingerprint": data, "classes": list(classes)},
        "split": {"fingerprint": f"{fraction}", "cells": {"test": len(said.truth_C)}},
        "metrics": {"test": scores, "val": scores},
        "per_class": {"test": metrics.per_class(said.truth_C, said.predicted_C, classes)},
        "provenance": {
            "leadline": "0.1.0",
            "git_commit": "c0ffee",
            "git_dirty": False,
            "python": "3.11.7",
            "packages": {"numpy": "2.4.6"},
            "platform": "Linux",
            "device": "cpu",
        },
        "cost": {
            "wall_seconds": 10.0 + seed,
            "cpu_seconds": 9.0 + seed,
            "gpu_seconds": gpu,
            "peak_memory_mib": 512.0,
        },
    }


def curve(epochs, accuracy, rng):
    """Make scores by epoch that rise to the accuracy of the run."""
    return [
        {
            "epoch": epoch,
            "lr": 1e-4,
            "train_loss": 2.0 / epoch + 0.05 * rng.random(),
            "selection_loss": 2.2 / epoch + 0.1 * rng.random(),
            "selection_accuracy": accuracy * (1 - 0.6 / epoch) + 0.01 * rng.random(),
            "selection_macro_f1": accuracy * (1 - 0.7 / epoch) + 0.01 * rng.random(),
        }
        for epoch in range(1, epochs + 1)
    ]


def seal_without_results(folder):
    """Make of a folder a finished record that says as little as one may."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "run_id": folder.name,
        "model": "nearest_centroid",
        "arm": "reference",
        "dataset": "cells",
        "seed": 1,
        "fraction": 1.0,
        "protocol": {"name": "corrected"},
        "data": {"fingerprint": "f" * 64},
        "metrics": {"test": {"accuracy": 0.5}},
    }
    if not (folder / record.CONFIG).exists():
        files.write_text(folder / record.CONFIG, "{}\n")
    files.write_json(folder / record.FACTS, facts)
    files.write_json(folder / record.DONE, {"sha256": record.digests(folder)})


def write_pretraining(runs, *, arm="corpus", seed=1):
    """Write the record of a run that learnt genes from genes."""
    run_id = f"scbert-pretrain-s{seed}"
    with record.open_record(runs / run_id) as opened:
        opened.write_config({"task": "pretrain", "model": {"name": "scbert"}, "seed": seed})
        rng = np.random.default_rng(seed)
        opened.write_epochs(
            [{"epoch": e, "train_loss": 2 / e + rng.random() / 10} for e in range(1, 6)]
        )
        opened.write_facts(
            {
                "run_id": run_id,
                "task": "pretrain",
                "study": None,
                "arm": arm,
                "model": "scbert",
                "dataset": "cells",
                "fraction": 1.0,
                "seed": seed,
                "protocol": {"name": "corrected"},
                "metrics": {"val": {"masked_accuracy": 0.72, "most_common_bin": 0.7}},
                "data": {"fingerprint": "f" * 64},
                "warnings": [],
                "cost": {"wall_seconds": 60.0, "cpu_seconds": 55.0},
            }
        )
        opened.finish()
    return run_id


def write_manifest(runs, name, arms, runs_of, *, reference="reference", question="", **more):
    """Write what a study is: arms → what they are compared with, and (run, arm) pairs."""
    compare = {
        "family": name,
        "tests": ["welch", "paired_t"],
        "metrics": ["accuracy", "macro_f1"],
        "equivalence_margin": 0.01,
    }
    (runs / "studies").mkdir(parents=True, exist_ok=True)
    manifest = {
        "name": name,
        "question": question or f"What does {name} say?",
        "artefacts": [],
        "compare": compare,
        "published": None,
        "reference": reference,
        "arms": {arm: {"overrides": {}, "against": against} for arm, against in arms.items()},
        "runs": [{"run_id": run_id, "arm": arm, "overrides": []} for run_id, arm in runs_of],
    } | more
    files.write_json(runs / "studies" / f"{name}.json", manifest)
