"""Command-line words → one typed RunConfig; the only importer of Hydra.

Hydra composes; every way in which it can refuse becomes one UserError in plain words.
"""

from __future__ import annotations

import copy
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache, lru_cache
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra import main as hydra_main
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, QuotedString, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from leadline.config import SCHEMAS, RunConfig
from leadline.config.python_class import expand_model_words, target_of
from leadline.config.shipped import options as options
from leadline.config.shipped import shipped as shipped
from leadline.config.tasks import with_settings
from leadline.errors import UserError, nearest

# More are a mistake, or a question for several studies.
MOST_RUNS = 20_000
# Settings that tell thousands of runs of one study apart, and how a plain number is written.
NUMBERS = {
    "seed": re.compile(r"0|[1-9][0-9]{0,8}"),
    "data.fraction": re.compile(r"[01](\.[0-9]+)?"),
}
# How OmegaConf names a type → how a person does.
KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def compose(overrides: Sequence[str]) -> RunConfig:
    """Turn overrides such as `model=logreg seed=1` into a checked configuration.

    Raises
    ------
    UserError
        For every word that is misspelt, of the wrong type, or out of range.
    """
    register_schemas()
    overrides = completed(overrides)
    for override in parse(overrides):
        check_word(override)
    try:
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            composed = hydra_compose("config", overrides=list(overrides))
        check_keys(overrides)
        config = OmegaConf.to_object(composed)
    except (HydraException, OmegaConfBaseException, TypeError, ValueError) as error:
        raise explain(error, overrides) from error
    assert isinstance(config, RunConfig)
    return config


def compose_many(batches: Sequence[Sequence[str]]) -> list[RunConfig]:
    """Compose many runs: those that choose the same groups share one reading of the files.

    Those that differ in their seed and share of the labels alone share one composition.
    """
    known: dict[tuple[str, ...], RunConfig] = {}
    found = []
    for words in batches:
        rest, numbers = _without_numbers(words)
        try:
            if rest not in known:
                known[rest] = _compose_quickly(rest)
            found.append(_with_numbers(known[rest], numbers))
        except UserError:
            # The slow way ends in the same place, and names the word that is wrong.
            found.append(_compose_quickly(words))
    return found


def _without_numbers(words: Sequence[str]) -> tuple[tuple[str, ...], dict[str, float]]:
    """Take the seed and the share of the labels out of words, where they are plain numbers."""
    numbers: dict[str, float] = {}
    rest = []
    for word in words:
        key, _, value = word.partition("=")
        plain = NUMBERS[key].fullmatch(value) if key in NUMBERS and key not in numbers else None
        if plain is None:
            rest.append(word)
        else:
            numbers[key] = int(value) if key == "seed" else float(value)
    return tuple(rest), numbers


def _with_numbers(config: RunConfig, numbers: Mapping[str, float]) -> RunConfig:
    """Give a configuration of its own with these numbers, checked like any other."""
    parts = {group: _own(getattr(config, group)) for group in SCHEMAS if hasattr(config, group)}
    if "data.fraction" in numbers:
        parts["data"] = replace(parts["data"], fraction=numbers["data.fraction"])
    if "seed" in numbers:
        parts["seed"] = int(numbers["seed"])
    return replace(config, **parts)


def _own(part: Any) -> Any:
    """Copy settings, with lists and mappings of their own."""
    made = copy.copy(part)
    for each in fields(made) if is_dataclass(made) else ():
        value = getattr(made, each.name)
        if isinstance(value, list | dict):
            setattr(made, each.name, copy.deepcopy(value))
    return made


def _compose_quickly(words: Sequence[str]) -> RunConfig:
    words = completed(words)
    overrides = parse(words)
    for override in overrides:
        check_word(override)
    check_keys(words)
    groups = tuple(str(item.input_line) for item in overrides if item.key_or_group in SCHEMAS)
    composed = copy.deepcopy(_options_composed(groups))
    try:
        # What Hydra itself does with a value once the files are read.
        for override in overrides:
            if override.key_or_group not in SCHEMAS:
                OmegaConf.update(composed, override.key_or_group, override.value(), merge=True)
        config = OmegaConf.to_object(composed)
    except (OmegaConfBaseException, TypeError, UserError):
        # The slow way ends in the same place, and says what is wrong.
        return compose(words)
    assert isinstance(config, RunConfig)
    return config


def completed(words: Sequence[str]) -> list[str]:
    """Put what Hydra needs in the place of what people write.

    A class of the user's becomes model=python with its settings, and a task with settings of its
    own brings their file.
    """
    words = expand_model_words(words, options("model"))
    parsed = parse(words)
    for override in parsed:
        if override.key_or_group == "task" and not override.is_sweep_override():
            words = with_settings(str(override.value()), words)
    if not any(word.startswith("task_settings=") for word in words):
        for override in parsed:
            if override.key_or_group.startswith("task_settings."):
                raise UserError(
                    "task_settings belong to a task that has some",
                    got=repr(override.input_line),
                    remedy=f"add task={' or task='.join(options('task_settings'))} to the call",
                )
    return list(words)


@lru_cache(maxsize=64)
def _options_composed(groups: tuple[str, ...]) -> DictConfig:
    register_schemas()
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return hydra_compose("config", overrides=list(groups))


def values_of(words: Sequence[str]) -> dict[str, list[Any]]:
    """Read words that may give several values, as `seed=1,2` or `seed=range(1,11)`, by setting."""
    check_keys(words)
    chosen: dict[str, list[Any]] = {}
    for override in parse(words):
        key, value = override.key_or_group, override.value()
        if isinstance(value, Glob) or isinstance(getattr(value, "sweep", None), Glob):
            raise UserError(
                "values are listed one by one",
                got=repr(override.input_line),
                remedy=f"write {key}=a,b",
            )
        if override.is_sweep_override() and override.is_discrete_sweep():
            check_count(override)
            try:
                chosen[key] = [unquoted(item) for item in override.sweep_iterator()]
            except (ValueError, TypeError, OverflowError) as error:
                raise not_values(override, str(error)) from error
        elif key == "model" and isinstance(value, str) and target_of(value) is not None:
            # A class of the user's is looked for when its run is composed.
            chosen[key] = [value]
        else:
            check_word(override)
            chosen[key] = [value]
    return chosen


def check_count(override: Override) -> None:
    """Count the values of a word before they are made: a range may have any number of them."""
    value = override.value()
    if isinstance(value, RangeSweep):
        ends = (value.start, value.stop, value.step)
        if not all(end is not None and math.isfinite(end) for end in ends) or not value.step:
            raise not_values(override, "a range has two ends and a step that is not 0")
        assert value.start is not None and value.stop is not None
        count = max(0, math.ceil((value.stop - value.start) / value.step))
        if not count:
            raise not_values(override, "a range without values")
    else:
        count = len(getattr(value, "list", ()))
    if count > MOST_RUNS:
        raise too_many(count, {override.key_or_group: count})


def not_values(override: Override, why: str) -> UserError:
    """Say that a word lists nothing that can be run."""
    return UserError(
        "values are listed as a,b or as range(first,last+1)",
        got=f"{override.input_line!r} ({why})",
        remedy="write for example seed=1,2,3 or seed=range(1,11)",
    )


def too_many(count: int, factors: Mapping[str, int]) -> UserError:
    """Say how many runs are asked for, and which of the factors makes most of them."""
    most = max(factors, key=factors.__getitem__)
    product = " x ".join(f"{number:,} of {key}" for key, number in factors.items() if number > 1)
    return UserError(
        f"a study may have {MOST_RUNS:,} runs",
        got=f"{count:,} ({product})",
        remedy=f"give {most} fewer values, or ask in several studies",
    )


def unquoted(value: Any) -> Any:
    """Take the quotes off what the grammar leaves quoted: the values of a sweep."""
    match value:
        case QuotedString():
            return value.text
        case list():
            return [unquoted(item) for item in value]
        case dict():
            return {unquoted(key): unquoted(item) for key, item in value.items()}
    return value


@cache
def register_schemas() -> None:
    """Make the dataclasses known to Hydra under the names that conf/ refers to."""
    store = ConfigStore.instance()
    store.store(name="run_schema", node=RunConfig)
    for group, schemas in SCHEMAS.items():
        for name, schema in schemas.items():
            store.store(group=group, name=f"{name}_schema", node=schema)


def multirun(words: Sequence[str], about_the_sweep: Sequence[str] = ()) -> int:
    """Go through Hydra's multirun, with leadline's sweeper as its plugin; give the exit code.

    `about_the_sweep` are words that no run has a setting for: the launcher, and retries.
    """
    register_schemas()

    @hydra_main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")
    def application(config: DictConfig) -> None:
        raise AssertionError("leadline's sweeper composes its runs itself")

    told = ",".join(f"'{word}'" for word in about_the_sweep)
    chosen = ["hydra/sweeper=leadline", f"hydra.sweeper.words=[{told}]"]
    before = sys.argv
    # Hydra's only door for words is the command line of the process.
    sys.argv = ["leadline", "--multirun", *words, *chosen]
    try:
        application()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.argv = before
    return 0


def parse(overrides: Sequence[str]) -> list[Override]:
    """Read the words with Hydra's grammar."""
    return [_parse_word(word) for word in overrides]


# A study's runs have most of their words in common, and the grammar takes a millisecond for each.
@lru_cache(maxsize=4096)
def _parse_word(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(
            "a setting is written key=value, without spaces around '='",
            got=repr(word),
            remedy="write for example model=logreg or data.fraction=0.1; quote values that "
            "hold commas, brackets or spaces: \"data.label='Cell type'\"",
        ) from error


def check_word(override: Override) -> None:
    """Refuse what Hydra's grammar allows but one run cannot use."""
    word = override.input_line or ""
    if override.is_sweep_override():
        raise UserError(
            "one run takes one value for each setting",
            got=repr(word),
            remedy="leadline run --multirun takes several; a list is written [a,b], and a value "
            "with a comma is quoted twice: \"key='a,b'\"",
        )
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise UserError(
            "settings can be changed, not added or deleted",
            got=repr(word),
            remedy=f"write {word.lstrip('+~')} if that setting exists",
        )
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra/", "hydra.")):
        raise UserError(
            "a setting must exist",
            got=repr(key),
            remedy="of Hydra’s own words only hydra/launcher and hydra.launcher are known, and "
            "only where many runs are made: see leadline ablate --help",
        )
    if key in SCHEMAS:
        value = override.value()
        if not isinstance(value, str) or value not in options(key):
            inside = next(iter(value), "name") if isinstance(value, dict) else None
            raise UserError(
                f"{key} must be one of {', '.join(options(key))}",
                got=repr(value),
                remedy=nearest(str(value), options(key))
                if inside is None
                else f"write its settings one by one, as in {key}.{inside}=…",
            )


def check_keys(overrides: Sequence[str]) -> None:
    """Refuse a key that is written twice: the later one would win in silence."""
    seen: dict[str, str] = {}
    for override in parse(overrides):
        key = override.key_or_group
        if key in seen:
            raise UserError(
                "each setting may be given once",
                got=f"{seen[key]!r} and {override.input_line!r}",
                remedy="leave one of them out",
            )
        seen[key] = override.input_line or ""


def explain(error: Exception, overrides: Sequence[str]) -> UserError:
    """Say in one line what Hydra or OmegaConf objects to."""
    chain = [error]
    while chain[-1].__cause__ is not None and isinstance(chain[-1].__cause__, Exception):
        chain.append(chain[-1].__cause__)
    for cause in chain:
        if isinstance(cause, UserError):
            return cause
    for override in parse(overrides):
        unknown = unknown_key(override.key_or_group, overrides)
        if unknown is not None:
            return unknown
    cause = chain[-1]
    # An element of a list is part of the setting that the list is.
    key = str(getattr(cause, "full_key", None) or "a setting").partition("[")[0]
    if isinstance(cause, MissingMandatoryValue):
        return UserError(f"{key} must be given", got="nothing", remedy=f"add {key}=… to the call")
    lines = str(getattr(cause, "msg", None) or cause).strip().splitlines() or ["unknown"]
    wanted = next((words for kind, words in KINDS.items() if f"to {kind}" in lines[0]), None)
    if wanted is None:
        return UserError(
            f"{key} must fit its schema",
            got=received(key, overrides),
            remedy=f"the parser says: {lines[0]}",
        )
    return UserError(
        f"{key} must be {wanted}", got=received(key, overrides), remedy="change the value"
    )


def received(key: str, overrides: Sequence[str]) -> str:
    """Quote the word of the command line that set this key."""
    words = [
        item.input_line
        for item in parse(overrides)
        # What is wrong may lie inside a mapping that a word gives.
        if f"{key}.".startswith(f"{item.key_or_group}.")
    ]
    return repr(words[-1]) if words else "a value from the configuration files"


def unknown_key(key: str, overrides: Sequence[str]) -> UserError | None:
    """Explain a key that no schema holds, or give None when the key exists."""
    head, _, tail = key.partition(".")
    top = [item.name for item in fields(RunConfig)]
    if head not in top:
        return UserError(
            "a setting must exist", got=repr(key), remedy=nearest(key, top + every_key(overrides))
        )
    if not tail:
        return None
    known = every_key(overrides)
    if key in known or head not in SCHEMAS:
        return None
    group = [name for name in known if name.startswith(f"{head}.")]
    return UserError(
        f"{head} must have the setting that is given", got=repr(key), remedy=nearest(key, group)
    )


def every_key(overrides: Sequence[str]) -> list[str]:
    """List the dotted keys of the composition that the chosen groups alone give."""
    chosen = [word for word in overrides if word.partition("=")[0] in SCHEMAS]
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        composed = hydra_compose("config", overrides=chosen)
    return [f"{group}.{name}" for group in SCHEMAS for name in composed[group] or ()]
