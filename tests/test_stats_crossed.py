"""The crossed test: golden numbers, laws, special cases, messages."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from leadline.errors import UserError
from leadline.stats.crossed import (
    SpeaksFor,
    compare_arms,
    family_verdicts,
    judge,
    largest_hidden_collapse_rate,
    speaks_for,
    variance_shares,
)
from leadline.stats.difference import interval, p_difference, parts, resplit_parts
from leadline.stats.influence import (
    average_subsets,
    block_influences,
    influences,
    mean_influences,
    random_blocks,
)
from leadline.stats.looks import p_over_looks, precise_enough
from leadline.stats.published_bounds import accuracy_bounds, macro_f1_bounds
from leadline.stats.seeds_and_cells import (
    detectable,
    planned_cells,
    planned_detectable,
    planned_seeds,
    projected,
    what_would_buy,
)

GOLDEN = Path(__file__).parent / "golden" / "inference.npz"
PARITY = Path(__file__).parents[1] / "scripts" / "parity_inference.py"
SCORES = ("p_least", "p_most", "v_cells_most")


def study(seed, cells=60, rows=(3, 4), classes=3):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, cells)
    arms = [
        np.where(random.random((r, cells)) < 0.7, truth, random.integers(0, classes, (r, cells)))
        for r in rows
    ]
    return truth, *arms


def test_golden_numbers(tmp_path):
    spec = importlib.util.spec_from_file_location("parity_inference", PARITY)
    parity = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parity)
    parity.main(GOLDEN, tmp_path / "out.npz")
    with np.load(GOLDEN) as want, np.load(tmp_path / "out.npz") as got:
        names = [k for k in want.files if "/out/" in k]
        names += [k for k in want.files if k.startswith("only_") and k.split("/")[1] in SCORES]
        assert len(names) > 150
        for name in names:
            last = name.split("/")[-1]
            rel = 1e-7 if last.startswith("p_") or last == "p" or "only" in name else 1e-9
            assert float(got[name]) == pytest.approx(float(want[name]), rel=rel, abs=1e-12), name


@given(st.integers(0, 10_000), st.sampled_from(["accuracy", "macro_f1", "macro_precision"]))
def test_arms_exchanged_is_the_sign_exchanged(seed, metric):
    truth, a, b = study(seed)
    one, other = judge(truth, a, b, metric=metric), judge(truth, b, a, metric=metric)
    assert one["estimate"] == pytest.approx(-other["estimate"], abs=1e-12)
    assert one["low"] == pytest.approx(-other["high"], abs=1e-12)
    assert one["p"] == pytest.approx(other["p"], rel=1e-8)
    assert one["p_above_lower"] == pytest.approx(other["p_below_upper"], rel=1e-8)


@given(st.integers(0, 10_000))
def test_order_of_cells_and_runs_does_not_matter(seed):
    truth, a, b = study(seed)
    random = np.random.default_rng(seed)
    cells, runs = random.permutation(truth.size), random.permutation(len(a))
    one = judge(truth, a, b, metric="macro_f1")
    other = judge(truth[cells], a[runs][:, cells], b[:, cells], metric="macro_f1")
    for name in ("estimate", "low", "high", "p", "v_cells", "v_runs"):
        assert one[name] == pytest.approx(other[name], rel=1e-8, abs=1e-12)


@given(st.integers(0, 10_000), st.floats(1e-6, 0.9), st.booleans())
def test_p_is_below_a_level_where_its_interval_excludes_zero(seed, alpha, paired):
    truth, a, b = study(seed, rows=(3, 3))
    found = parts(influences(truth, a), influences(truth, b), paired=paired)
    p = p_difference(found)
    low, high = interval(found, alpha)
    if abs(p / alpha - 1) > 1e-9:
        assert (p < alpha) == (not low <= 0 <= high)


def test_with_many_cells_it_is_welch():
    truth, a, b = study(1, cells=200, rows=(4, 5))
    arms = influences(truth, a), influences(truth, b)
    found = projected(parts(*arms), units=1e12)
    found_runs = parts(*arms)
    share = found.v_runs / found_runs.v_runs
    welch = scipy.stats.ttest_ind(arms[0].scores_R, arms[1].scores_R, equal_var=False)
    assert found_runs.df_runs == pytest.approx(welch.df)
    tail = 2 * scipy.stats.t.sf(abs(found.estimate) / np.sqrt(found.v_runs), welch.df)
    assert 0 < share <= 1
    assert p_difference(found) == pytest.approx(tail, rel=1e-4)


@pytest.mark.parametrize(
    "metric", ["balanced_accuracy", "macro_f1", "macro_precision", "macro_recall"]
)
@pytest.mark.parametrize("named", [None, [0, 2]])
def test_tables_of_counts_are_leaving_out_in_full(metric, named):
    truth, a, _ = study(3, cells=25, classes=4)
    truth[truth == 3] = 0
    truth[7] = 3  # the last cell of a class takes it out of the average
    whole = influences(truth, a, metric, named=named)
    for i in range(truth.size):
        left = np.arange(truth.size) != i
        fewer = influences(truth[left], a[:, left], metric, named=named).scores_R
        slow = (truth.size - 1) * (whole.scores_R - fewer)
        np.testing.assert_allclose(whole.z_RU[:, i], slow, atol=1e-10)


def test_blocks_of_one_cell_are_leaving_out_in_full():
    truth, a, b = study(4)
    donors = np.arange(truth.size) % 3
    score = lambda t, p: float(np.mean(t == p))  # noqa: E731
    quick, slow = (
        [influences(truth, x, donors_N=donors) for x in (a, b)],
        [block_influences(truth, x, score, range(60), donors_N=donors) for x in (a, b)],
    )
    for name in ("estimate", "v_cells", "v_donors", "v_interaction", "df_cells"):
        assert getattr(parts(*quick), name) == pytest.approx(getattr(parts(*slow), name))
    assert np.bincount(random_blocks(1000, np.random.default_rng(1), 100)).tolist() == [10] * 100


def test_a_lower_log_loss_is_better():
    random = np.random.default_rng(5)
    a, b = random.random((3, 500)), random.random((3, 500)) + 1
    said = compare_arms(mean_influences(a), mean_influences(b))
    assert said.parts.estimate < 0
    assert family_verdicts({"x": said}) == {"x": "better"}


def test_no_call_differs():
    truth, a, _ = study(6, cells=300)
    same = judge(truth, a[:1], np.repeat(a[:1], 4, axis=0))
    assert (same["p"], same["verdict"]) == (1.0, "equivalent")
    assert same["high"] == pytest.approx(3.69 / 300, rel=1e-3)
    assert judge(truth[:290], a[:1, :290], a[:1, :290])["verdict"] == "open"


def test_one_run_of_a_model_with_luck_is_untested():
    truth, a, b = study(7)
    one, many = influences(truth, a[:1]), influences(truth, b)
    lucky = compare_arms(one, many)
    assert family_verdicts({"x": lucky}) == {"x": "untested"}
    assert lucky.words.startswith("this trained model, not the next")
    assert lucky.parts.v_runs == 0
    sure = compare_arms(one, many, luck_a=False)
    assert family_verdicts({"x": sure})["x"] != "untested"
    assert sure.words == "fresh runs on fresh cells like these"


def test_one_subset_leaves_seeds_as_rows():
    truth, a, _ = study(8)
    arm = influences(truth, a)
    assert average_subsets(arm, [4, 4, 4]) == (arm, [])
    averaged, names = average_subsets(arm, [1, 0, 1])
    assert names == [0, 1]
    assert averaged.scores_R[1] == pytest.approx(arm.scores_R[[0, 2]].mean())


def test_what_it_speaks_for():
    assert speaks_for(None) is SpeaksFor.CELLS
    assert speaks_for(4) is SpeaksFor.DONORS
    assert speaks_for(4, any_trained_on=True) is SpeaksFor.THESE_DONORS
    assert speaks_for(1) is SpeaksFor.THIS_DONOR


def test_warnings():
    truth, a, b = study(9)
    donors = np.arange(60) % 4
    arms = [
        influences(truth, x, "macro_f1", donors_N=donors) for x in (a, np.repeat(b[:1], 3, axis=0))
    ]
    truth_rare = np.array([0] * 56 + [1] * 4)
    rare = influences(truth_rare, a, "macro_f1")
    assert [x.name for x in compare_arms(*arms).warnings] == ["few_donors", "dependent_replicates"]
    of_donors = compare_arms(*arms)
    low, high = of_donors.of_these_donors
    assert of_donors.low <= low <= high <= of_donors.high
    (said,) = compare_arms(rare, rare).warnings
    assert said.name == "rare_classes" and "1 (4)" in said.sentence


def test_a_family_is_corrected():
    truth, a, b = study(10)
    arms = influences(truth, a), influences(truth, b)
    one = replace(compare_arms(*arms), p=0.02)
    assert family_verdicts({"alone": one})["alone"] in ("better", "worse")
    # Three of p = .02: Holm makes .06 of each, and equal ones share their fate.
    assert not {"better", "worse"} & set(family_verdicts(dict.fromkeys("abc", one)).values())
    assert family_verdicts({}) == {}


def test_shares_and_collapse():
    truth, a, b = study(10)
    found = parts(influences(truth, a), influences(truth, b))
    assert sum(variance_shares(found).values()) == pytest.approx(1)
    hidden = [round(100 * largest_hidden_collapse_rate(r)) for r in (3, 5, 10, 20)]
    assert hidden == [63, 45, 26, 14]


def test_resplits():
    a, b = [0.8, 0.82, 0.85, 0.81], [0.78, 0.79, 0.85, 0.8]
    found = resplit_parts(a, b, test_cells=100, training_cells=400)
    difference = np.subtract(a, b)
    t = difference.mean() / np.sqrt((1 / 4 + 1 / 4) * difference.var(ddof=1))
    assert p_difference(found) == pytest.approx(2 * scipy.stats.t.sf(t, 3))


def test_published_bounds():
    single = accuracy_bounds([0.9], [0.88], 1000)
    assert single.p_least < single.p_most
    assert accuracy_bounds([0.9] * 3, [0.5, 0.51, 0.49], 1000).verdict == "better"
    assert macro_f1_bounds([0.8, 0.81], [0.8, 0.82], [20, 400]).verdict == "open"


def test_planning_tables():
    assert [planned_cells(m) for m in (0.01, 0.02, 0.05)] == pytest.approx(
        [3925, 981, 157], rel=0.002
    )
    assert planned_cells(0.01, claim="not_above") == pytest.approx(3090, rel=0.002)
    assert planned_cells(0.01, claim="equivalent") == pytest.approx(4285, rel=0.002)
    seeds = [
        [planned_seeds(0.02, cells=n, run_sd=s, competence=0.1) for n in (1000, 4000, 13_690)]
        for s in (0.005, 0.01, 0.02)
    ]
    assert seeds == [[None, 4, 3], [None, 9, 6], [None, 32, 20]]


def test_what_more_would_buy():
    truth, a, b = study(11)
    found = parts(influences(truth, a), influences(truth, b))
    said = what_would_buy(found, distance=1e-3)
    assert said.seeds is None and said.cells is None or said.cells > 1000
    assert said.half_now**2 == pytest.approx(
        said.half_many_seeds**2 + found.v_runs * scipy.stats.t.isf(0.025, found.df_runs) ** 2
    )
    assert what_would_buy(found, distance=1.0).seeds == 2
    assert detectable(found, one_sided=True) < detectable(found)


def test_looks():
    assert p_over_looks({3: 0.001, 5: 0.5}) == pytest.approx(0.01)
    assert p_over_looks({3: 0.9}) == 1.0
    truth, a, b = study(12, rows=(20, 20))
    assert precise_enough(parts(influences(truth, a), influences(truth, b)))


T = np.array([0, 1, 0, 1])
P = np.array([[0, 1, 1, 1], [0, 0, 0, 1]])
ARM = influences(T, P)
MISTAKES = {
    "runs x cells": lambda: influences(T, np.empty((0, 4))),
    "same cells": lambda: influences(T, P[:, :3]),
    "some metrics": lambda: influences(T, P, "auroc"),
    "named classes": lambda: influences(T, P, named=[7]),
    "donors must be one per cell": lambda: influences(T, P, donors_N=[1]),
    "without any one donor": lambda: influences(T, P, "macro_f1", named=[0], donors_N=[0, 1, 0, 1]),
    "finite": lambda: mean_influences([[1.0, np.nan]]),
    "enough blocks": lambda: random_blocks(500, np.random.default_rng(1), 5),
    "two blocks": lambda: block_influences(T, P, lambda t, p: 0.0, [0] * 4),
    "labelled subset": lambda: average_subsets(ARM, [1]),
    "same subsets": lambda: judge(T, P, P, paired=True, subset_a=[0, 1], subset_b=[1, 2]),
    "come in pairs": lambda: judge(T, P, P[:1], paired=True),
    "one metric": lambda: parts(ARM, influences(T, P, "macro_f1")),
    "same held-out cells": lambda: parts(ARM, influences(T[:3], P[:, :3])),
    "a margin": lambda: judge(T, P, P, margin=0.0),
    "split by split": lambda: resplit_parts([1.0], [1.0], test_cells=1, training_cells=1),
    "sizes of the splits": lambda: resplit_parts([1, 2], [1, 2], test_cells=0, training_cells=1),
    "finite number per run": lambda: accuracy_bounds([np.nan], [0.5], 10),
    "number of held-out cells": lambda: accuracy_bounds([0.5], [0.5], 0),
    "between 0 and 1": lambda: accuracy_bounds([50.0], [0.5], 10),
    "cells of each class": lambda: macro_f1_bounds([0.5], [0.5], [0]),
    "declared": lambda: p_over_looks({4: 0.1}),
    "add up": lambda: p_over_looks({4: 0.1}, {4: 0.1}),
    "rate needs runs": lambda: largest_hidden_collapse_rate(0),
    "plan needs": lambda: planned_detectable(seeds=1, cells=10, run_sd=0.1),
    "claim and a margin": lambda: planned_cells(0.01, claim="x"),
}


@pytest.mark.parametrize("rule", MISTAKES)
def test_mistakes_are_told(rule):
    with pytest.raises(UserError, match=rule):
        MISTAKES[rule]()


def test_what_runs_add_does_not_count_the_noise_twice():
    found = SimpleNamespace(
        paired=True, v_runs=3.0, v_interaction=1.0, v_competence=2.0, v_donors=0.0
    )
    assert variance_shares(found) == {"runs": 0.4, "cells": 0.4, "noise": 0.2}
