"""Every cell reported once, in folds: how cells are parted, studied, put together and compared."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import cli
from leadline.config import ProtocolConfig, as_recorded, science
from leadline.config.compose import compose
from leadline.data.splits.split import corpus_split, make_split
from leadline.errors import UserError
from leadline.report import study_tables
from leadline.report.baseline import cells_that_count
from leadline.report.baseline_answer import first_line
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.runs import record
from leadline.runs.prepare import identify_run
from leadline.stats.crossed import compare_arms
from leadline.stats.difference import interval, over_folds, parts
from leadline.stats.influence import influences
from leadline.studies import expand, read
from small import saved, small_cells

SCRIPTS = Path(__file__).parents[1] / "scripts"


def splits_of(cells, folds, *, seed=1, fraction=1.0, **changes):
    """Draw the split of every fold."""
    return [
        make_split(
            cells,
            ProtocolConfig(name="test", folds=folds, fold=fold, **changes),
            seed=seed,
            fraction=fraction,
            label="cell_type",
        )
        for fold in range(1, folds + 1)
    ]


# --- how cells are parted ------------------------------------------------------------------------
@given(
    sizes=st.lists(st.integers(2, 30), min_size=1, max_size=5),
    folds=st.integers(2, 8),
    split_seed=st.integers(0, 99),
    fraction=st.sampled_from([0.4, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_every_cell_is_reported_exactly_once(sizes, folds, split_seed, fraction):
    if sum(sizes) < max(folds, 20):
        sizes = [*sizes, 25]
    cells = small_cells(tuple(sizes))
    found = splits_of(cells, folds, fraction=fraction, split_seed=split_seed, selection="none")
    reported = np.concatenate([split.test for split in found])
    np.testing.assert_array_equal(np.sort(reported), np.arange(len(cells)))
    held = [len(split.test) for split in found]
    assert max(held) - min(held) <= 1
    for split in found:
        everything = np.concatenate([split.train, split.val, split.test, split.unlabelled])
        np.testing.assert_array_equal(np.sort(everything), np.arange(len(cells)))
        assert set(cells.labels_C[split.test]) <= set(cells.labels_C[split.train])
    by_class = np.array(
        [np.bincount(cells.labels_C[split.test], minlength=len(sizes)) for split in found]
    )
    assert (np.ptp(by_class, axis=0) <= 1).all()


@given(
    donors=st.lists(st.integers(1, 40), min_size=4, max_size=12),
    folds=st.integers(2, 4),
    split_seed=st.integers(0, 9),
)
@settings(max_examples=30, deadline=None)
def test_a_donor_is_never_in_two_folds(donors, folds, split_seed):
    batch = np.repeat([f"donor {at}" for at in range(len(donors))], donors)
    cells = small_cells((len(batch),), n_genes=10, batch_C=batch)
    found = splits_of(cells, folds, split_seed=split_seed, selection="none")
    reported = np.concatenate([split.test for split in found])
    np.testing.assert_array_equal(np.sort(reported), np.arange(len(cells)))
    for split in found:
        assert set(batch[split.test]).isdisjoint(batch[split.train])
        # No fold is larger than an even share by more than the largest donor.
        assert len(split.test) <= len(batch) / folds + max(donors)


def test_the_partition_is_that_of_split_seed_whatever_the_seed_of_the_run():
    cells = small_cells((30, 20, 10))
    first, other = splits_of(cells, 3, seed=1), splits_of(cells, 3, seed=2, fraction=0.5)
    for a, b in zip(first, other, strict=True):
        np.testing.assert_array_equal(a.test, b.test)
    elsewhere = splits_of(cells, 3, split_seed=1)
    assert any(not np.array_equal(a.test, b.test) for a, b in zip(first, elsewhere, strict=True))


def test_few_batches_are_no_reason_to_refuse_but_are_told():
    cells = small_cells((20, 20), batch_C=np.repeat(["a", "b"], 20))
    (first, *_) = splits_of(cells, 5)
    assert "batches are not held out whole: 2 of them are too few for 5 folds" in first.warnings


def test_classes_with_fewer_cells_than_folds_are_named_and_kept():
    cells = small_cells((30, 20, 3))
    found = splits_of(cells, 5)
    told = "1 classes have fewer cells than the 5 folds ('type 2' (3)): some folds report on none"
    assert all(any(text.startswith(told) for text in split.warnings) for split in found)
    assert sum((cells.labels_C[split.test] == 2).sum() for split in found) == 3


@pytest.mark.parametrize("labelled", [True, False])
def test_a_pretraining_of_a_fold_sees_none_of_its_cells(labelled):
    cells = small_cells((30, 20, 10), **({} if labelled else {"labels_C": None, "classes": ()}))
    seen = []
    for fold in (1, 2, 3):
        protocol = ProtocolConfig(name="test", folds=3, fold=fold)
        split = corpus_split(cells, protocol, seed=1, fraction=1.0, label="cell_type")
        assert not len(np.intersect1d(split.test, np.union1d(split.train, split.val)))
        seen.append(split.test)
    np.testing.assert_array_equal(np.sort(np.concatenate(seen)), np.arange(60))


@pytest.mark.parametrize(
    ("changes", "cells", "message"),
    [
        ({"folds": 1}, {}, r"protocol.folds must lie in \[2, 100\]: got 1"),
        ({"fold": 2}, {}, "protocol.fold is one of protocol.folds: got protocol.fold=2 and no"),
        ({"folds": 3, "fold": 4}, {}, r"protocol.fold must lie in \[1, 3\]: got 4"),
        (
            {"folds": 3},
            {},
            "with protocol.folds a run reports on one of them: got protocol.folds=3 and no "
            "protocol.fold; add protocol.fold=1; leadline ablate makes the runs of all folds",
        ),
        (
            {"folds": 3, "fold": 1},
            {"given_C": np.repeat(["train", "test"], 30)},
            "protocol.folds parts all cells anew: got .*assigns.*reported=stratified",
        ),
        (
            {"folds": 3, "fold": 1, "reported": "group"},
            {"batch_C": np.repeat(["a", "b"], 30)},
            "each fold needs at least one whole batch: got 2 batches for protocol.folds=3",
        ),
        ({"folds": 3, "fold": 1, "reported": "group"}, {}, "group needs batches.*data.batch="),
        ({"folds": 61, "fold": 1}, {}, "each fold needs at least one cell: got 60 cells for"),
        (
            {"folds": 2, "fold": 1},
            {"batch_C": np.array(["a", "b"]), "sizes": (1, 1)},
            "every reported class must have training cells.*or part cells by class with",
        ),
    ],
)
def test_folds_that_cannot_be_are_explained(changes, cells, message):
    with pytest.raises(UserError, match=message):
        make_split(
            small_cells(**cells),
            ProtocolConfig(name="test", **changes),
            seed=1,
            fraction=1.0,
            label="cell_type",
        )


# --- names and records ---------------------------------------------------------------------------
def test_without_folds_neither_names_nor_records_change():
    plain, said = (compose(["model=majority", *words])
                   for words in ([], ["protocol.folds=null"]))  # fmt: skip
    for config in (plain, said):
        assert "folds" not in science(config)["protocol"]
        recorded = as_recorded(config)
        assert not {"folds", "fold"} & set(recorded["protocol"])
        assert recorded["data"]["variable_genes"] is None
    assert identify_run(plain).run_id == identify_run(said).run_id
    # The name that this run had before there were folds.
    assert identify_run(compose(["model.C=0.1"])).run_id == (
        "logreg-pbmc68k_reduced-f1-s1-1746a8d4bfc6"
    )


def test_each_fold_is_a_run_of_its_own():
    names = {
        identify_run(
            compose(["model=majority", "protocol.folds=3", f"protocol.fold={fold}"])
        ).run_id
        for fold in (1, 2, 3)
    }
    assert len(names) == 3


# --- studies -------------------------------------------------------------------------------------
STUDY = {
    "question": "Does it help?",
    "reference": "logreg",
    "arms": {
        "logreg": {"model": "logreg", "model.C": 0.1},
        "majority": {"model": "majority"},
        "nearest_centroid": {"model": "nearest_centroid"},
    },
    "grid": {"seed": [1, 2], "data.fraction": [0.5]},
    "compare": {
        "family": "mine",
        "tests": ["crossed"],
        "metrics": ["accuracy", "macro_f1"],
        "pairs": [["nearest_centroid", "logreg"], ["majority", "logreg"]],
    },
}


def filed(folder, **changes):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return str(path)


def test_a_study_makes_every_fold_of_every_run(tmp_path):
    study = read(filed(tmp_path))
    assert len(expand(study).runs) == 6
    plan = expand(study, ["protocol.folds=4"])
    assert len(plan.runs) == 24
    assert {run.settings["protocol.fold"] for run in plan.runs} == {1, 2, 3, 4}
    # One point of the grid, whatever the fold.
    assert {run.point for run in plan.runs} == {"data.fraction=0.5"}
    assert len(expand(study, ["protocol.folds=4", "protocol.fold=2"]).runs) == 6


def test_each_fold_has_pretraining_runs_of_its_own(tmp_path):
    arms = {
        "logreg": {"model": "scbert", "model.size": "tiny", "model.pretrained": False},
        "pretrained": {"model": "scbert", "model.size": "tiny", "model.pretrained": "@own"},
    }
    pretraining = {"own": {"model": "scbert", "model.size": "tiny"}}
    compare = {**STUDY["compare"], "pairs": [["pretrained", "logreg"]]}
    study = read(filed(tmp_path, arms=arms, pretraining=pretraining, compare=compare))
    assert list(expand(study).pretraining) == ["own"]
    plan = expand(study, ["protocol.folds=3"])
    assert list(plan.pretraining) == [f"own of fold {fold}" for fold in (1, 2, 3)]
    for fold, wish in enumerate(plan.pretraining.values(), start=1):
        assert wish.settings["protocol.fold"] == fold and wish.settings["protocol.folds"] == 3
    for run in plan.runs:
        if run.arm == "pretrained":
            assert run.starts_from == [f"own of fold {run.settings['protocol.fold']}"]


def own_data(*words):
    return expand(read("own_data"), ["data.label=cell_type", *words]).runs


def test_own_data_of_few_cells_is_reported_cell_by_cell(tmp_path, capsys):
    path = f"data.path={saved(small_cells((40, 30, 30)), tmp_path / 'c.h5ad', label='cell_type')}"
    assert {run.settings["protocol.folds"] for run in own_data(path)} == {5}
    # What a person says stands, and a split that the file has is kept.
    for word in ("protocol.folds=null", "protocol.reported=given", "data.split=part"):
        assert {run.settings.get("protocol.folds") for run in own_data(path, word)} == {None}
    assert {run.settings["protocol.folds"] for run in own_data(path, "protocol.folds=3")} == {3}
    words = [path, "data.label=cell_type", "seed=1", f"runs_dir={tmp_path / 'runs'}"]
    words.append("data.fraction=1.0")
    assert cli.main(["plan", "own_data", *words]) == cli.GOOD
    told = capsys.readouterr().out
    assert "own_data: 55 runs, 55 to do" in told
    assert "each cell is reported once, in 5 folds: 5 fits where one split has one" in told


# --- put together in the report ------------------------------------------------------------------
@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a study of 100 cells in 4 folds; its runs and page are not to be changed."""
    folder = tmp_path_factory.mktemp("folds")
    path = saved(small_cells((40, 30, 30), n_genes=60), folder / "c.h5ad", label="cell_type")
    words = [f"data.path={path}", "data.label=cell_type", "data=h5ad", "protocol.folds=4"]
    code = cli.main(["ablate", filed(folder), *words, f"runs_dir={folder / 'runs'}"])
    assert code == cli.GOOD
    return folder


def test_a_seed_is_judged_on_every_cell(made):
    (study,) = gather(made / "runs", ["mine"], 0.01)
    assert len(study.records) == 6 and not study.incomplete and study.finished == 24
    for facts in study.records:
        right = cells = 0
        for run in facts["fold_runs"]:
            said = record.read_predictions(made / "runs" / run["run_id"])[0]["test"]
            right += (said.truth_C == said.predicted_C).sum()
            cells += len(said.ids)
        assert facts["split"]["cells"]["test"] == cells == 100
        assert facts["metrics"]["test"]["accuracy"] == pytest.approx(right / 100)
    found = comparisons(study)
    assert {each.test for each in found} == {"crossed"}
    assert all(each.parts.cells == 100 and each.a.values.size == 2 for each in found)


def test_comparisons_over_folds_count_the_cells_they_share(made):
    (study,) = gather(made / "runs", ["mine"], 0.01)
    each = next(each for each in comparisons(study) if each.a.arm == "majority")
    calls = []
    for side in (each.a, each.b):
        rows = []
        for facts in sorted(side.records, key=lambda facts: facts["seed"]):
            read_in = [record.read_predictions(made / "runs" / run["run_id"])[0]["test"]
                       for run in facts["fold_runs"]]  # fmt: skip
            ids = np.concatenate([said.ids for said in read_in])
            called = np.concatenate([said.predicted_C for said in read_in])
            truth = np.concatenate([said.truth_C for said in read_in])[np.argsort(ids)]
            rows.append(called[np.argsort(ids)])
        calls.append(influences(truth, np.stack(rows)))
    wanted = interval(over_folds(parts(*calls, paired=True), 4))
    assert (each.interval.low, each.interval.high) == pytest.approx(wanted)


def test_words_and_tables_say_that_each_cell_is_reported_once(made):
    (study,) = gather(made / "runs", ["mine"], 0.01)
    found = comparisons(study)
    said = first_line(study, found)
    assert "of the 100 held-out cells right" in said
    assert "Each cell is reported once, in 4 folds." in said
    # How well the baseline's own score is known takes account of shared training cells as well.
    assert all(cells_that_count(each.b) == round(100 / (1 + 4 / 3)) for each in found)
    for table in (study_tables.verdict_table(study, found), study_tables.means_table(study)):
        assert "a run is the 4 fits of one seed" in table.notes[-1]
        assert "counted 2.33 times" in table.notes[-1]
    table = study_tables.runs_table(study, made / "runs", made)
    assert len(table.rows) == 24 and "fold" in table.columns


def test_a_seed_without_one_of_its_folds_is_named_and_left_out(made, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(made / "runs", runs)
    (study,) = gather(runs, ["mine"], 0.01)
    gone = next(facts for facts in study.records
                if facts["arm"] == "logreg" and facts["seed"] == 2)["fold_runs"][2]  # fmt: skip
    shutil.rmtree(runs / gone["run_id"])
    (study,) = gather(runs, ["mine"], 0.01)
    assert len(study.records) == 5 and study.finished == 23
    (left,) = study.incomplete
    assert (left.arm, left.seed, left.missing, len(left.left_out)) == ("logreg", 2, (3,), 3)
    assert cli.main(["report", "mine", "--runs", str(runs), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    told = "seed 2 with 50% of the labels lacks fold 3 of 4: its 3 finished runs are left out"
    assert f"Left out: logreg, {told}." in text and text.count(told) == 2
    assert "23 of 24 runs done" in text


# --- the correction ------------------------------------------------------------------------------
def test_the_part_of_the_cells_is_corrected_for_shared_training_cells():
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 3, 200)
    calls = [np.where(rng.random((3, 200)) < 0.7, truth, (truth + 1) % 3) for _ in range(2)]
    a, b = (influences(truth, each) for each in calls)
    plain, corrected = compare_arms(a, b), compare_arms(a, b, folds=5)
    assert corrected.parts.v_competence == pytest.approx(2.25 * plain.parts.v_competence)
    assert corrected.parts.v_runs == plain.parts.v_runs
    assert corrected.high - corrected.low > plain.high - plain.low and corrected.p > plain.p
    with pytest.raises(UserError, match="cells are held out in two folds at least: got 1"):
        over_folds(plain.parts, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equal, ridge, 200 cells", "equal, network, 3 seeds"])
def test_equally_good_classifiers_are_rarely_told_apart(name, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import calibration_folds

    (setting,) = (each for each in calibration_folds.SETTINGS if each.name == name)
    ways = calibration_folds.rates(setting, 300, seed=1)["ways"]
    assert ways["folds, crossed, corrected"]["false"] <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)
    widths = [ways[way]["width"] for way in ("folds, crossed, corrected", "one split, crossed")]
    assert widths[0] < 0.75 * widths[1]
    sys.modules.pop("calibration_folds")


# --- runs that report on different cells ---------------------------------------------------------
@pytest.fixture(scope="module")
def resplits(tmp_path_factory):
    """Make a study whose runs each have a split of their own."""
    folder = tmp_path_factory.mktemp("resplits")
    path = saved(small_cells((40, 30, 30), n_genes=60), folder / "c.h5ad", label="cell_type")
    study = filed(
        folder,
        reference="majority",
        base={"data": "h5ad", "data.path": str(path), "data.label": "cell_type"},
        arms={name: {"model": name} for name in ("majority", "nearest_centroid")},
        grid=[{"seed": [seed], "protocol.split_seed": [10 + seed]} for seed in (1, 2, 3)],
        compare={**STUDY["compare"], "pairs": [["nearest_centroid", "majority"]]},
    )
    assert cli.main(["ablate", study, f"runs_dir={folder / 'runs'}"]) == cli.GOOD
    (found,) = gather(folder / "runs", ["mine"], 0.01)
    return found


def test_runs_on_different_cells_are_compared_split_by_split(resplits):
    for each in comparisons(resplits):
        difference = each.a.values - each.b.values
        assert each.test == "resplit_t" and each.parts is None
        assert each.speaks_for == "fresh runs on fresh cells like these, an approximation"
        half = (each.interval.high - each.interval.low) / 2
        spread = np.sqrt((1 / 3 + 20 / 80) * difference.var(ddof=1))
        assert half == pytest.approx(4.302653 * spread, rel=1e-4)
        (flag,) = (flag for flag in each.flags if flag.id == "resplits")
        assert "paired over 3 splits, an approximation" in flag.sentence


def test_one_shared_split_is_not_enough(resplits):
    kept = {("majority", 1), ("majority", 2), ("nearest_centroid", 1), ("nearest_centroid", 3)}
    few = [facts for facts in resplits.records if (facts["arm"], facts["seed"]) in kept]
    for each in comparisons(replace(resplits, records=tuple(few))):
        assert each.p is None and each.verdict == "untested"
        assert each.why == (
            "runs that report on different cells are compared split by split, on two at least"
        )
