"""Error rates and coverage on simulated data; the quick versions here, the precise ones `slow`."""

import numpy as np
import pytest

from leadline import stats

SIZES = [pytest.param(400, id="quick"), pytest.param(10_000, id="slow", marks=pytest.mark.slow)]
FEW = [pytest.param(120, id="quick"), pytest.param(1_500, id="slow", marks=pytest.mark.slow)]


def allowed_error(rate, draws):
    """Four standard errors of a Monte Carlo estimate of a rate."""
    return 4 * np.sqrt(rate * (1 - rate) / draws)


def normal_pair(random):
    return random.normal(size=8), random.normal(size=8)


def unequal_pair(random):
    return random.normal(size=6), 4 * random.normal(size=12)


def correlated_pair(random):
    shared = 3 * random.normal(size=8)
    return shared + random.normal(size=8), shared + random.normal(size=8)


EXACT_SIZE = {
    "student": (normal_pair, lambda a, b, r: stats.student(a, b).p),
    "welch": (unequal_pair, lambda a, b, r: stats.welch(a, b).p),
    "paired_t": (correlated_pair, lambda a, b, r: stats.paired_t(a, b).p),
    "one_sample": (normal_pair, lambda a, b, r: stats.one_sample(a, 0.0).p),
    "permutation": (normal_pair, lambda a, b, r: stats.permutation(a, b, r).p),
    "mann_whitney": (normal_pair, lambda a, b, r: stats.mann_whitney(a, b).p),
    "wilcoxon": (correlated_pair, lambda a, b, r: stats.wilcoxon(a, b).p),
    "paired_permutation": (correlated_pair, lambda a, b, r: stats.paired_permutation(a, b, r).p),
}


@pytest.mark.parametrize("draws", SIZES)
@pytest.mark.parametrize("name", EXACT_SIZE)
def test_type_one_error_is_at_its_level(name, draws):
    sample, p_value = EXACT_SIZE[name]
    random = np.random.default_rng(1)
    p = np.array([p_value(*sample(random), random) for _ in range(draws)])
    rate = np.mean(p < 0.05)
    assert rate <= 0.05 + allowed_error(0.05, draws)
    # Exact tests are discrete and may fall short of the level, by little at these sizes.
    assert rate >= 0.035 - allowed_error(0.05, draws)


@pytest.mark.parametrize("draws", SIZES)
def test_student_fails_where_welch_holds(draws):
    """The reason to prefer Welch: Student's level is wrong at unequal n and variances."""
    random = np.random.default_rng(2)
    small_wide = [(4 * random.normal(size=6), random.normal(size=12)) for _ in range(draws)]
    student = np.mean([stats.student(*pair).p < 0.05 for pair in small_wide])
    assert student > 0.05 + allowed_error(0.05, draws)


@pytest.mark.parametrize("draws", SIZES)
def test_equivalence_is_claimed_at_most_at_its_level_on_the_margin(draws):
    random = np.random.default_rng(3)
    claims = [
        stats.tost_welch(random.normal(1.0, 0.5, 10), random.normal(0.0, 0.5, 10), 1.0).equivalent
        for _ in range(draws)
    ]
    assert abs(np.mean(claims) - 0.05) <= allowed_error(0.05, draws) + 0.005


@pytest.mark.parametrize("draws", FEW)
def test_type_one_error_over_cells(draws):
    random = np.random.default_rng(4)
    mcnemar = []
    for _ in range(draws):
        y_true = np.ones(300, dtype=int)
        easy = random.random(300) < 0.5
        a, b = ((random.random(300) < np.where(easy, 0.95, 0.6)).astype(int) for _ in range(2))
        mcnemar.append(stats.mcnemar(y_true, a, b).p < 0.05)
    # The continuity correction makes McNemar conservative.
    assert 0 <= np.mean(mcnemar) <= 0.05 + allowed_error(0.05, draws)


@pytest.mark.parametrize("draws", FEW)
def test_replicate_checks_seldom_cry_wolf(draws):
    random = np.random.default_rng(5)
    alarms = {"modes": 0, "modes, uniform": 0, "order": 0, "batch": 0}
    for _ in range(draws):
        values = random.normal(size=10)
        alarms["modes"] += stats.find_modes(values, random, draws=500).p < 0.05
        uniform = random.uniform(size=10)
        alarms["modes, uniform"] += stats.find_modes(uniform, random, draws=500).p < 0.05
        alarms["order"] += stats.order_test(values).p < 0.05
        alarms["batch"] += stats.batch_test(values, list("xxxyyyyyyy"), random) < 0.05
    rates = {name: count / draws for name, count in alarms.items()}
    assert all(rate <= 0.05 + allowed_error(0.05, draws) for rate in rates.values()), rates
    assert rates["modes"] <= 0.01 + allowed_error(0.01, draws)


def test_two_modes_five_sigma_apart_are_found():
    random = np.random.default_rng(6)
    found = 0
    for _ in range(100):
        values = random.normal(size=10) + np.where(np.arange(10) < 4, -4.0, 4.0)
        found += stats.find_modes(values, random, draws=500).p < 0.05
    assert found >= 80


COVERAGE = {
    # interval, runs, level it should have
    "student, n = 10": (lambda x: stats.student_interval(x), 10, (0.95, 0.95)),
    "student, n = 3": (lambda x: stats.student_interval(x), 3, (0.95, 0.95)),
    "paper, n = 10": (lambda x: stats.paper_interval(x), 10, (0.935, 0.95)),
    "paper, n = 3": (lambda x: stats.paper_interval(x), 3, (0.55, 0.65)),
}


@pytest.mark.parametrize("draws", SIZES)
@pytest.mark.parametrize("name", COVERAGE)
def test_coverage_of_intervals_of_a_mean(name, draws):
    interval, n, (least, most) = COVERAGE[name]
    random = np.random.default_rng(8)
    covered = np.mean([interval(random.normal(0.7, 0.1, n)).contains(0.7) for _ in range(draws)])
    slack = allowed_error(0.95 if least > 0.8 else least, draws)
    assert least - slack <= covered <= most + slack


@pytest.mark.parametrize("draws", SIZES)
def test_coverage_of_intervals_of_a_difference_and_of_effects(draws):
    random = np.random.default_rng(9)
    covered = {"welch": 0, "g": 0}
    for _ in range(draws):
        a, b = random.normal(1, 1, 10), random.normal(0, 1, 14)
        covered["welch"] += stats.welch(a, b).interval.contains(1)
        covered["g"] += stats.hedges_g(a, b).interval.contains(1)
    rates = {name: count / draws for name, count in covered.items()}
    slack = allowed_error(0.95, draws)
    # The ends of g carry the small-sample correction, which shrinks the interval by 3 %.
    least = {"welch": 0.95, "g": 0.94}
    assert all(rates[name] >= least[name] - slack for name in least), rates
    assert all(rates[name] <= 0.97 + slack for name in least), rates


@pytest.mark.parametrize("draws", SIZES)
def test_power_is_what_simulation_gives(draws):
    difference = stats.detectable_difference(1.0, 8, 8)
    random = np.random.default_rng(10)
    found = [
        stats.student(random.normal(difference, 1, 8), random.normal(0, 1, 8)).p < 0.05
        for _ in range(draws)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=allowed_error(0.8, draws))
