"""One damaged record stops no command over many: it is named, counted, and left out of results."""

import json
import os
import shutil

import numpy as np
import pytest
import yaml

import leadline
from leadline import cli
from leadline.errors import UserError
from leadline.runs import damage, record, seal
from leadline.runs.record import State
from leadline.runs.records import read_done, read_whole
from records import write_manifest, write_pretraining, write_run


def reseal(folder):
    (folder / record.DONE).write_text(json.dumps({"sha256": record.digests(folder)}))


def with_facts(change):
    def act(folder):
        facts = json.loads((folder / record.FACTS).read_text())
        change(facts)
        (folder / record.FACTS).write_text(json.dumps(facts))
        reseal(folder)

    return act


def with_arrays(change):
    def act(folder):
        with np.load(folder / record.PREDICTIONS) as stored:
            arrays = {name: stored[name] for name in stored.files}
        change(arrays)
        np.savez_compressed(folder / record.PREDICTIONS, **arrays)
        reseal(folder)

    return act


def scores(**values):
    return with_facts(lambda facts: facts["metrics"]["test"].update(values))


def done(content):
    return lambda folder: (folder / record.DONE).write_text(content)


def done_is_a_folder(folder):
    (folder / record.DONE).unlink()
    (folder / record.DONE).mkdir()


def done_is_a_loop(folder):
    (folder / record.DONE).unlink()
    (folder / record.DONE).symlink_to(record.DONE)


def cut(name, size, *, sealed=False):
    def act(folder):
        (folder / name).write_bytes((folder / name).read_bytes()[:size])
        if sealed:
            reseal(folder)

    return act


def flipped(folder):
    content = bytearray((folder / record.FACTS).read_bytes())
    content[60] ^= 1
    (folder / record.FACTS).write_bytes(content)


def a_pipe(folder):
    (folder / record.FACTS).unlink()
    os.mkfifo(folder / record.FACTS)


# What was done to a record → what is said of it.
DAMAGES = {
    "facts empty": (cut(record.FACTS, 0), "record.json is not the file that was sealed"),
    "facts cut": (cut(record.FACTS, 300), "record.json is not the file that was sealed"),
    "facts flipped": (flipped, "record.json is not the file that was sealed"),
    "facts gone": (lambda f: (f / record.FACTS).unlink(), "record.json is missing"),
    "facts a pipe": (a_pipe, "record.json is missing"),
    "facts nested": (
        lambda f: ((f / record.FACTS).write_text("[" * 100_000), reseal(f)),
        "recursion",
    ),
    "facts a list": (
        lambda f: ((f / record.FACTS).write_text("[]"), reseal(f)),
        "record.json holds no mapping",
    ),
    "done empty": (done(""), "DONE holds no digests"),
    "done {}": (done("{}"), "DONE holds no digest of record.json"),
    "done []": (done("[]"), "DONE holds no digest of record.json"),
    "done a folder": (done_is_a_folder, "DONE is no file"),
    "done a loop": (done_is_a_loop, "levels of symbolic links"),
    "accuracy 7.3": (scores(accuracy=7.3), "accuracy in record.json is 7.3, outside 0 to 1"),
    "accuracy text": (scores(accuracy="high"), "accuracy in record.json is 'high'"),
    "accuracy nan": (scores(accuracy=float("nan")), "accuracy in record.json is nan"),
    "accuracy true": (scores(accuracy=True), "accuracy in record.json is True"),
    "another accuracy": (scores(accuracy=0.5), "accuracy is 0.5, and 0.8"),
    "another loss": (scores(log_loss=0.0), "log_loss is 0, and"),
    "no accuracy": (
        with_facts(lambda f: f["metrics"]["test"].pop("accuracy")),
        "lack accuracy",
    ),
    "no metrics": (with_facts(lambda f: f.pop("metrics")), "record.json lacks metrics"),
    "empty metrics": (with_facts(lambda f: f.update(metrics={})), "hold no score"),
    "no split": (with_facts(lambda f: f.pop("split")), "record.json lacks split"),
    "data a number": (with_facts(lambda f: f.update(data=3)), "data in record.json is '3'"),
    "seed text": (with_facts(lambda f: f.update(seed="one")), "seed in record.json is 'one'"),
    "fraction 0": (with_facts(lambda f: f.update(fraction=0)), "fraction in record.json is 0"),
    "negative cost": (
        with_facts(lambda f: f["cost"].update(wall_seconds=-1)),
        "cost.wall_seconds in record.json is -1",
    ),
    "a class's score": (
        with_facts(lambda f: f["per_class"]["test"]["B"].update(f1=1.0)),
        "per_class.test of 'B' is not what its predictions give",
    ),
    "other predictions": (
        with_arrays(lambda a: a.update(test_pred=np.roll(a["test_pred"], 1))),
        "by its predictions",
    ),
    "a class too many": (
        with_arrays(lambda a: a.update(test_pred=a["test_pred"] + 1)),
        "has pred outside its 6 classes",
    ),
    "a cell too few": (
        with_arrays(lambda a: a.update(test_true=a["test_true"][1:])),
        "has true of shape",
    ),
    "probabilities of 3": (
        with_arrays(lambda a: a.update(test_proba=a["test_proba"] + 2)),
        "probabilities that are none",
    ),
    "predictions cut": (cut(record.PREDICTIONS, 200, sealed=True), "cannot be read"),
    "predictions changed": (cut(record.PREDICTIONS, 200), "predictions.npz differ from"),
    "predictions gone": (
        lambda f: (f / record.PREDICTIONS).unlink(),
        "predictions.npz is missing",
    ),
    "predictions gone, sealed": (
        lambda f: ((f / record.PREDICTIONS).unlink(), reseal(f)),
        "predictions.npz is missing",
    ),
    "settings no YAML": (
        lambda f: ((f / record.CONFIG).write_text("[1"), reseal(f)),
        "while parsing a flow sequence",
    ),
    "settings gone": (lambda f: (f / record.CONFIG).unlink(), "config.yaml is missing"),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    place = tmp_path_factory.mktemp("whole") / "runs"
    made = [
        (write_run(place, arm=arm, seed=seed, study="s", model=model), arm)
        for arm, model in (("reference", "logreg"), ("mlp", "mlp"))
        for seed in (1, 2, 3)
    ]
    write_manifest(place, "s", {"reference": None, "mlp": "reference"}, made)
    return place


@pytest.fixture
def runs(originals, tmp_path):
    shutil.copytree(originals, tmp_path / "runs")
    return tmp_path / "runs"


def one_of(runs):
    return next(path for path in sorted(runs.glob("logreg-*")))


def study_of(arms, seeds):
    return {"question": "?", "arms": arms, "grid": {"seed": seeds}}


def call(capsys, *words, expect):
    assert cli.main(list(words)) == expect
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said


@pytest.mark.parametrize("name", DAMAGES)
def test_each_damage_is_seen_and_said(name, runs):
    act, said = DAMAGES[name]
    folder = one_of(runs)
    assert damage.problem(folder) == ""
    act(folder)
    assert said in damage.problem(folder)
    assert record.state(folder) in (State.DONE, State.DAMAGED)
    with pytest.raises(UserError, match="a finished record must not change"):
        read_whole(folder)


@pytest.mark.parametrize("name", ["done a folder", "other predictions"])
def test_commands_over_many_name_it_and_go_on(name, runs, tmp_path, capsys):
    folder = one_of(runs)
    DAMAGES[name][0](folder)
    place = ["--runs", str(runs)]
    listed = call(capsys, "list", "runs", *place, expect=cli.GOOD)
    assert listed.out.count(" done ") == 5 and folder.name in listed.err
    assert "1 of 6 finished records is damaged and left out" in listed.err
    shown = call(capsys, "show", folder.name, *place, expect=cli.GOOD).out
    assert f"{folder.name}: damaged" in shown and "CHANGED since it was done" in shown
    out = tmp_path / "out"
    said = call(capsys, "report", "s", *place, "--out", str(out), expect=cli.GOOD)
    assert folder.name in said.err
    for page in ("index.html", "report.md"):
        text = (out / page).read_text().replace("\\", "")
        assert "1 of 6 finished records is damaged and left out" in text and folder.name in text
    assert "5 of 6 runs done" in (out / "report.md").read_text()
    assert "reference 2 of 3 runs" in (out / "report.md").read_text()
    compared = call(capsys, "compare", "reference", "mlp", *place, expect=cli.GOOD)
    assert "reference, 2 runs" in compared.out and folder.name in compared.err
    for words in (
        ["compare", folder.name, "mlp", *place],
        ["predict", "--run", str(folder), "--cells", "x.h5ad", "--out", str(tmp_path / "x.csv")],
    ):
        assert "must not change" in call(capsys, *words, expect=cli.MISTAKE).err
    frame = leadline.read_runs(runs)
    assert frame["run_id"].nunique() == 5 and folder.name in capsys.readouterr().err


def test_records_of_other_tasks_are_whole(tmp_path):
    folder = tmp_path / write_pretraining(tmp_path)
    assert damage.problem(folder) == ""


def test_doctor_lists_and_quarantines_without_deleting(runs, capsys):
    folder = one_of(runs)
    scores(accuracy=7.3)(folder)
    before = seal.digests(folder)
    said = call(capsys, "doctor", str(runs), expect=cli.FAILED).out
    assert "5 of 6 finished records are whole" in said and "is 7.3, outside 0 to 1" in said
    assert folder.exists()
    said = call(capsys, "doctor", str(runs), "--quarantine", expect=cli.GOOD).out
    moved = runs / damage.QUARANTINE / folder.name
    assert str(moved) in said and not folder.exists() and seal.digests(moved) == before
    assert len(read_done(runs)) == 5
    call(capsys, "doctor", str(runs), expect=cli.GOOD)
    shutil.copytree(moved, folder)
    call(capsys, "doctor", str(runs), "--quarantine", expect=cli.GOOD)
    assert (runs / damage.QUARANTINE / f"{folder.name}-2").is_dir() and moved.is_dir()


def test_quarantine_needs_a_folder_of_runs(tmp_path, capsys):
    for words in ([], ["zheng68k"], [str(tmp_path)]):
        said = call(capsys, "doctor", "--quarantine", *words, expect=cli.MISTAKE).err
        assert "--quarantine moves the damaged records of a folder aside" in said


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"arms": {}, "runs": 3}', '{"arms": {}, "runs": [{}]}',
                '{"arms": {}, "runs": [{"run_id": "../x", "arm": "a"}]}'],
)  # fmt: skip
def test_a_manifest_that_names_no_runs_is_refused(content, runs, capsys):
    (runs / "studies" / "s.json").write_text(content)
    said = call(capsys, "report", "s", "--runs", str(runs), "--out", "x", expect=cli.MISTAKE).err
    assert "the manifest of a study must be JSON" in said and "ablate s writes it again" in said
    assert "must be JSON" in call(capsys, "doctor", str(runs), expect=cli.FAILED).out


def test_a_sweep_counts_each_fate_apart_and_makes_again_what_was_moved(tmp_path, capsys):
    study = tmp_path / "s.yaml"
    arms = {"reference": {"model": "nearest_centroid"}, "control": {"model": "majority"}}
    study.write_text(yaml.safe_dump(study_of(arms, [1, 2]), sort_keys=False))
    words = [str(study), f"runs_dir={tmp_path / 'runs'}"]
    call(capsys, "ablate", *words, expect=cli.GOOD)
    folder = next((tmp_path / "runs").glob("nearest_centroid-*-s2-*"))
    scores(accuracy=0.1)(folder)
    said = call(capsys, "ablate", *words, expect=cli.FAILED).out
    assert "3 already there, 0 failed, 1 damaged; 1 to do" in said and "(1 of 2)" in said
    assert "accuracy is 0.1, and" in said and "--quarantine" in said
    planned = call(capsys, "plan", *words, "--json", expect=cli.GOOD)
    assert json.loads(planned.out)["totals"]["states"] == {"done": 3, "damaged": 1}
    assert folder.name in planned.err
    call(capsys, "doctor", str(tmp_path / "runs"), "--quarantine", expect=cli.GOOD)
    assert "1 done now, 3 already" in call(capsys, "ablate", *words, expect=cli.GOOD).out


def test_fail_fast_starts_nothing_further(tmp_path, capsys, monkeypatch):
    (tmp_path / "bad_model.py").write_text(
        "class Bad:\n    def fit(self, X, y):\n        raise RuntimeError('no luck')\n"
        "    def predict_proba(self, X):\n        return X\n"
    )
    monkeypatch.chdir(tmp_path)
    study = tmp_path / "s.yaml"
    arms = {"reference": {"model": "python:bad_model.Bad"}, "control": {"model": "majority"}}
    study.write_text(yaml.safe_dump(study_of(arms, [1, 2, 3]), sort_keys=False))
    words = [str(study), f"runs_dir={tmp_path / 'runs'}", "--fail-fast", "2"]
    said = call(capsys, "ablate", *words, expect=cli.FAILED).out
    assert "2 failed, 4 never run" in said and "--fail-fast 2" in said
