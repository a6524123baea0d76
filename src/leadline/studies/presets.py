"""Presets as values of switches: what a preset says for a model, and how two differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from leadline.config import RunConfig
from leadline.config.compose import compose_many
from leadline.config.switches import ROWS
from leadline.errors import UserError, nearest
from leadline.runs.identity import resolved
from leadline.studies.factors import has, value_at
from leadline.studies.overrides import to_overrides

Settings = Mapping[str, Any]

# What runs of a model are fitted with where a preset leaves it to the scripts.
SCRIPTS: Mapping[str, Settings] = {
    "scbert": {"train": "scbert_paper"},
    "scgpt": {"train": "scgpt_paper"},
    "logreg": {},
}
# One data set of each design of the paper.
DATA = ("zheng68k", "ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A protocol, what it sets in each model beside the scripts, and how its runs are analysed.

    Models that it says nothing of are not listed.
    """

    protocol: str
    models: Mapping[str, Settings]
    analysis: Mapping[str, str]


PAPER_ANALYSIS = {
    "test": "student",
    "paired": "no",
    "ddof": "0",
    "replicate": "fit",
    "seeds": "all",
    "hard_f1": "all_cells",
}
PRESETS: dict[str, Preset] = {
    "paper_code": Preset(
        protocol="paper_code",
        models={"scbert": {}, "scgpt": {}, "logreg": {"model.solver": "liblinear"}},
        analysis=PAPER_ANALYSIS,
    ),
    "paper_prose": Preset(
        protocol="paper_prose",
        models={
            "scbert": {"train.schedule": "constant"},
            # All settings of the tutorial, and the frozen part as it is named.
            "scgpt": {"train.epochs": 10},
            "logreg": {"model.solver": "liblinear"},
        },
        analysis=PAPER_ANALYSIS,
    ),
    "scbert_original": Preset(
        protocol="scbert_original",
        models={"scbert": {"train": "scbert_original"}},
        analysis={},
    ),
    "corrected": Preset(
        protocol="corrected",
        models={"scbert": {}, "scgpt": {}, "logreg": {}},
        analysis={
            "test": "crossed",
            "paired": "yes",
            "ddof": "1",
            "replicate": "subset",
            "seeds": "all",
            "hard_f1": "hard_cells",
        },
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One switch in which two presets differ, and for which models and data sets."""

    switch: str
    first: str
    second: str
    where: tuple[str, ...]


def find_preset(name: str) -> Preset:
    """Give a preset by its name."""
    if name not in PRESETS:
        raise UserError(
            f"a preset must be one of {', '.join(PRESETS)}",
            got=repr(name),
            remedy=nearest(name, PRESETS),
        )
    return PRESETS[name]


def configuration(preset: str, model: str, data: str) -> RunConfig:
    """Compose a preset for a model and a data set, every `published` resolved."""
    own = PRESETS[preset]
    settings = {**SCRIPTS[model], **own.models[model]}
    words = {"model": model, "data": data, "protocol": own.protocol, **settings}
    return resolved(compose_many([to_overrides(words)])[0])


def values_of(preset: str, model: str, data: str) -> dict[str, str]:
    """Give the value of every switch that concerns a model, as a preset has it.

    Raises
    ------
    AssertionError
        When a preset sets what no value of a switch says.
    """
    config = configuration(preset, model, data)
    found = {}
    for name, switch in ROWS.items():
        if switch.where == "pretraining" or not switch.concerns(model) or not switch.paths:
            continue
        if not any(has(path, config) for path in switch.paths):
            continue
        for value, settings in switch.values.items():
            if all(value_at(path, config) == wanted for path, wanted in settings.items()):
                found[name] = value
                break
        else:
            raise AssertionError(f"{preset} has no value of {name} for {model} on {data}")
    return found | dict(PRESETS[preset].analysis)


def differences(first: str, second: str) -> list[Difference]:
    """List the switches in which two presets differ, models that only one has left out."""
    find_preset(first), find_preset(second)
    found: dict[tuple[str, str, str], list[str]] = {}
    models = [name for name in PRESETS[first].models if name in PRESETS[second].models]
    for model in models:
        for data in DATA:
            a, b = (values_of(name, model, data) for name in (first, second))
            for switch in ROWS:
                if switch in a and switch in b and a[switch] != b[switch]:
                    places = found.setdefault((switch, a[switch], b[switch]), [])
                    places.append(f"{model} {data}")
    return [
        Difference(switch=key[0], first=key[1], second=key[2], where=shortened(places, models))
        for key, places in sorted(found.items(), key=lambda each: [*ROWS].index(each[0][0]))
    ]


def shortened(places: Sequence[str], models: Sequence[str]) -> tuple[str, ...]:
    """Leave out the data set where a model has the same on both."""
    told = []
    for model in models:
        on = [place.split()[1] for place in places if place.split()[0] == model]
        told += [model] if len(on) == len(DATA) else [f"{model} on {data}" for data in on]
    return tuple(told)
