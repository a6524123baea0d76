"""Monte Carlo draws that do not depend on the data: drawn once where a stream starts alike."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import numpy.typing as npt

# Arrays that are kept: a report asks for few kinds, thousands of times.
MOST_KEPT = 12
_kept: OrderedDict[Hashable, tuple[npt.NDArray[Any], dict[str, Any]]] = OrderedDict()


def drawn_once(
    rng: np.random.Generator,
    kind: Hashable,
    draw: Callable[[np.random.Generator], npt.NDArray[Any]],
) -> npt.NDArray[Any]:
    """Give what `draw(rng)` gives, and leave `rng` as it would; equal streams draw once.

    `kind` must tell apart everything but the stream that the draws depend on.

    Examples
    --------
    >>> a, b = np.random.default_rng(1), np.random.default_rng(1)
    >>> one = drawn_once(a, "five", lambda rng: rng.uniform(size=5))
    >>> other = drawn_once(b, "five", lambda rng: rng.uniform(size=5))
    >>> bool((one == other).all()), a.integers(100) == b.integers(100)
    (True, True)
    """
    key = (kind, repr(rng.bit_generator.state))
    if key in _kept:
        _kept.move_to_end(key)
        drawn, after = _kept[key]
        rng.bit_generator.state = after
        return drawn
    drawn = draw(rng)
    drawn.flags.writeable = False
    _kept[key] = (drawn, dict(rng.bit_generator.state))
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return drawn
