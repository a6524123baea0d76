"""The published numbers: complete, typed, named as our own results, with their precision."""

import csv
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest

from leadline.errors import UserError
from leadline.papers import boiarsky
from leadline.report.frame import COLUMNS


@pytest.fixture(scope="module")
def runs():
    return boiarsky.runs()


@pytest.fixture(scope="module")
def tables():
    return boiarsky.aggregates()


def raw(name):
    text = files("leadline.papers.boiarsky").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_row_is_there_in_the_tidy_schema(runs, tables):
    assert tuple(runs.columns) == COLUMNS
    assert tuple(tables.columns[: len(COLUMNS)]) == COLUMNS
    assert (len(runs), len(tables)) == (1044, 265)
    assert runs["value"].dtype == float and runs["fraction"].dtype == float
    assert str(runs["seed"].dtype) == "Int64"
    assert not runs[["value", "fraction"]].isna().any().any()
    assert (runs["run_id"] == "").all() and (runs["source"] != "").all()


def test_values_are_those_of_the_file(runs):
    assert runs["value"].tolist() == [float(row["value"]) for row in raw("published_runs.csv")]


def test_figures_carry_their_reading_error_and_prints_their_rounding(runs):
    kinds = [row["precision"] for row in raw("published_runs.csv")]
    widths = boiarsky.half_widths(runs)
    expected = {
        "full": 0.0,
        "exact": 0.0,
        "4dp": 5e-5,
        "6dp": 5e-7,
        "digitised +/-0.0005": 5e-4,
        "digitised, partial group +/-0.003": 3e-3,
        "derived +/-0.01": 0.01,
        "derived": 0.01,
    }
    for kind, width in expected.items():
        of_kind = widths[[k == kind for k in kinds]]
        assert of_kind.size and of_kind == pytest.approx(width, rel=1e-12)
    assert sum(k.startswith(("digitised", "derived")) for k in kinds) == 526
    significant = {k: w for k, w in zip(kinds, widths, strict=True)}["9 significant digits"]
    assert significant > 0


def test_rounding_of_printed_numbers_depends_on_their_digits(runs):
    masked = boiarsky.select(runs, artefact="Table 3", arm="no_gene2vec")
    by_metric = dict(zip(masked["metric"], masked["precision"], strict=True))
    assert by_metric["masking_accuracy"] == pytest.approx(5e-5)
    assert by_metric["heuristic_accuracy_most_common_bin"] == "full"
    fraction = boiarsky.select(runs, metric="fraction_in_[0,1)")
    assert fraction["precision"].item() == pytest.approx(5e-10)


def test_seeds_are_printed_ones_only(runs):
    reference = boiarsky.select(runs, artefact="Table 2", arm="reference", metric="accuracy")
    assert reference["seed"].dropna().tolist() == [1000, 2000, 3000, 4000, 2021, 2022, 2023]
    assert reference["seed"].isna().sum() == 3
    assert reference["note"].str.contains("inferred").sum() == 3
    few_shot = boiarsky.select(runs, artefact="Figure 2", fraction=0.1, metric="accuracy")
    validation = few_shot[few_shot["split"] == "validation"]
    assert sorted(validation["seed"]) == [0, 0, 1, 1, 2, 2]


def test_no_run_counts_twice_within_an_artefact(runs):
    keys = ["artefact", "dataset", "model", "arm", "fraction", "split", "metric"]
    assert runs.groupby(keys).size().max() == 10
    seeded = runs[runs["seed"].notna()]
    assert not seeded.duplicated([*keys, "seed"]).any()


def test_digitised_means_agree_with_the_printed_ones(runs, tables):
    checked = 0
    for (dataset, model, arm, fraction, metric), group in runs[
        runs["precision"].map(lambda p: p in (5e-4, 3e-3, 0.01)) & (runs["artefact"] == "Figure 3")
    ].groupby(["dataset", "model", "arm", "fraction", "metric"]):
        same = tables[
            (tables["dataset"] == dataset)
            & (tables["model"] == model)
            & (tables["arm"] == arm)
            & (tables["fraction"] == fraction)
            & (tables["metric"] == metric)
            & tables["artefact"].str.startswith("Figure 3")
        ]
        printed = same["mean"].item()
        width = boiarsky.half_widths(group)
        assert abs(group["value"].mean() - printed) <= width.mean() + 1e-9, (dataset, metric)
        checked += 1
    assert checked >= 40


def test_splits_say_what_the_number_was_computed_on(runs):
    assert set(runs["split"]) == {"validation", "test", "train", "cross_validation", ""}
    assert set(runs.loc[runs["model"] == "scbert", "split"]) == {"validation"}
    assert set(runs.loc[runs["model"] == "scgpt", "split"]) == {"test"}
    assert not runs["metric"].str.startswith(("train_", "cv_")).any()


def test_tables_hold_printed_and_recomputed_numbers(tables):
    row = boiarsky.select(
        tables, artefact="Table 2", arm="reference vs no_gene2vec", metric="accuracy"
    ).squeeze()
    assert row["printed"] == "3.67e-3" and row["p_value"] == 0.0036744992642910456
    assert (row["n_a"], row["n_b"]) == (10, 10) and np.isnan(row["value"])
    mean = boiarsky.select(tables, artefact="Table 2", arm="no_gene2vec", metric="macro_f1")
    assert mean["value"].item() == mean["mean"].item() == 0.5945706463907828


def test_frames_are_fresh_copies():
    frame = boiarsky.runs()
    frame["value"] = 0.0
    assert boiarsky.runs()["value"].iloc[0] != 0.0


def test_select_keeps_its_input_and_names_what_is_unknown(runs):
    before = runs.copy()
    chosen = boiarsky.select(runs, artefact="Table 1", metric="accuracy")
    chosen["value"] = -1.0
    pd.testing.assert_frame_equal(runs, before)
    with pytest.raises(UserError, match="did you mean accuracy"):
        boiarsky.select(runs, metric="acuracy")
    with pytest.raises(UserError, match="must name a column"):
        boiarsky.select(runs, metrics="accuracy")
    assert boiarsky.select(runs, model="scgpt", dataset="zheng68k").empty


def test_select_works_on_our_own_results_too():
    own = pd.DataFrame({"artefact": [None, "Table 1; Table 2"], "metric": ["accuracy"] * 2})
    assert boiarsky.select(own, artefact="Table 2").index.tolist() == [1]
