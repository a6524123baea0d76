"""The dashboard: a plan that anybody can read, and the view that wandb's library makes of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from leadline.errors import UserError
from leadline.runs.record import read_facts
from leadline.runs.run import run
from leadline.runs.tracking.wandb import dashboard, upload
from test_tracking import WORDS
from test_tracking_wandb import MINE, configured, read_back
from wandb_at_home import at_home, server

__all__ = ["at_home", "server"]

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "wandb_dashboard.py"


def test_the_plan_is_printed_without_wandb_or_a_key(at_home):
    done = subprocess.run(
        [sys.executable, SCRIPT, "lab/leadline", "--study", "size", "--dry-run"],
        capture_output=True,
        text=True,
        check=True,
    )
    plan = json.loads(done.stdout)
    assert plan == dashboard.spec("size")
    assert plan["runs"]["groupby"] == ["JobType"]
    assert ["Group", "==", "size"] in plan["runs"]["filters"]
    assert dashboard.spec()["runs"]["groupby"] == ["Group", "JobType"]


def test_every_panel_shows_what_runs_tell(at_home, tmp_path):
    """A key that no run has would be an empty panel."""
    folder = run(configured(tmp_path, *WORDS, *MINE))
    told = read_back(folder)
    known = set(told.summary) | {key for row in told.history for key in row}
    known |= {f"summary:{key}" for key in told.summary} | {"config:data.fraction", "Step"}
    known |= {"run:displayName", "run:state", "run:tags"}
    assert read_facts(folder)["fraction"] == told.config["data"]["fraction"]
    named = set(dashboard.spec()["runs"]["columns"])
    for section in dashboard.spec()["sections"]:
        for panel in section["panels"]:
            axes = [panel.get("x"), panel.get("y"), panel.get("table"), panel.get("metrics")]
            for axis in axes:
                named |= set(axis if isinstance(axis, list) else [axis] if axis else [])
    # A run on a GPU has these too; this one has no selection set of its own to plot against.
    assert named - known == set()
    assert upload.COLUMNS[0] == "cell"


def test_the_view_is_made_and_saved(server):
    address = dashboard.create("lab", "leadline", dashboard.spec("size"))
    (view,) = server.views
    assert (view["entityName"], view["projectName"]) == ("lab", "leadline")
    assert view["displayName"] == "leadline: size"
    assert address.startswith(f"{server.url}/lab/leadline")
    section = view["spec"]["section"]
    panels = [
        panel["config"] for one in section["panelBankConfig"]["sections"] for panel in one["panels"]
    ]
    titles = {config.get("chartTitle") for config in panels}
    assert {"test/accuracy by arm", "loss on the training cells"} <= titles
    described = dashboard.spec("size")["sections"]
    assert len(panels) == sum(len(one["panels"]) for one in described)
    runset = json.dumps(section["runSets"])
    assert "jobType" in runset and '"size"' in runset


def test_what_is_missing_is_said(at_home, monkeypatch):
    with pytest.raises(UserError, match="got no key for http://127.0.0.1:9; run wandb login, or"):
        dashboard.create("lab", "p", dashboard.spec())
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(UserError, match=r'pip install "leadline\[dashboard\]"'):
        dashboard.build("lab", "p", dashboard.spec())
