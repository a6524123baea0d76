"""Statistics against scipy, statsmodels, examples of R, enumeration and their definitions."""

import math
import subprocess
import sys
from itertools import combinations, product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline import stats
from leadline.errors import UserError
from leadline.stats.power import noncentral_t_cdf
from leadline.stats.precision import difference_bounds

# R's `sleep`: extra hours of sleep of ten patients under two drugs.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# R's `mtcars`: miles per gallon by transmission.
AUTOMATIC = [
    *(21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3),
    *(15.2, 10.4, 10.4, 14.7, 21.5, 15.5, 15.2, 13.3, 19.2),
]
MANUAL = [21.0, 21.0, 22.8, 32.4, 30.4, 33.9, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4]

runs = st.lists(
    st.floats(0, 1).map(lambda x: round(x, 3)), min_size=3, max_size=6, unique=True
).map(np.array)


def two_samples(seed=0, n_a=9, n_b=7):
    rng = np.random.default_rng(seed)
    return rng.normal(0.7, 0.05, n_a), rng.normal(0.65, 0.02, n_b)


def rng():
    return np.random.default_rng(7)


# --- against scipy and statsmodels -----------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_t_tests_equal_scipy(seed):
    a, b = two_samples(seed)
    for ours, equal_var in ((stats.student, True), (stats.welch, False)):
        theirs = scipy.stats.ttest_ind(a, b, equal_var=equal_var)
        outcome, interval = ours(a, b), theirs.confidence_interval(0.95)
        assert outcome.p == pytest.approx(theirs.pvalue, rel=1e-12)
        assert outcome.statistic == pytest.approx(theirs.statistic, rel=1e-12)
        assert outcome.df == pytest.approx(theirs.df, rel=1e-12)
        assert (outcome.interval.low, outcome.interval.high) == pytest.approx(
            (interval.low, interval.high), rel=1e-11, abs=1e-13
        )
    theirs = scipy.stats.ttest_rel(a[:7], b)
    assert stats.paired_t(a[:7], b).p == pytest.approx(theirs.pvalue, rel=1e-12)
    theirs = scipy.stats.ttest_1samp(a, 0.68)
    outcome = stats.one_sample(a, 0.68)
    assert outcome.p == pytest.approx(theirs.pvalue, rel=1e-12)
    assert outcome.interval.high + 0.68 == pytest.approx(theirs.confidence_interval().high)


def test_intervals_equal_scipy():
    a, _ = two_samples()
    low, high = scipy.stats.t.interval(0.95, 8, a.mean(), scipy.stats.sem(a))
    ours = stats.student_interval(a)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-12)
    assert stats.paper_interval(a).half_width == pytest.approx(2.262 * a.std() / math.sqrt(10))


@pytest.mark.parametrize("n_a, n_b", [(4, 6), (9, 7), (10, 10), (30, 25)])
def test_rank_tests_equal_scipy_without_ties(n_a, n_b):
    a, b = two_samples(3, n_a, n_b)
    theirs = scipy.stats.mannwhitneyu(a, b, method="exact")
    ours = stats.mann_whitney(a, b)
    assert (ours.p, ours.statistic) == pytest.approx((theirs.pvalue, theirs.statistic), rel=1e-12)
    n = min(n_a, n_b)
    theirs = scipy.stats.wilcoxon(a[:n], b[:n], method="exact")
    ours = stats.wilcoxon(a[:n], b[:n])
    assert (ours.p, ours.statistic) == pytest.approx((theirs.pvalue, theirs.statistic), rel=1e-12)


def test_large_samples_with_ties_use_the_normal_approximation():
    values = np.random.default_rng(1).integers(0, 20, size=(2, 60)).astype(float)
    theirs = scipy.stats.mannwhitneyu(*values, method="asymptotic")
    assert stats.mann_whitney(*values).p == pytest.approx(theirs.pvalue, rel=1e-12)
    moved = values[:, values[0] != values[1]]
    theirs = scipy.stats.wilcoxon(*moved, method="approx")
    assert stats.wilcoxon(*values).p == pytest.approx(theirs.pvalue, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.999))
def test_corrections_reject_what_their_definitions_reject(p, alpha):
    family = {str(i): value for i, value in enumerate(p)}
    ordered = np.sort(p)
    passed = ordered <= alpha / (len(p) - np.arange(len(p)))
    rejected = len(p) if passed.all() else int(np.argmin(passed))
    # Rounding may decide a tie with the threshold either way.
    adjusted = np.array(list(stats.holm(family).values()))
    assert (adjusted < alpha - 1e-9).sum() <= rejected <= (adjusted <= alpha + 1e-9).sum()


@pytest.mark.slow  # statsmodels alone takes seconds to import
@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_equal_statsmodels(p):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    family = {str(i): value for i, value in enumerate(p)}
    theirs = multitest.multipletests(p, method="holm")[1]
    assert list(stats.holm(family).values()) == pytest.approx(theirs, rel=1e-12, abs=1e-300)


def test_corrections_by_hand():
    family = {"c": 0.04, "a": 0.01, "b": 0.03}
    assert stats.holm(family) == pytest.approx({"c": 0.06, "a": 0.03, "b": 0.06})


@pytest.mark.slow
def test_tost_equals_statsmodels():
    weightstats = pytest.importorskip("statsmodels.stats.weightstats")
    a, b = two_samples()
    p, lower, upper = weightstats.ttost_ind(a, b, -0.02, 0.02, usevar="unequal")
    ours = stats.tost_welch(a, b, 0.02)
    expected = (p, lower[1], upper[1])
    assert (ours.p, ours.p_above_lower, ours.p_below_upper) == pytest.approx(expected, rel=1e-10)
    p = weightstats.ttost_paired(a[:7], b, -0.02, 0.02)[0]
    assert stats.tost_paired(a[:7], b, 0.02).p == pytest.approx(p, rel=1e-10)


# --- against examples that R publishes -------------------------------------------------------


def test_sleep_of_r():
    outcome = stats.welch(SLEEP_1, SLEEP_2)
    assert outcome.statistic == pytest.approx(-1.8608, abs=5e-5)
    assert outcome.df == pytest.approx(17.776, abs=5e-4)
    assert outcome.p == pytest.approx(0.07939, abs=5e-6)
    assert outcome.interval.low == pytest.approx(-3.3654832, abs=5e-8)
    outcome = stats.paired_t(SLEEP_1, SLEEP_2)
    assert outcome.statistic == pytest.approx(-4.0621, abs=5e-5)
    assert outcome.p == pytest.approx(0.002833, abs=5e-7)
    assert outcome.interval.high == pytest.approx(-0.7001142, abs=5e-8)


def test_effect_sizes_of_mtcars():
    # effectsize::hedges_g(mpg ~ am): -1.44 [-2.21, -0.65]
    effect = stats.hedges_g(AUTOMATIC, MANUAL)
    assert effect.estimate == pytest.approx(-1.44, abs=0.005)
    assert effect.interval.low == pytest.approx(-2.21, abs=0.005)
    assert effect.interval.high == pytest.approx(-0.65, abs=0.005)
    # wilcox.test(mpg ~ am): W = 42
    assert stats.mann_whitney(AUTOMATIC, MANUAL).statistic == 42


def test_rank_tests_of_hollander_and_wolfe():
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    # R's ?wilcox.test: V = 40, one-sided p = 0.01953
    assert stats.wilcoxon(before, after).p / 2 == pytest.approx(0.01953, abs=5e-6)
    term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    early = [1.15, 0.88, 0.90, 0.74, 1.21]
    # R's ?wilcox.test: W = 35, one-sided p = 0.1272
    outcome = stats.mann_whitney(term, early)
    assert outcome.statistic == 35 and outcome.p / 2 == pytest.approx(0.1272, abs=5e-5)


def test_mcnemar_of_agresti():
    # Agresti, Categorical Data Analysis: approval in two surveys; z^2 = 17.36 uncorrected.
    table = {(1, 1): 794, (0, 1): 86, (1, 0): 150, (0, 0): 570}
    right_a, right_b = np.array([pair for pair, n in table.items() for _ in range(n)]).T
    outcome = stats.mcnemar(np.ones(right_a.size), right_a, right_b)
    assert (outcome.only_a_right, outcome.only_b_right) == (150, 86)
    assert (150 - 86) ** 2 / 236 == pytest.approx(17.36, abs=0.005)
    assert outcome.statistic == pytest.approx((64 - 1) ** 2 / 236, rel=1e-12)
    # A chi-square of one degree of freedom is a squared normal.
    assert outcome.p == pytest.approx(2 * scipy.stats.norm.sf(63 / math.sqrt(236)), rel=1e-10)


def test_mcnemar_is_exact_for_few_cells():
    truth, wrong = np.ones(30, dtype=int), np.zeros(30, dtype=int)
    a, b = truth.copy(), truth.copy()
    a[:2], b[2:10] = wrong[:2], wrong[2:10]
    outcome = stats.mcnemar(truth, a, b)
    expected = 2 * sum(math.comb(10, k) for k in range(3)) / 2**10
    assert outcome.p == pytest.approx(expected) and outcome.estimate == pytest.approx(6 / 30)
    assert outcome.method == "exact binomial"


def test_power_of_r():
    # power.t.test(n = 20, delta = 1, sd = 1): 0.8689528
    assert stats.power_of(1, 1, 20, 20) == pytest.approx(0.8689528, abs=5e-7)
    assert stats.detectable_difference(1, 20, 20, power=0.8689528) == pytest.approx(1, abs=1e-6)


# --- against enumeration ---------------------------------------------------------------------


def enumerate_permutations(a, b):
    pooled, n_a = np.concatenate([a, b]), len(a)
    observed = abs(np.mean(a) - np.mean(b))
    count = total = 0
    for chosen in combinations(range(pooled.size), n_a):
        rest = np.delete(pooled, list(chosen))
        count += abs(pooled[list(chosen)].mean() - rest.mean()) >= observed - 1e-12
        total += 1
    return count / total


@settings(max_examples=25, deadline=None)
@given(runs, runs)
def test_permutation_equals_enumeration(a, b):
    assert stats.permutation(a, b, rng()).p == pytest.approx(enumerate_permutations(a, b))


@settings(max_examples=25, deadline=None)
@given(runs, runs)
def test_paired_tests_equal_enumeration(a, b):
    n = min(a.size, b.size)
    difference = np.round(a[:n] - b[:n], 3)
    if np.ptp(difference) == 0:
        return
    flips = [np.mean(np.array(signs) * difference) for signs in product([1, -1], repeat=n)]
    expected = np.mean(np.abs(flips) >= abs(difference.mean()) - 1e-12)
    zero = np.zeros(n)
    assert stats.paired_permutation(difference, zero, rng()).p == pytest.approx(expected)
    moved = difference[difference != 0]
    ranks = scipy.stats.rankdata(np.abs(moved))
    sums = [np.dot(signs, ranks) for signs in product([1, -1], repeat=moved.size)]
    expected = np.mean(np.abs(sums) >= abs(np.dot(np.sign(moved), ranks)) - 1e-9)
    assert stats.wilcoxon(difference, zero).p == pytest.approx(expected)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=2, max_size=5),
    st.lists(st.integers(0, 3), min_size=2, max_size=5),
)
def test_mann_whitney_with_ties_equals_enumeration(a, b):
    if len(set(a)) == 1 and len(set(b)) == 1:
        return
    ranks = scipy.stats.rankdata(a + b)
    centre = ranks.mean() * len(a)
    sums = [ranks[list(c)].sum() for c in combinations(range(len(ranks)), len(a))]
    expected = np.mean(np.abs(np.array(sums) - centre) >= abs(sums[0] - centre) - 1e-9)
    if len(set(a + b)) < len(a + b):
        assert stats.mann_whitney(a, b).p == pytest.approx(expected)


@pytest.mark.parametrize("n_low, n_high", [(1, 5), (3, 3), (4, 6), (2, 7)])
def test_chance_of_few_runs_equals_enumeration(n_low, n_high):
    counts = []
    for chosen in combinations(range(n_low + n_high), n_low):
        marks = np.isin(np.arange(n_low + n_high), chosen)
        counts.append(1 + (marks[1:] != marks[:-1]).sum())
    for most in range(2, max(counts) + 1):
        expected = np.mean(np.array(counts) <= most)
        assert stats.at_most_runs(most, n_low, n_high) == pytest.approx(expected, rel=1e-12)


def test_exact_p_values_are_valid_over_all_labels():
    pooled = np.array([0.1, 0.4, 0.45, 0.7, 0.72, 0.9, 0.93])
    p_values: dict[str, list[float]] = {"permutation": [], "mann_whitney": []}
    for chosen in combinations(range(7), 3):
        a, b = pooled[list(chosen)], np.delete(pooled, list(chosen))
        p_values["permutation"].append(stats.permutation(a, b, rng()).p)
        p_values["mann_whitney"].append(stats.mann_whitney(a, b).p)
    for of_test in p_values.values():
        for p in set(of_test):
            assert np.mean(np.array(of_test) <= p + 1e-12) <= p + 1e-12


def test_monte_carlo_never_gives_zero_and_agrees_with_the_exact_tail():
    a, b = two_samples(2, 14, 14)
    outcome = stats.permutation(a + 1, b, rng())
    assert outcome.p == outcome.smallest_p == pytest.approx(1 / 20_001)
    close = stats.permutation(a, b, rng()).p
    theirs = scipy.stats.permutation_test(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=20_000, random_state=1
    )
    assert close == pytest.approx(theirs.pvalue, abs=0.005)
    long_a, long_b = two_samples(2, 25, 25)
    paired = stats.paired_permutation(long_a, long_b, rng())
    assert 1 / 20_001 <= paired.p <= 0.05


# --- definitions and invariance --------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(runs, runs, st.randoms(use_true_random=False))
def test_order_of_runs_and_names_of_arms_do_not_matter(a, b, random):
    shuffled_a, shuffled_b = a.copy(), b.copy()
    random.shuffle(shuffled_a)
    random.shuffle(shuffled_b)
    for test in (stats.student, stats.welch, stats.mann_whitney):
        p = test(a, b).p
        assert test(shuffled_a, shuffled_b).p == pytest.approx(p, rel=1e-9)
        assert test(b, a).p == pytest.approx(p, rel=1e-9)
        assert test(b, a).estimate == pytest.approx(-test(a, b).estimate, abs=1e-12)
    assert stats.permutation(b, a, rng()).p == pytest.approx(stats.permutation(a, b, rng()).p)
    g, h = stats.hedges_g(a, b), stats.hedges_g(b, a)
    assert g.estimate == pytest.approx(-h.estimate, abs=1e-9)
    assert g.interval.low == pytest.approx(-h.interval.high, abs=1e-6, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(runs, runs, st.floats(0.001, 0.5))
def test_tost_is_the_interval_inside_the_margin(a, b, margin):
    outcome = stats.tost_welch(a, b, margin)
    inside = -margin < outcome.interval.low and outcome.interval.high < margin
    assert outcome.equivalent == inside == (outcome.p < 0.05)
    assert outcome.p == max(outcome.p_above_lower, outcome.p_below_upper)
    same = stats.welch(a, b, level=0.9).interval
    assert (outcome.interval.low, outcome.interval.high) == pytest.approx((same.low, same.high))


def test_hedges_g_corrects_cohens_d_exactly():
    a, b = two_samples()
    pooled = math.sqrt((8 * a.var(ddof=1) + 6 * b.var(ddof=1)) / 14)
    d = (a.mean() - b.mean()) / pooled
    correction = math.gamma(7) / (math.sqrt(7) * math.gamma(6.5))
    assert stats.hedges_g(a, b).estimate == pytest.approx(d * correction, rel=1e-12)
    interval = stats.hedges_g(a, b).interval
    scale = correction * math.sqrt(1 / 9 + 1 / 7)
    t = stats.student(a, b).statistic
    assert scipy.stats.nct.cdf(t, 14, interval.low / scale) == pytest.approx(0.975, abs=1e-8)


def test_summaries_give_what_runs_give():
    a, b = two_samples()
    assert stats.welch_from_summaries(stats.summarise(a), stats.summarise(b)) == stats.welch(a, b)
    paper = stats.summary_from_paper(a.mean(), stats.paper_interval(a).half_width, a.size)
    assert paper.sd == pytest.approx(a.std(ddof=1), rel=1e-12)


def test_noncentral_t_has_no_holes():
    random = np.random.default_rng(0)
    for df in (1, 2, 3, 6, 22):
        critical = scipy.stats.t.ppf(0.975, df)
        for noncentrality in random.uniform(0, 10, 40):
            for t in (critical, -critical):
                value = noncentral_t_cdf(t, df, noncentrality)
                assert 0 <= value <= 1
                mirror = 1 - noncentral_t_cdf(-t, df, -noncentrality)
                assert value == pytest.approx(mirror, abs=1e-8)


def test_power_and_its_inverses_agree():
    for n_b in (8, None):
        difference = stats.detectable_difference(0.02, 8, n_b)
        assert stats.power_of(difference, 0.02, 8, n_b) == pytest.approx(0.8, abs=1e-8)
    assert stats.power_of(0, 1, 10, 10) == pytest.approx(0.05, abs=1e-9)
    assert stats.power_of(50, 1, 10, 10) == pytest.approx(1)
    a, b = two_samples(0, 6, 6)
    paired = stats.smallest_detectable(a, b, paired=True)
    assert paired == pytest.approx(stats.detectable_difference((a - b).std(ddof=1), 6))


def test_arguments_are_never_written_to():
    a, b = two_samples()
    copies = a.copy(), b.copy()
    for array in (a, b):
        array.flags.writeable = False
    arm = stats.ArmValues(values=a, widths=0.001, ordered=True, batches=["x"] * 4 + ["y"] * 5)
    stats.compare(arm, b, rng=rng(), paired_on=(range(9), range(7)), margin=0.01)
    assert (a == copies[0]).all() and (b == copies[1]).all()


def test_import_needs_neither_torch_nor_pandas():
    code = (
        "import sys, leadline.stats; print({'torch', 'pandas', 'statsmodels'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- refusals --------------------------------------------------------------------------------

GOOD = [0.7, 0.72, 0.75]
TWO_ARM_TESTS = [
    stats.student,
    stats.welch,
    stats.paired_t,
    stats.mann_whitney,
    stats.wilcoxon,
    lambda a, b: stats.permutation(a, b, rng()),
    lambda a, b: stats.paired_permutation(a, b, rng()),
    lambda a, b: stats.tost_welch(a, b, 0.01),
    lambda a, b: stats.tost_paired(a, b, 0.01),
    stats.hedges_g,
    stats.smallest_detectable,
    lambda a, b: stats.compare(a, b, rng=rng()),
]


@pytest.mark.parametrize("test", TWO_ARM_TESTS)
@pytest.mark.parametrize(
    "bad, rule",
    [
        ([0.7, math.nan, 0.75], "must be finite"),
        ([0.7, math.inf, 0.75], "must be finite"),
        ([0.7, None, "x"], "must be numbers"),
        ([0.7], "at least 2 runs"),
        ([], "at least 2 runs"),
        ([[0.7, 0.8]], "one number per run"),
    ],
)
def test_two_arm_tests_refuse_unusable_scores(test, bad, rule):
    for a, b in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(UserError, match=rule):
            test(a, b)


@pytest.mark.parametrize("test", TWO_ARM_TESTS)
def test_two_constant_arms_are_refused(test):
    with pytest.raises(UserError, match="varies|must vary"):
        test([0.7, 0.7, 0.7], [0.6, 0.6, 0.6])


@pytest.mark.parametrize(
    "one_arm",
    [
        stats.student_interval,
        stats.paper_interval,
        lambda a: stats.one_sample(a, 0.5),
        lambda a: stats.find_modes(a, rng()),
        stats.order_test,
    ],
)
def test_one_arm_functions_refuse_constants_single_runs_and_nan(one_arm):
    for bad in ([0.7] * 8, [0.7], [0.7, math.nan]):
        with pytest.raises(UserError):
            one_arm(bad)


def test_unequal_pairs_and_constant_differences_are_refused():
    for test in (stats.paired_t, stats.wilcoxon):
        with pytest.raises(UserError, match="one run per pair"):
            test([1, 2, 3], [1, 2])
        with pytest.raises(UserError, match="differences must vary"):
            test([1, 2, 3], [2, 3, 4])


def test_one_constant_arm_is_a_result_and_carries_a_flag():
    comparison = stats.compare([0.70, 0.72, 0.71, 0.74, 0.69], [0.8] * 5, rng=rng())
    assert comparison.has("dependent_replicates")
    assert comparison.p["welch"] == pytest.approx(
        stats.one_sample([0.70, 0.72, 0.71, 0.74, 0.69], 0.8).p
    )


def test_seeds_pair_runs_and_unknown_ones_stay_out():
    a, b, left_out = stats.pair_by_seed([1, 2, 3, 4], [10, 30, 20], [7, 8, None, 9], [9, 8, 7])
    assert (a.tolist(), b.tolist(), left_out) == ([1, 2, 4], [20, 30, 10], 1)
    with pytest.raises(UserError, match="two seeds"):
        stats.pair_by_seed([1, 2], [1, 2], [None, math.nan], [1, 2])
    with pytest.raises(UserError, match="seed 1 twice"):
        stats.pair_by_seed([1, 2], [1, 2], [1, 1], [1, 2])
    with pytest.raises(UserError, match="one seed per run"):
        stats.pair_by_seed([1, 2], [1, 2], [1], [1, 2])


def test_comparison_lists_the_tests_that_refused():
    a = np.array([0.70, 0.73, 0.71, 0.76, 0.72])
    comparison = stats.compare(a, a + 0.01, rng=rng(), paired_on=(range(5), range(5)), margin=0.05)
    assert set(comparison.refused) == {"paired_t", "wilcoxon", "paired_permutation", "tost_paired"}
    assert not set(comparison.refused) & set(comparison.p)
    assert "welch" in comparison.p and "welch" in comparison.equivalence


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: stats.holm({}),
        lambda: stats.holm({"a": math.nan}),
        lambda: stats.tost_welch(GOOD, [0.6, 0.65, 0.7], 0),
        lambda: stats.tost_welch(GOOD, [0.6, 0.65, 0.7], math.nan),
        lambda: stats.student_interval(GOOD, level=95),
        lambda: stats.power_of(0.1, 0.0, 10, 10),
        lambda: stats.summary_from_paper(0.5, math.nan, 10),
        lambda: difference_bounds(GOOD, [0.1, 0.1], GOOD, 0),
        lambda: difference_bounds(GOOD, -0.1, GOOD, 0),
        lambda: stats.batch_test(GOOD, ["x"] * 3, rng()),
    ],
)
def test_misuse_is_said_clearly(wrong):
    with pytest.raises(UserError, match="got"):
        wrong()
