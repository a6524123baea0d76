"""The key `choices` of a study's file: which switches vary, and by which design."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from leadline.config import switches
from leadline.errors import UserError, nearest
from leadline.studies.designs import DESIGNS, Universe, universes
from leadline.studies.file_values import mapping

KEYS = ("vary", "design", "impossible", "seed")
BUDGET = re.compile(r"budget\s*=\s*([1-9][0-9]*)")


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Switches that a study varies, each with its values, the first of which is the usual one.

    Switches of the analysis make no runs: `analysed` holds them, `trained` the others.
    """

    vary: Mapping[str, tuple[str, ...]]
    design: str = "one_at_a_time"
    budget: int = 0
    impossible: tuple[Mapping[str, tuple[str, ...]], ...] = ()
    seed: int = 1

    @property
    def trained(self) -> dict[str, tuple[str, ...]]:
        """Give the switches whose values are runs of their own."""
        return {key: found for key, found in self.vary.items() if key not in self.analysed}

    @property
    def analysed(self) -> dict[str, tuple[str, ...]]:
        """Give the switches that are applied to predictions that are there."""
        return {
            key: found for key, found in self.vary.items() if switches.ROWS[key].where == "analysis"
        }

    @cached_property
    def universes(self) -> list[Universe]:
        """List the universes that are trained, in their order."""
        return universes(
            self.trained, self.design, self.impossible, budget=self.budget, seed=self.seed
        )

    @property
    def name(self) -> str:
        """Write the design as the file has it."""
        return f"budget={self.budget}" if self.design == "budget" else self.design

    def told(self) -> dict[str, Any]:
        """Say what is varied, as a manifest holds it."""
        return {
            "design": self.name,
            "seed": self.seed,
            "vary": {key: list(found) for key, found in self.trained.items()},
            "analysis": {key: list(found) for key, found in self.analysed.items()},
            "tags": {key: switches.ROWS[key].tag for key in self.vary},
            "impossible": [
                {key: list(found) for key, found in each.items()} for each in self.impossible
            ],
            "universes": len(self.universes),
        }


def read_choices(said: Any) -> Choices | None:
    """Read the key `choices`; None where there is none."""
    if said is None:
        return None
    said = mapping("choices", said, KEYS)
    vary = {
        name: values_of(name, found)
        for name, found in mapping("choices: vary", said.get("vary") or {}).items()
    }
    if not vary:
        raise UserError(
            "choices must vary a switch",
            got="none",
            remedy="write for example vary: {selection: all}; leadline protocols lists switches",
        )
    design, budget = read_design(said.get("design", "one_at_a_time"))
    seed = said.get("seed", 1)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UserError(
            "choices: seed must be a whole number", got=repr(seed), remedy="write seed: 1"
        )
    trained = {name for name in vary if switches.ROWS[name].where == "run"}
    return Choices(
        vary=vary,
        design=design,
        budget=budget,
        impossible=tuple(
            read_impossible(each, {name: vary[name] for name in vary if name in trained})
            for each in as_list(said.get("impossible") or [])
        ),
        seed=seed,
    )


def read_design(said: Any) -> tuple[str, int]:
    """Read a design and, where it has one, its budget."""
    budget = BUDGET.fullmatch(said) if isinstance(said, str) else None
    if budget is not None:
        return "budget", int(budget[1])
    known = DESIGNS[:-1]
    if said not in known:
        raise UserError(
            f"choices: design must be {', '.join(known)} or budget=40",
            got=repr(said),
            remedy=nearest(str(said), known),
        )
    return str(said), 0


def values_of(name: str, said: Any) -> tuple[str, ...]:
    """Read the values of a switch: `all`, or a list of them."""
    switch = switches.find(name)
    if switch.where == "pretraining":
        raise UserError(
            "choices may not vary what runs are pretrained with",
            got=repr(name),
            remedy="name two runs under pretraining:, and let arms start from them",
        )
    # A value of a switch may be called `all` as well; then it is written in a list.
    found = tuple(switch.values) if said == "all" else tuple(map(written, as_list(said)))
    for value in found:
        if not switch.knows(value):
            number = " or a number" if switch.number_at else ""
            raise UserError(
                f"choices: {name} must be among {', '.join(switch.values)}{number}",
                got=repr(value),
                remedy=nearest(value, switch.values),
            )
    if len(set(found)) < len(found) or not found:
        raise UserError(
            f"choices: {name} must list each value once",
            got=repr(list(found)),
            remedy=f"write {name}: all, or a list of values",
        )
    return found


def read_impossible(said: Any, vary: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Read a combination that is left out: a value, or several, of some switches that vary."""
    found = {}
    for name, values in mapping("choices: impossible", said, list(vary)).items():
        found[name] = tuple(map(written, as_list(values)))
        for value in found[name]:
            if value not in vary[name]:
                raise UserError(
                    f"choices: impossible may name values of {name} that vary",
                    got=repr(value),
                    remedy=nearest(value, vary[name]),
                )
    if not found:
        raise UserError(
            "choices: impossible must name values of switches",
            got="an empty mapping",
            remedy="write for example [{selection: none, select_by: [loss, macro_f1]}]",
        )
    return found


def as_list(said: Any) -> list[Any]:
    """Let one value stand for a list of one."""
    return said if isinstance(said, list) else [said]


def written(value: Any) -> str:
    """Write a value as its switch calls it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
