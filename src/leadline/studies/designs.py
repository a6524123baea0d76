"""Which combinations of the values of several switches are run: four designs.

A universe is one combination: a value for each switch.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product

from leadline.errors import UserError

Universe = dict[str, str]
Values = Mapping[str, Sequence[str]]
Impossible = Sequence[Values]
# Two switches by place, each with the place of its value.
Pair = tuple[int, int, int, int]

DESIGNS = ("full", "one_at_a_time", "fraction", "budget")
# Beyond this a product is not written out.
MOST = 100_000
# Up to here a round robin knows all of its passes beforehand.
WRITTEN_OUT = 5_000
# Passes of a round robin that are weighed against one another before one is taken.
CANDIDATES = 32
# So often a universe is taken or given back before another order is tried.
STEPS = 2_000


def universes(
    vary: Values, design: str, impossible: Impossible = (), *, budget: int = 0, seed: int = 1
) -> list[Universe]:
    """List the universes of a design, in the order in which they are run.

    Raises
    ------
    UserError
        When nothing is possible, or no such balanced sample exists.
    """
    if not vary:
        return [{}]
    match design:
        case "full":
            found = [each for each in every(vary) if is_possible(each, impossible)]
        case "one_at_a_time":
            found = [each for each in one_at_a_time(vary) if is_possible(each, impossible)]
        case "fraction":
            found = fraction(vary, impossible, seed)
        case _:
            found = balanced(vary, impossible, budget, seed)
    if not found:
        raise UserError(
            "choices must leave a universe that is possible",
            got="none",
            remedy="list fewer combinations as impossible",
        )
    return found


def size_of(vary: Values) -> int:
    """Count the combinations, the impossible ones too."""
    return math.prod(map(len, vary.values()))


def every(vary: Values) -> list[Universe]:
    """List all combinations; too many are refused."""
    if size_of(vary) > MOST:
        raise UserError(
            f"a design over all combinations may have at most {MOST:,} of them",
            got=f"{size_of(vary):,}",
            remedy="write design: budget=40, or vary fewer switches",
        )
    return [dict(zip(vary, values, strict=True)) for values in product(*vary.values())]


def is_possible(universe: Mapping[str, str], impossible: Impossible) -> bool:
    """Say whether a universe matches none of the combinations that cannot be."""
    return not any(
        all(universe[name] in values for name, values in each.items()) for each in impossible
    )


def one_at_a_time(vary: Values) -> Iterator[Universe]:
    """Give the first value of each switch, then that with one switch changed."""
    start = {name: values[0] for name, values in vary.items()}
    yield start
    for name, values in vary.items():
        for value in values[1:]:
            yield {**start, name: value}


def fraction(vary: Values, impossible: Impossible, seed: int) -> list[Universe]:
    """Give a regular fraction of resolution IV, or a balanced sample where there is none.

    With resolution IV no main effect is mixed up with another or with a pair. There is one where
    every switch has two values, and where all of its universes are possible.
    """
    sizes = {len(values) for values in vary.values() if len(values) > 1}
    if sizes <= {2}:
        found = resolution_iv(vary)
        if len(found) < size_of(vary) and all(is_possible(each, impossible) for each in found):
            random.Random(seed).shuffle(found)
            return found
    # Twice as many as the effects of all values take.
    wanted = 2 * (1 + sum(len(values) - 1 for values in vary.values()))
    if size_of(vary) <= MOST:
        possible = sum(is_possible(each, impossible) for each in every(vary))
        if wanted >= possible:
            return [each for each in every(vary) if is_possible(each, impossible)]
    return balanced(vary, impossible, wanted, seed)


def resolution_iv(vary: Values) -> list[Universe]:
    """Build the regular fraction of two-valued switches whose generators are odd.

    Each switch is a product of an odd number of base columns, so that any product of switches that
    is constant has an even number of them, and as no two are alike, at least four.
    """
    several = [name for name, values in vary.items() if len(values) == 2]
    base = 1
    while 2 ** (base - 1) < len(several):
        base += 1
    odd = [words for r in range(1, base + 1, 2) for words in combinations(range(base), r)]
    # Single columns first, so that every base column is used.
    columns = dict(zip(several, odd[: len(several)], strict=True))
    found = []
    for bits in product((0, 1), repeat=base):
        found.append(
            {
                name: values[sum(bits[at] for at in columns[name]) % 2 if name in columns else 0]
                for name, values in vary.items()
            }
        )
    return found


def balanced(vary: Values, impossible: Impossible, number: int, seed: int) -> list[Universe]:
    """Order universes so that of any first part, counts of a switch's values differ by at most one.

    So a sweep that is stopped at any moment is a balanced sample.
    """
    chance = random.Random(seed)
    if not impossible:
        require_room(number, size_of(vary))
        return round_robin(vary, number, chance)
    possible = [each for each in every(vary) if is_possible(each, impossible)]
    require_room(number, len(possible))
    longest: list[Universe] = []
    for _ in range(CANDIDATES):
        chance.shuffle(possible)
        found = picked(vary, possible, number)
        if len(found) == number:
            return found
        longest = max(longest, found, key=len)
    raise UserError(
        "the values of each switch must come up equally often",
        got=f"{number} universes, of which {len(longest)} can be balanced beside the impossible",
        remedy=f"write design: budget={len(longest)}, or list fewer combinations as impossible",
    )


def require_room(number: int, possible: int) -> None:
    """Refuse more universes than there are."""
    if number > possible:
        raise UserError(
            "a budget may not be larger than the number of universes",
            got=f"{number}, where {possible} are possible",
            remedy="write design: full",
        )


def round_robin(vary: Values, number: int, chance: random.Random) -> list[Universe]:
    """Go through passes: in each, every switch runs cyclically through its values.

    A pass ends after the least common multiple of the numbers of values, where all are back at
    their start; all passes together are the whole product, each universe once. Of some passes at
    random the one is taken whose pairs of values came up least.
    """
    sizes = [len(values) for values in vary.values()]
    length = math.lcm(*sizes)
    labels = [chance.sample(list(values), len(values)) for values in vary.values()]
    pairs: Counter[Pair] = Counter()
    found: list[Universe] = []
    passes = starts(sizes, length, chance)
    waiting = [*islice(passes, CANDIDATES)]
    while len(found) < number:
        start = min(waiting, key=lambda each: weight(each, sizes, length, pairs))
        waiting.remove(start)
        waiting += islice(passes, 1)
        turn = chance.randrange(length)
        for step in range(length):
            place = [(at + turn + step) % size for at, size in zip(start, sizes, strict=True)]
            pairs.update(pairs_of(place))
            told = [label[at] for label, at in zip(labels, place, strict=True)]
            found.append(dict(zip(vary, told, strict=True)))
    return found[:number]


def starts(sizes: Sequence[int], length: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Give the start of each pass, in an order by chance; large products are drawn from."""
    passes = math.prod(sizes) // length
    if passes * length <= WRITTEN_OUT:
        whole = sorted({first_of(place, sizes, length) for place in product(*map(range, sizes))})
        yield from chance.sample(whole, len(whole))
        return
    used: set[tuple[int, ...]] = set()
    while len(used) < passes:
        start = first_of([chance.randrange(size) for size in sizes], sizes, length)
        if start not in used:
            used.add(start)
            yield start


def first_of(start: Sequence[int], sizes: Sequence[int], length: int) -> tuple[int, ...]:
    """Give the least place of the pass that goes through a place."""
    return min(
        tuple((at + step) % size for at, size in zip(start, sizes, strict=True))
        for step in range(length)
    )


def pairs_of(place: Sequence[int]) -> Iterator[Pair]:
    """Give the pairs of values that stand together in a universe."""
    for a, b in combinations(range(len(place)), 2):
        yield a, place[a], b, place[b]


def weight(
    start: Sequence[int],
    sizes: Sequence[int],
    length: int,
    pairs: Mapping[tuple[int, int, int, int], int],
) -> int:
    """Count how often the pairs of a pass came up already."""
    return sum(
        pairs.get(pair, 0)
        for step in range(length)
        for pair in pairs_of([(at + step) % size for at, size in zip(start, sizes, strict=True)])
    )


def picked(vary: Values, possible: Sequence[Universe], number: int) -> list[Universe]:
    """Look for an order in which every switch has its rarest value next; give the longest found."""
    counts = {name: dict.fromkeys(values, 0) for name, values in vary.items()}
    found: list[Universe] = []
    longest: list[Universe] = []
    # What may stand at each place and was not tried there.
    open_at: list[Iterator[Universe]] = []
    for _ in range(STEPS):
        if len(found) == number:
            break
        if len(open_at) == len(found):
            least = {name: min(each.values()) for name, each in counts.items()}
            fit = [
                each
                for each in possible
                if all(counts[name][value] == least[name] for name, value in each.items())
                and each not in found
            ]
            open_at.append(iter(fit))
        following = next(open_at[-1], None)
        if following is not None:
            found.append(following)
        elif found:
            open_at.pop()
            following = found.pop()
        else:
            break
        step = 1 if len(found) == len(open_at) else -1
        for name, value in following.items():
            counts[name][value] += step
        longest = max(longest, list(found), key=len)
    return longest
