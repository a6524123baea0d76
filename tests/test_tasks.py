"""A task is one file and one row: nothing else needs to know it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from leadline.cli.sweep_summary import main_score
from leadline.config.compose import compose
from leadline.config.tasks import ARRAYS, TASKS, TaskRow
from leadline.errors import UserError
from leadline.runs import record, records
from leadline.runs.load_model import fitted
from leadline.runs.prepare import identify_run
from leadline.runs.run import run
from leadline.runs.tasks.base import task_of
from leadline.studies.naming import Run

ROOT = Path(__file__).parents[1]

# Describes the training cells of a class by their mean, and is judged by the distance to the mean
# of the reported cells of that class. No cell is named, and no model is asked.
PROFILES = """
import numpy as np

from leadline.errors import UserError
from leadline.models import FitResult
from leadline.runs.tasks.base import ComputedRun, Task


def means(cells):
    matrix_CG = cells.lognorm(None).toarray()
    present = np.unique(cells.labels_C)
    return np.array([matrix_CG[cells.labels_C == k].mean(axis=0) for k in present])


class Profiles(Task):
    __slots__ = ()

    def requires(self, config):
        if config.model.name != "majority":
            raise UserError("task=profiles asks no model", got=config.model.name, remedy="majority")

    def fit_and_predict(self, job, parts, world, notice, tracker):
        profiles = means(parts.train)
        scores = {
            part: {"distance_of_means": float(np.abs(profiles - means(cells)).mean())}
            for part, cells in parts.held_back.items()
        }
        facts = {"parameters_total": profiles.size, "parameters_trainable": 0}
        fit = FitResult(facts=facts, arrays={"profiles.npz": {"mean_KG": profiles}})
        return ComputedRun(fit=fit, scores=scores)

    def warnings(self, job, computed, scores):
        return ["a toy"]
"""


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    (tmp_path / "profiles_of_classes.py").write_text(PROFILES)
    monkeypatch.syspath_prepend(tmp_path)
    row = TaskRow(
        implementation="profiles_of_classes:Profiles",
        product=ARRAYS,
        main_score="distance_of_means",
        run_id_word="profiles",
        unread_protocol=("metric_labels",),
    )
    monkeypatch.setitem(TASKS, "profiles", row)
    return ["task=profiles", "model=majority", f"runs_dir={tmp_path}/runs"]


def test_a_task_is_added_by_one_file_and_one_row(profiles, capsys):
    config = compose(profiles)
    folder = run(config)
    assert folder.name.startswith("majority-profiles-pbmc68k_reduced-f1-s1-")
    assert record.state(folder) is record.State.DONE and not record.verify(folder)
    facts = record.read_facts(folder)
    assert (facts["task"], facts["arm"]) == ("profiles", "majority profiles")
    assert list(facts["metrics"]["test"]) == ["distance_of_means"]
    assert facts["per_class"] == {} and facts["warnings"][-1] == "a toy"
    with np.load(folder / "profiles.npz") as stored:
        assert stored["mean_KG"].shape == (10, 765)
    assert not (folder / record.PREDICTIONS).exists()
    value = facts["metrics"]["test"]["distance_of_means"]
    assert f"done: distance of means {value:.4f}" in capsys.readouterr().err
    (known,) = records.read_done(folder.parent)
    assert known["run_id"] == folder.name
    one = Run(label="", arms=(), words=(), config=config)
    assert main_score(one, facts) == value


def test_what_a_task_never_reads_decides_no_id(profiles):
    def named(*more):
        return identify_run(compose([*profiles, *more])).run_id

    assert named("protocol.metric_labels=all") == named("protocol.metric_labels=truth")
    assert named("seed=2") != named()


def test_each_task_refuses_what_does_not_go_with_it(profiles):
    with pytest.raises(UserError, match="task=profiles asks no model: got logreg"):
        run(compose(["model=logreg", *(word for word in profiles if word != "model=majority")]))
    with pytest.raises(
        UserError,
        match="task must be one of classify, pretrain, zero_shot, perturbation, profiles: got",
    ):
        compose(["task=profile"])
    with pytest.raises(UserError, match="predict needs a run that learnt labels"):
        fitted(Path("nowhere"), compose(profiles))


def test_every_row_leads_to_a_task():
    for name, row in TASKS.items():
        config = compose([f"task={name}", "model=mlp"])
        assert task_of(config).row is row
        assert set(row.unread_protocol) <= set(type(config.protocol).__dataclass_fields__)


def test_nothing_outside_the_tasks_asks_for_the_name_of_one():
    found = subprocess.run(
        ["grep", "-rnE", r'task == "|task != "|\.pretrains', "--include=*.py", "src/leadline"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    asking = [line for line in found.stdout.splitlines() if "/runs/tasks/" not in line]
    assert asking == []
