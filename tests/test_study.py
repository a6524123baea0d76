"""Studies as files: what they may say, what they come to, and what is wrong with the others."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.config.compose import compose, compose_many, parse, values_of
from leadline.errors import UserError
from leadline.runs import records
from leadline.runs.record import State
from leadline.studies import expand, manifest, name_runs, read
from leadline.studies.overrides import to_override, to_overrides
from leadline.studies.schema import read_compare

SMALL = {
    "question": "Is it better than guessing?",
    "arms": {"reference": {"model": "nearest_centroid"}, "majority": {"model": "majority"}},
    "grid": {"seed": [1, 2]},
}
NETWORKS = {
    "question": "Does width matter?",
    "base": {"train.epochs": 3},
    "arms": {
        "reference": {"model": "mlp"},
        "wide": {"model": "mlp", "model.hidden": [512]},
        "guess": {"model": "majority"},
    },
    "grid": {"seed": [1, 2], "data.fraction": [0.2, 1.0]},
}


@pytest.fixture
def write(tmp_path):
    def written_to(content, name="small", **changes):
        path = tmp_path / f"{name}.yaml"
        said = (
            content
            if isinstance(content, str)
            else yaml.safe_dump({**content, **changes}, sort_keys=False)
        )
        path.write_text(said)
        return str(path)

    return written_to


def arms(**changes):
    return {**SMALL, "arms": {**SMALL["arms"], **changes}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("question: [", "must be YAML: got .* in line 1; compare it with"),
        ("question: a\nquestion: b", "must be YAML.*the key 'question' stands twice in line 2"),
        ("- a", "a study must be a mapping from names to values"),
        ({**SMALL, "qestion": "x"}, "a study may hold .*: got 'qestion'; did you mean question?"),
        ({**SMALL, "question": ""}, "a study must have its question: got none"),
        ({**SMALL, "question": 3}, "question must be text: got 3"),
        ({**SMALL, "arms": {}}, "a study must have its arms: got none"),
        ({**SMALL, "reference": "x"}, "must include its reference: got no arm 'x' among reference"),
        (arms(a=None), "arm a must be a mapping"),
        (arms(a={"model": "knn_pca", "against": "b"}), "against must name an arm: got 'b'"),
        (
            arms(
                a={"model": "knn_pca", "against": "b"},
                b={"model": "logreg", "against": "a"},
            ),
            "measured in a circle: got a against b against a",
        ),
        (arms(a={"model": "logrg"}), "arm a: model must be one of .*got 'logrg'; did you mean lo"),
        (arms(a={"model": "knn_pca", "model.k": 3}), "arm a: model must have the setting"),
        (arms(a={"modl": 1}), "arm a: a setting must exist: got 'modl'; did you mean model?"),
        (arms(a={"seed": -1, "model": "knn_pca"}), "seed is either set or varied|seed must lie"),
        (arms(a={"model": "nearest_centroid"}), "arm a must differ from reference: got two arms"),
        (
            arms(a={"model": "nearest_centroid", "train.lr": 0.1, "train.threads": 2}),
            "arm a may differ from reference in one factor|arm a must differ",
        ),
        (arms(a={"model": "knn_pca", "runs_dir": "x"}), "not where or for whom: got 'runs_dir'"),
        (arms(a={"model": "knn_pca", "tracker": "csv"}), "not where or for whom: got 'tracker'"),
        (arms(a={"model": "knn_pca", "model.components": {"a": 1}}), "must be a whole number"),
        ({**SMALL, "grid": {"seed": []}}, "grid: seed must be a list with at least one value"),
        ({**SMALL, "grid": {"seed": 3}}, "grid: seed must be a list with at least one value"),
        ({**SMALL, "grid": {"seed": [1, 1]}}, "grid: seed must list each value once"),
        ({**SMALL, "grid": {"sead": [1]}}, "a setting must exist: got 'sead'; did you mean seed?"),
        ({**SMALL, "base": {"seed": 3}}, "seed is either set or varied: got both in arm reference"),
        (
            arms(a={"model": "knn_pca", "grid": {"seed": [1], "data.fraction": [0.5]}}),
            "arm a must be run where reference is: got data.fraction=0.5",
        ),
        (
            arms(a={"model": "scbert", "model.pretrained": "@b"}),
            "must name a run of the study's pr",
        ),
        ({**SMALL, "pretraining": {"b": {"model": "scbert"}}}, "must be the start of another run"),
        ({**SMALL, "report": "yes"}, "report must be true or false: got 'yes'; write report: true"),
        (
            {**SMALL, "published": 3},
            "published must be text: got 3",
        ),
        ({**SMALL, "published": 2}, "published must be text: got 2"),
        ({**SMALL, "compare": {"famly": "x"}}, "compare may hold .*got 'famly'; did you mean fam"),
        ({**SMALL, "compare": {"family": "x", "tests": ["welch"]}}, "must have its metrics"),
        (
            {**SMALL, "compare": {"family": "x", "tests": ["wlch"], "metrics": ["accuracy"]}},
            "tests must be among .*got 'wlch'; did you mean welch?",
        ),
        (
            {**SMALL, "compare": {"family": "x", "tests": ["welch"], "metrics": ["acc"]}},
            "metrics must be among .*got 'acc'",
        ),
        (
            {**SMALL, "compare": {"family": "x", "tests": ["tost_welch"], "metrics": ["macro_f1"]}},
            "tost_welch needs a margin: got none",
        ),
        (
            {
                **SMALL,
                "compare": {
                    "family": "x",
                    "tests": [],
                    "metrics": [],
                    "pairs": [["a", "majority"]],
                },
            },
            "pairs must name arms of the study: got 'a'",
        ),
        (
            {
                **SMALL,
                "compare": {
                    "family": "x",
                    "tests": ["welch"],
                    "metrics": ["accuracy"],
                    "equivalence_margin": 2,
                },
            },
            "equivalence_margin must be a number between 0 and 1: got 2",
        ),
        ({**SMALL, "by_size": [{"below": 10, "settings": {}}]}, "by_size must be a list"),
    ],
)
def test_each_mistake_in_a_file_is_one_clear_line(write, content, message):
    with pytest.raises(UserError, match=message) as caught:
        expand(read(write(content)))
    assert "\n" not in str(caught.value)


def test_an_arm_that_changes_two_things_must_say_why(write):
    two = {"model": "mlp", "model.hidden": [512], "model.dropout": 0.1}
    content = {**NETWORKS, "arms": {**NETWORKS["arms"], "wide": two}}
    with pytest.raises(UserError, match="one factor: got model.dropout and model.hidden; measure"):
        expand(read(write(content)))
    reason = {"also": {"model.dropout": "wider networks need less"}}
    content["arms"]["wide"] = two | reason
    assert expand(read(write(content))).factors["wide"] == ["model.dropout", "model.hidden"]
    content["arms"]["wide"] = {"model": "mlp", "model.hidden": [512], **reason}
    with pytest.raises(UserError, match="also may name what differs.*got 'model.dropout'"):
        expand(read(write(content)))


def test_what_does_not_change_what_is_computed_is_no_factor(write):
    wide = NETWORKS["arms"]["wide"] | {"train.threads": 1, "train.lr": 0.001, "model.dropout": 0.5}
    content = {**NETWORKS, "arms": {**NETWORKS["arms"], "wide": wide}}
    assert expand(read(write(content))).factors["wide"] == ["model.hidden"]


def test_a_model_comes_with_its_training(write):
    other = {"model": "scgpt", "train": "scgpt_paper", "train.epochs": 2}
    content = {**NETWORKS, "arms": {**NETWORKS["arms"], "other": other}}
    assert expand(read(write(content))).factors["other"] == ["model"]


def test_arms_times_grid(write):
    plan = expand(read(write(NETWORKS)))
    assert len(plan.runs) == 12
    assert {run.point for run in plan.runs} == {"data.fraction=0.2", "data.fraction=1.0"}
    # Choosing another option of a group drops what was set for the one before.
    assert all("model.hidden" not in run.settings for run in plan.runs if run.arm == "guess")


def test_words_choose_values_of_the_grid_and_change_every_run(write):
    plan = expand(read(write(NETWORKS)), ["seed=range(5,8)", "train.epochs=1", "model.dropout=0.1"])
    assert sorted({run.settings["seed"] for run in plan.runs}) == [5, 6, 7]
    assert all(run.settings["train.epochs"] == 1 for run in plan.runs)
    with_dropout = {run.arm for run in plan.runs if "model.dropout" in run.settings}
    assert with_dropout == {"reference", "wide"}, "a baseline has no dropout"
    plan = expand(read(write(NETWORKS)), ["model.dropout=0.1,0.2"])
    assert sum(run.arm == "reference" for run in plan.runs) == 8
    assert sum(run.arm == "guess" for run in plan.runs) == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sed=1"], "a setting must exist: got 'sed'"),
        (["model.hiden=[1]"], "model must have the setting"),
        (["seed=1", "seed=2"], "each setting may be given once"),
        (["model=mlp"], "arm .* must differ from reference"),
        (["runs_dir=a,b"], "runs_dir takes one value: got 2 of them"),
        (["seed=x,y"], "seed must be a whole number"),
        (["+seed=1"], "settings can be changed, not added"),
        (["seed="], "seed must"),
    ],
)
def test_mistakes_on_the_command_line(write, words, message):
    with pytest.raises(UserError, match=message):
        name_runs(expand(read(write(NETWORKS)), words))


def test_grids_of_an_arm_of_its_own(write):
    own = {"grid": [{"seed": [7, 8, 9], "data.fraction": [1.0]}, {"data.fraction": [0.2]}]}
    content = {**NETWORKS, "arms": {**NETWORKS["arms"], "guess": {"model": "majority", **own}}}
    runs = [run for run in expand(read(write(content))).runs if run.arm == "guess"]
    assert [(run.settings.get("seed"), run.settings["data.fraction"]) for run in runs] == [
        (7, 1.0),
        (8, 1.0),
        (9, 1.0),
        (None, 0.2),
    ]


def test_a_study_must_exist():
    with pytest.raises(UserError, match="got 'quickstrat'; did you mean quickstart?"):
        read("quickstrat")
    with pytest.raises(UserError, match="the file of a study must exist: got 'none.yaml'"):
        read("none.yaml")


def test_runs_are_named_as_leadline_run_names_them(write, tmp_path):
    from leadline.runs.prepare import identify_run

    runs = name_runs(expand(read(write(SMALL)), [f"runs_dir={tmp_path}/runs"]))
    assert [run.run_id for run in runs] == [
        identify_run(compose([f"model={model}", f"seed={seed}"])).run_id
        for model in ("nearest_centroid", "majority")
        for seed in (1, 2)
    ]
    assert {run.state() for run in runs} == {State.MISSING}
    assert compose(runs[0].words).arm == "reference"


def test_known_names_need_neither_torch_nor_the_data(write, tmp_path):
    code = (
        "import sys; from leadline.studies import *; runs = name_runs(expand(read(sys.argv[1])));"
        "print(*[r.run_id for r in runs]); print(*{'torch','sklearn','anndata'} & set(sys.modules))"
    )
    path = write(NETWORKS)
    called = [sys.executable, "-c", code, path]
    first, second = (
        subprocess.run(called, capture_output=True, text=True, check=True, env=os.environ)
        for _ in range(2)
    )
    assert first.stdout.splitlines()[0] == second.stdout.splitlines()[0]
    assert "torch" not in first.stdout.splitlines()[1]
    assert second.stdout.splitlines()[1] == ""


def test_a_file_that_was_changed_is_read_again(tmp_path, write, monkeypatch):
    from leadline.studies import naming

    asked = []
    in_full = naming.compute_run_name
    monkeypatch.setattr(
        naming, "compute_run_name", lambda config: asked.append(1) or in_full(config)
    )
    source = (
        naming.Path(naming.__file__).parents[1] / "data/datasets/embedded" / "pbmc68k_reduced.h5ad"
    )
    cells = tmp_path / "cells.h5ad"
    cells.write_bytes(source.read_bytes())
    words = ["data=h5ad", f"data.path={cells}", "data.label=bulk_labels"]
    plan = expand(read(write(SMALL)), words)
    name_runs(plan)
    name_runs(plan)
    assert len(asked) == 4, "two arms, two seeds, once"
    os.utime(cells, ns=(1, 1))
    name_runs(plan)
    assert len(asked) == 8


def test_a_run_that_serves_two_arms_is_made_once(write, tmp_path):
    content = {
        **SMALL,
        "arms": {**SMALL["arms"], "again": {"model": "majority", "against": None}},
    }
    plan = expand(read(write(content)), [f"runs_dir={tmp_path}/runs"])
    runs = name_runs(plan)
    assert [run.arms for run in runs] == [("reference",)] * 2 + [("majority", "again")] * 2
    listed = manifest.content(plan, runs)["runs"]
    assert [item["arm"] for item in listed] == ["reference"] * 2 + ["majority", "again"] * 2


PRETRAINING = {
    "question": "Does pretraining help?",
    "pretraining": {
        "body": {"model": "scbert", "model.size": "tiny", "train": "pretrain_tiny"},
    },
    "arms": {
        "reference": {"model": "scbert", "model.size": "tiny", "model.pretrained": "@body"},
        "scratch": {"model": "scbert", "model.size": "tiny", "model.pretrained": False},
    },
    "grid": {"seed": [1, 2], "data.fraction": [0.2, 1.0]},
}


def test_pretraining_is_made_once_and_comes_first(write, tmp_path):
    runs = name_runs(expand(read(write(PRETRAINING)), [f"runs_dir={tmp_path}/runs", "seed=5,6"]))
    first, *others = runs
    assert first.arms == () and first.config.task == "pretrain" and first.config.seed == 1
    assert len(others) == 8
    for run in others:
        started = run.arms == ("reference",)
        assert run.after == ((first.run_id,) if started else ())
        assert run.config.model.pretrained == (first.run_id if started else "false") or not started


def test_pretraining_may_not_go_in_circles(write):
    body = PRETRAINING["pretraining"]["body"]
    content = {
        **PRETRAINING,
        "pretraining": {
            "body": body | {"model.gene2vec": "@other"},
            "other": {"model": "gene2vec", "model.genes": "@body"},
        },
    }
    with pytest.raises(UserError, match="in a circle: got body from other from body"):
        expand(read(write(content)))


def test_a_run_that_cannot_be_made_does_not_stop_the_others(write, tmp_path):
    content = {**SMALL, "grid": {"data": ["pbmc68k_reduced", "ms"], "seed": [1]}}
    plan = expand(read(write(content)), [f"runs_dir={tmp_path}/runs"])
    runs = name_runs(plan)
    assert sum(run.name is None for run in runs) == 2
    assert "data=ms needs" in next(run.problem for run in runs if run.name is None)
    told = manifest.content(plan, runs)
    assert len(told["runs"]) == 2 and len(told["impossible"]) == 2


def test_a_comparison_is_over_fresh_runs_and_cells_unless_it_says_otherwise():
    compare = {"family": "f", "metrics": ["accuracy"]}
    assert read_compare(compare, [])["tests"] == ["crossed"]


def test_the_manifest_says_what_a_report_needs(write, tmp_path):
    compare = {"family": "f", "tests": ["welch"], "metrics": ["accuracy"]}
    plan = expand(read(write(SMALL, compare=compare)), [f"runs_dir={tmp_path}/runs"])
    manifest.write(plan, name_runs(plan), tmp_path / "runs")
    found = records.studies(tmp_path / "runs")
    assert list(found) == ["small"]
    told = found["small"]
    assert told["compare"] == compare and told["reference"] == "reference"
    assert told["arms"]["majority"]["against"] == "reference"
    assert told["arms"]["majority"]["factors"] == ["model"]
    assert {run["arm"] for run in told["runs"]} == {"reference", "majority"}
    json.dumps(told)


def test_read_done_speaks_of_the_study_that_is_asked_for(write, tmp_path):
    from leadline.runs.run import run

    runs_dir = tmp_path / "runs"
    plan = expand(read(write(SMALL)), [f"runs_dir={runs_dir}"])
    runs = name_runs(plan)
    manifest.write(plan, runs, runs_dir)
    run(compose([f"runs_dir={runs_dir}", "model=majority", "arm=other", "study=other"]))
    (facts,) = records.read_done(runs_dir, study="small")
    assert (facts["study"], facts["arm"]) == ("small", "majority")
    assert records.read_done(runs_dir)[0]["study"] == "other"
    with pytest.raises(UserError, match="got 'smal'; did you mean small?"):
        records.read_done(runs_dir, study="smal")
    (runs_dir / "studies" / "small.json").write_text("{")
    with pytest.raises(UserError, match="manifest of a study must be JSON"):
        records.studies(runs_dir)


def test_settings_follow_from_the_number_of_cells(write):
    tiers = [
        {"below": 100, "settings": {"train.epochs": 50}},
        {"settings": {"train.epochs": 7, "train.lr": 0.5, "model.dropout": 0.3}},
    ]
    content = {**NETWORKS, "by_size": tiers, "base": {"train.lr": 0.1}}
    plan = expand(read(write(content)), ["seed=1"])
    run = next(run for run in plan.runs if run.arm == "reference")
    assert run.settings["train.epochs"] == 7 and run.settings["model.dropout"] == 0.3
    assert run.settings["train.lr"] == 0.1, "what the file says itself stands"
    plan = expand(read(write(content)), ["train.epochs=2"])
    assert all(run.settings["train.epochs"] == 2 for run in plan.runs)


plain = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=12)
numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=200, deadline=None)
@given(plain | numbers | st.lists(plain | numbers, max_size=4))
def test_values_survive_being_written_as_words(value):
    try:
        (override,) = parse([f"key={to_override(value)}"])
    except UserError:
        # Hydra's grammar has no way to write control characters.
        assert not str(value).isprintable()
        return
    assert override.value() == value


def test_composing_many_gives_what_composing_each_gives():
    batches = [
        to_overrides({"model": model, "seed": seed, "data.fraction": 0.5, "train.threads": 1})
        for model in ("mlp", "logreg")
        for seed in (1, 2)
    ]
    batches.append(("data=h5ad", "data.path='a b.h5ad'", "data.label='Factor Value[x, y]'"))
    assert compose_many(batches) == [compose(words) for words in batches]
    with pytest.raises(UserError, match="seed must be a whole number"):
        compose_many([["seed=x"]])


def test_several_values_of_a_word():
    assert values_of(["seed=1,2", "data.fraction=0.5", "train.clip=null"]) == {
        "seed": [1, 2],
        "data.fraction": [0.5],
        "train.clip": [None],
    }
