"""Designs of a multiverse: which universes are run, and in which order."""

import math
from collections import Counter
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.errors import UserError
from leadline.studies.designs import is_possible, size_of, universes


def switches(*sizes):
    return {f"s{at}": tuple(f"v{k}" for k in range(size)) for at, size in enumerate(sizes)}


def spread(found, vary):
    """Give the largest difference between the counts of two values of one switch."""
    counts = {name: Counter(each[name] for each in found) for name in vary}
    return max(
        max(counts[name][value] for value in values) - min(counts[name][value] for value in values)
        for name, values in vary.items()
    )


def distinct(found):
    return len({tuple(sorted(each.items())) for each in found}) == len(found)


def test_full_is_the_product_without_what_cannot_be():
    vary = switches(2, 3)
    assert len(universes(vary, "full")) == 6
    found = universes(vary, "full", [{"s0": ["v0"], "s1": ["v1", "v2"]}])
    assert len(found) == 4 and {"s0": "v0", "s1": "v1"} not in found


def test_one_at_a_time_changes_one_switch():
    vary = switches(3, 2, 4)
    first, *others = universes(vary, "one_at_a_time")
    assert first == {"s0": "v0", "s1": "v0", "s2": "v0"} and len(others) == 2 + 1 + 3
    assert all(sum(each[name] != first[name] for name in vary) == 1 for each in others)
    assert distinct(others)


@pytest.mark.parametrize("number", range(2, 17))
def test_a_fraction_of_two_values_has_resolution_iv(number):
    vary = switches(*[2] * number)
    found = universes(vary, "fraction")
    assert distinct(found)
    # Full up to three switches; then the least power of two that is at least twice their number.
    least = 2 ** math.ceil(math.log2(number)) * 2
    assert len(found) == (2**number if number <= 3 else least)
    signs = np.array([[1 if each[name] == "v1" else -1 for name in vary] for each in found])
    assert not signs.sum(axis=0).any()
    for a, b in combinations(range(number), 2):
        assert signs[:, a] @ signs[:, b] == 0
    for a, b, c in combinations(range(number), 3):
        # No main effect is the product of two others: it would be mixed up with a pair.
        assert (signs[:, a] * signs[:, b]) @ signs[:, c] == 0


def test_where_there_is_no_regular_fraction_the_sample_is_balanced_and_seeded():
    vary = switches(2, 3, 2, 4, 2)
    found = universes(vary, "fraction", seed=3)
    assert len(found) == 2 * (1 + 1 + 2 + 1 + 3 + 1) < size_of(vary)
    assert distinct(found) and spread(found, vary) <= 1
    assert found == universes(vary, "fraction", seed=3) != universes(vary, "fraction", seed=4)


def test_a_fraction_with_what_cannot_be_is_balanced():
    vary = switches(*[2] * 6)
    impossible = [{"s0": ["v0"], "s1": ["v0"]}]
    found = universes(vary, "fraction", impossible)
    assert all(is_possible(each, impossible) for each in found) and distinct(found)
    assert spread(found, vary) <= 1


@settings(deadline=None, max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=9),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_a_sweep_that_is_stopped_at_any_moment_is_a_balanced_sample(sizes, seed, data):
    vary = switches(*sizes)
    budget = min(40, size_of(vary))
    found = universes(vary, "budget", budget=budget, seed=seed)
    assert len(found) == budget and distinct(found)
    for stop in data.draw(st.lists(st.integers(1, budget), min_size=10, max_size=10)):
        assert spread(found[:stop], vary) <= 1


@pytest.mark.parametrize("sizes", [(2, 2, 2), (2, 3, 4), (3, 3), (6, 4), (5,), (2, 1, 3)])
def test_the_largest_budget_is_the_whole_product(sizes):
    vary = switches(*sizes)
    found = universes(vary, "budget", budget=size_of(vary))
    assert {tuple(each.values()) for each in found} == set(product(*vary.values()))
    assert all(spread(found[:stop], vary) <= 1 for stop in range(1, len(found) + 1))


def test_pairs_of_values_come_up_alike():
    vary = switches(*[2] * 8)
    found = universes(vary, "budget", budget=64)
    for a, b in combinations(vary, 2):
        together = Counter((each[a], each[b]) for each in found)
        # By chance alone the standard deviation would be 3.5.
        assert max(together.values()) - min(together.values()) <= 8


def test_products_too_large_to_write_out_are_drawn_from():
    vary = switches(*[3] * 30)
    found = universes(vary, "budget", budget=40)
    assert distinct(found) and all(spread(found[:n], vary) <= 1 for n in range(1, 41))
    with pytest.raises(UserError, match="at most 100,000 of them: got 205,891,132,094,649"):
        universes(vary, "full")


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000))
def test_beside_the_impossible_every_first_part_is_balanced(seed):
    vary = switches(2, 3, 2, 2)
    impossible = [{"s0": ["v0"], "s1": ["v1"]}, {"s2": ["v1"], "s3": ["v1"]}]
    found = universes(vary, "budget", impossible, budget=6, seed=seed)
    assert all(is_possible(each, impossible) for each in found) and distinct(found)
    assert all(spread(found[:stop], vary) <= 1 for stop in range(1, 7))


@pytest.mark.parametrize(
    ("design", "impossible", "budget", "message"),
    [
        ("full", [{"s0": ["v0", "v1"]}], 0, "must leave a universe that is possible: got none"),
        ("budget", [], 5, "a budget may not be larger .*: got 5, where 4 are possible; write des"),
        ("budget", [{"s0": ["v0"]}], 3, "larger than .*: got 3, where 2 are possible"),
        (
            "budget",
            [{"s0": ["v0"]}],
            2,
            "each switch must come up equally often: got 2 universes, of which .* can be balanced",
        ),
    ],
)
def test_designs_that_are_not_there_are_refused(design, impossible, budget, message):
    with pytest.raises(UserError, match=message):
        universes(switches(2, 2), design, impossible, budget=budget)
