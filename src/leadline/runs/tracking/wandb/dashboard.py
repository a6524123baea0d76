"""The dashboard of a wandb project: which panels, grouped by what; plain data, then wandb's API.

wandb's own default draws one panel for each key. This one answers the questions of an ablation:
which arm is better, by how much the seeds scatter, how it learnt, where it errs, what it costs.
"""

from __future__ import annotations

import importlib
import warnings
from importlib.util import find_spec
from typing import Any

from leadline.errors import UserError
from leadline.runs.tracking.wandb import sdk

ARM, STUDY = "JobType", "Group"
SCORES = ("test/accuracy", "test/macro_f1")

Spec = dict[str, Any]


def spec(study: str | None = None) -> Spec:
    """Describe the dashboard, of all studies of a project or of one."""
    filters = [[ARM, "!=", "study"]] + ([[STUDY, "==", study]] if study else [])
    return {
        "name": f"leadline: {study}" if study else "leadline",
        "runs": {
            "groupby": [ARM] if study else [STUDY, ARM],
            "filters": filters,
            "order": ["test/accuracy", "descending"],
            "columns": [
                "run:displayName",
                "run:state",
                "run:tags",
                *(f"summary:{score}" for score in SCORES),
                "summary:best_epoch",
                "summary:cost/wall_seconds",
                "summary:warnings",
            ],
        },
        "sections": [
            {"name": "Which arm is better", "open": True, "panels": compared()},
            {"name": "How it learnt", "open": True, "panels": curves()},
            {"name": "Where it errs", "open": True, "panels": confusions()},
            {"name": "What it costs", "open": False, "panels": costs()},
        ],
    }


def compared() -> list[Spec]:
    """Bars of each arm with the spread over seeds, and every run as a dot."""
    bars = [
        {"kind": "bars", "title": f"{score} by arm", "metrics": [score], "groupby": ARM}
        for score in SCORES
    ]
    dots = [
        {
            "kind": "dots",
            "title": f"{score} against the share of labels",
            "x": "config:data.fraction",
            "y": f"summary:{score}",
        }
        for score in SCORES
    ]
    return bars + dots


def curves() -> list[Spec]:
    """Learning curves: the mean over seeds, shaded from lowest to highest."""
    shown = {
        "selection_accuracy": "accuracy on the selection set",
        "selection_macro_f1": "macro-F1 on the selection set",
        "selection_loss": "loss on the selection set",
        "train_loss": "loss on the training cells",
        "lr": "learning rate",
    }
    return [
        {"kind": "lines", "title": title, "x": "Step", "y": [key], "groupby": ARM}
        for key, title in shown.items()
    ]


def confusions() -> list[Spec]:
    """Confusion matrices, of the reported cells and of the selection set."""
    return [
        {
            "kind": "confusion",
            "title": f"confusion, {part} cells",
            "table": f"{part}/confusion_table",
        }
        for part in ("test", "val")
    ]


def costs() -> list[Spec]:
    """Bars of what runs take, and what a second buys."""
    takes = ("cost/wall_seconds", "cost/gpu_seconds", "cost/peak_memory_mib")
    bars = [{"kind": "bars", "title": key, "metrics": [key], "groupby": ARM} for key in takes]
    bought = {
        "kind": "dots",
        "title": "macro-F1 against seconds",
        "x": "summary:cost/wall_seconds",
        "y": "summary:test/macro_f1",
        "log_x": True,
    }
    return [*bars, bought]


def create(entity: str, project: str, described: Spec) -> str:
    """Make the dashboard as a saved view of the project; give its address."""
    if not sdk.has_key():
        raise UserError(
            "a dashboard is made by somebody whom wandb knows",
            got=f"no key for {sdk.base_url()}",
            remedy="run wandb login, or look at the plan with --dry-run",
        )
    workspace = build(entity, project, described)
    workspace.save()
    return str(workspace.url)


def build(entity: str, project: str, described: Spec) -> Any:
    """Turn the description into wandb's own objects, without asking a server."""
    ws, wr = libraries()
    runs = described["runs"]
    compare = {"==": lambda key, value: key == value, "!=": lambda key, value: key != value}
    return ws.Workspace(
        entity=entity,
        project=project,
        name=described["name"],
        sections=[
            ws.Section(
                name=section["name"],
                is_open=section["open"],
                panels=[panel(wr, ws, one) for one in section["panels"]],
            )
            for section in described["sections"]
        ],
        runset_settings=ws.RunsetSettings(
            groupby=[ws.Metric(key) for key in runs["groupby"]],
            filters=ws.And(
                *(compare[how](ws.Metric(key), value) for key, how, value in runs["filters"])
            ),
            order=[ws.Ordering(ws.Summary(runs["order"][0]), ascending=False)],
            pinned_columns=runs["columns"],
        ),
    )


def panel(wr: Any, ws: Any, one: Spec) -> Any:
    """Turn one panel into wandb's own."""
    if one["kind"] == "bars":
        return wr.BarPlot(
            title=one["title"],
            metrics=one["metrics"],
            groupby=one["groupby"],
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
    if one["kind"] == "lines":
        return wr.LinePlot(
            title=one["title"],
            x=one["x"],
            y=one["y"],
            groupby=one["groupby"],
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
        )
    if one["kind"] == "dots":
        kinds = {"config": wr.Config, "summary": wr.SummaryMetric}
        axes = {}
        for axis in ("x", "y"):
            where, _, key = one[axis].partition(":")
            axes[axis] = kinds[where](key)
        return wr.ScatterPlot(title=one["title"], log_x=one.get("log_x"), **axes)
    assert one["kind"] == "confusion"
    columns = ("Actual", "Predicted", "nPredictions")
    return wr.CustomChart(
        query={"summaryTable": {"tableKey": one["table"]}},
        chart_name="wandb/confusion_matrix/v1",
        chart_fields={name: name for name in columns},
        chart_strings={"title": one["title"]},
    )


def libraries() -> tuple[Any, Any]:
    """Import wandb's library of dashboards, which is a package of its own."""
    if find_spec("wandb_workspaces") is None:
        raise UserError(
            "a dashboard needs the package wandb-workspaces",
            got="an installation without it",
            remedy='install it with pip install "leadline[dashboard]"',
        )
    sdk.sdk()
    with warnings.catch_warnings():
        # It is written for the pydantic before this one.
        warnings.simplefilter("ignore", DeprecationWarning)
        ws = importlib.import_module("wandb_workspaces.workspaces")
        wr = importlib.import_module("wandb_workspaces.reports.v2")
    return ws, wr
