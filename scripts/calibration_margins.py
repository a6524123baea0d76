"""How often a model that leads by just the margin is called no better, or equivalent.

    python scripts/calibration.py margins [--studies N] [--seed N]

`a` leads by exactly the margin of one point: to call it "not above the margin" or equivalent is an
error, in at most 5 % of studies. Rows without a lead say how often the same claims, then true, are
shown. Beside each: Welch's test over runs alone. Prints a table and then JSON.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.stats
from calibration import Setting, draw

from leadline.stats.difference import VarianceParts, p_below_upper, p_equivalent, parts
from leadline.stats.influence import influences

MARGIN, ALPHA = 0.01, 0.05
DESIGNS: tuple[dict[str, Any], ...] = (
    {"name": "5 runs, 1,000 cells"},
    {"name": "10 runs of little luck, 6,000 cells", "runs": (10, 10), "cells": 6000, "luck": 0.02},
    {"name": "no luck, near-identical, 2,000 cells", "runs": (1, 1), "cells": 2000, "luck": 0.0,
     "competence": 0.05},
    {"name": "10 runs, alike, 20,000 cells", "runs": (10, 10), "cells": 20_000, "luck": 0.01,
     "competence": 0.1},
    {"name": "5 runs, 12 donors, 4,000 cells", "donors": 12, "cells": 4000, "donor_skill": 0.05,
     "luck": 0.01, "competence": 0.1},
)  # fmt: skip
SETTINGS = tuple(
    Setting(**design | {"name": f"{design['name']}, {words}"}, lead=lead)
    for lead, words in ((MARGIN, "lead of the margin"), (0.0, "equal"))
    for design in DESIGNS
)


def welch_below(found: VarianceParts) -> tuple[float, float]:
    """Give p of "not above" and of "equivalent" over runs alone; 1 where there is one run."""
    if not found.v_runs:
        return 1.0, 1.0
    error = np.sqrt(found.v_runs)
    below, above = (
        float(scipy.stats.t.sf((MARGIN + sign * found.estimate) / error, found.df_runs))
        for sign in (-1, 1)
    )
    return below, max(below, above)


def rates(setting: Setting, studies: int, seed: int) -> dict[str, float]:
    """Count the studies in which either claim is shown, by the crossed test and over runs."""
    random = np.random.default_rng([seed, *setting.name.encode()])
    keys = ("not above", "equivalent", "not above, runs alone", "equivalent, runs alone")
    counts = dict.fromkeys(keys, 0)
    for _ in range(studies):
        truth, arms, donors = draw(setting, random)
        found = parts(
            *(influences(truth, calls, setting.metric, donors_N=donors) for calls in arms)
        )
        said = (p_below_upper(found, MARGIN), p_equivalent(found, MARGIN), *welch_below(found))
        for key, p in zip(keys, said, strict=True):
            counts[key] += p < ALPHA
    return {key: count / studies for key, count in counts.items()}


def main(words: Sequence[str]) -> None:
    """Print how often either claim is shown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=20_261_124)
    given = parser.parse_args(words)
    found = {}
    for setting in SETTINGS:
        rate = found[setting.name] = rates(setting, given.studies, given.seed)
        if setting is SETTINGS[0]:
            print(f"| {given.studies} studies each | {' | '.join(rate)} |\n|{'---|' * 5}")
        print(f"| {setting.name} | {' | '.join(f'{x:.3f}' for x in rate.values())} |", flush=True)
    print(json.dumps({"studies": given.studies, "rates": found}))
