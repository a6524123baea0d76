"""Models that leadline does not bring along: a class of the user's, found by its name.

`model=python:module.Class` names it in place; an installed package can give it a short name with
an entry point of the group `leadline.models`. docs/own_model.md shows both.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from leadline.config import registry
from leadline.errors import UserError, nearest

PREFIX = "python:"


@dataclass(frozen=True, slots=True)
class UserClass:
    """A class, the file that holds it, and the digest of that file when it was imported."""

    kind: type
    file: Path
    digest: str


def expand_model_words(words: Sequence[str], known: Sequence[str]) -> list[str]:
    """Replace `model=python:module.Class` and names of entry points by settings; keep the rest.

    `known` are the models that leadline brings along: no other model may take their names.
    """
    said = [word.partition("=")[0] for word in words]
    result = []
    for word in words:
        key, _, value = word.partition("=")
        if value[:1] in ("'", '"') and value[-1:] == value[:1]:
            value = value[1:-1]
        named = None if key != "model" or value in known else target_of(value)
        if named is None:
            result.append(word)
            continue
        name, target = named
        if name in known:
            raise UserError(
                "a model of your own needs a name of its own",
                got=repr(name),
                remedy="leadline has a model of that name; rename the class",
            )
        settings = {"target": target, "source": import_class(target).digest, "name": name}
        result.append("model=python")
        # model.name= may be chosen by the user, for two settings of one class.
        result += [f"model.{k}='{v}'" for k, v in settings.items() if f"model.{k}" not in said]
    return result


def target_of(value: str) -> tuple[str, str] | None:
    """Give the name and `module:Class` behind a value of `model=`, or None if it is neither."""
    if not value.startswith(PREFIX):
        row = registry.installed().get(value)
        return None if row is None else (value, row.model)
    path = value.removeprefix(PREFIX)
    module, colon, kind = path.partition(":") if ":" in path else path.rpartition(".")
    if not (colon and kind.isidentifier() and all(map(str.isidentifier, module.split(".")))):
        raise UserError(
            "model=python: is followed by a module and a class",
            got=repr(value),
            remedy="for class Mine in my_model.py write model=python:my_model.Mine",
        )
    return kind, f"{module}:{kind}"


@functools.cache
def import_class(target: str) -> UserClass:
    """Import a class; kept, so that the digest stays that of the code which this process runs."""
    module_name, _, name = target.partition(":")
    # As for `python -m`, but last: a file random.py in this folder must not replace Python's own.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    module = imported(module_name)
    kind = getattr(module, name, None)
    classes = [key for key, value in vars(module).items() if inspect.isclass(value)]
    if not inspect.isclass(kind):
        raise UserError(
            f"{module_name} must hold the class that model= names",
            got=f"{name!r}, which is {'no class' if kind is not None else 'not in it'}",
            remedy=nearest(name, classes),
        )
    lacking = [method for method in ("fit", "predict_proba") if not hasattr(kind, method)]
    if lacking and not hasattr(kind, "embed"):
        raise UserError(
            "a model has the methods fit(X, y) and predict_proba(X)",
            got=f"{name} without {' and '.join(lacking)}",
            remedy="docs/own_model.md shows an example of a few lines",
        )
    file = Path(getattr(sys.modules[kind.__module__], "__file__", None) or str(module.__file__))
    return UserClass(kind, file, f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")


def imported(name: str) -> ModuleType:
    """Import a module, or say in one line why it cannot be."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise UserError(
                "the module of a model must be found",
                got=f"{name!r}, which is neither in {Path.cwd()} nor installed",
                remedy="start leadline in the folder that holds it, or install it",
            ) from error
        raise broken(name, error) from error
    except Exception as error:
        raise broken(name, error) from error


def broken(name: str, error: Exception) -> UserError:
    """Say what a module raised when it was imported, and where."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return UserError(
        "the module of a model must be importable",
        got=f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})",
        remedy=f"make `python -c 'import {name}'` work in this environment",
    )
