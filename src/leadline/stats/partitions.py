"""How far two partitions of the same cells agree: NMI, AMI, ARI.

Equal partitions score 1, also if they have a single group or one cell a group.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from leadline.stats.embedding_inputs import Codes, Floats, checked_codes


def normalised_mutual_information(first_C: npt.ArrayLike, second_C: npt.ArrayLike) -> float:
    """NMI over the mean of the two entropies; not corrected for chance."""
    table = contingency_table(first_C, second_C)
    if _equal(table):
        return 1.0
    return _share(_mutual_information(table), _mean_entropy(table))


def adjusted_mutual_information(first_C: npt.ArrayLike, second_C: npt.ArrayLike) -> float:
    """NMI less what random partitions of the same sizes share, over what is left to win."""
    table = contingency_table(first_C, second_C)
    if _equal(table):
        return 1.0
    chance = _expected_mutual_information(table)
    return _share(_mutual_information(table) - chance, _mean_entropy(table) - chance)


def adjusted_rand_index(first_C: npt.ArrayLike, second_C: npt.ArrayLike) -> float:
    """Pairs of cells together in both, corrected for chance."""
    table = contingency_table(first_C, second_C)
    if _equal(table):
        return 1.0
    together = float((table * (table - 1.0)).sum()) / 2
    first, second = (float((sizes * (sizes - 1.0)).sum()) / 2 for sizes in _sizes(table))
    n = float(table.sum())
    expected = first * second / (n * (n - 1) / 2)
    return _share(together - expected, (first + second) / 2 - expected)


def contingency_table(first_C: npt.ArrayLike, second_C: npt.ArrayLike) -> Codes:
    """Count cells by group of the first and group of the second partition."""
    first = checked_codes(first_C)
    second = checked_codes(second_C, len(first))
    n_second = int(second.max()) + 1
    counts = np.bincount(first * n_second + second, minlength=(int(first.max()) + 1) * n_second)
    return counts.reshape(-1, n_second).astype(np.int64)


def _equal(table: Codes) -> bool:
    filled = table > 0
    return bool((filled.sum(axis=0) == 1).all() and (filled.sum(axis=1) == 1).all())


def _sizes(table: Codes) -> tuple[Codes, Codes]:
    return table.sum(axis=1), table.sum(axis=0)


def _share(part: float, whole: float) -> float:
    # Nothing to win (one of the two has a single group): no better than chance.
    return part / whole if abs(whole) > 1e-15 else 0.0


def _entropy(sizes: Codes) -> float:
    share = sizes / sizes.sum()
    return float(-(share * np.log(share)).sum())


def _mean_entropy(table: Codes) -> float:
    first, second = _sizes(table)
    return (_entropy(first) + _entropy(second)) / 2


def _mutual_information(table: Codes) -> float:
    first, second = _sizes(table)
    rows, columns = np.nonzero(table)
    count = table[rows, columns].astype(np.float64)
    n = float(table.sum())
    information = count / n * (np.log(count * n) - np.log(first[rows]) - np.log(second[columns]))
    return max(0.0, float(information.sum()))


def _expected_mutual_information(table: Codes) -> float:
    """Expect the mutual information under the hypergeometric law (Vinh, Epps, Bailey 2010).

    Groups of equal size are taken together: a partition into single cells costs one term.
    """
    first, second = (np.unique(sizes, return_counts=True) for sizes in _sizes(table))
    n = int(table.sum())
    total = 0.0
    for a, times_a in zip(*first, strict=True):
        for b, times_b in zip(*second, strict=True):
            total += int(times_a) * int(times_b) * _expected_cell(int(a), int(b), n)
    return total


def _expected_cell(a: int, b: int, n: int) -> float:
    count: Floats = np.arange(max(1, a + b - n), min(a, b) + 1, dtype=np.float64)
    log_p = (
        gammaln(a + 1) + gammaln(b + 1) + gammaln(n - a + 1) + gammaln(n - b + 1)
        - gammaln(n + 1) - gammaln(count + 1) - gammaln(a - count + 1) - gammaln(b - count + 1)
        - gammaln(n - a - b + count + 1)
    )  # fmt: skip
    return float((count / n * np.log(n * count / (a * b)) * np.exp(log_p)).sum())
