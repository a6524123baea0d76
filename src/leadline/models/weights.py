"""Weights from a file into a network, with an account of every one of them.

Files are foreign until they are read: nothing but tensors and plain values is let in, and nothing
is loaded unless the whole body of the network is there, or the configuration names what is not.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leadline.errors import UserError

State = dict[str, Tensor]
Predicate = Callable[[str], bool]

# Under which key a file keeps the weights: ours, scBERT's, Lightning's; a bare dict has none.
HOLDERS = ("network", "model_state_dict", "state_dict", "model")
# What DataParallel and DistributedDataParallel put before every name.
WRAPPER = "module."
NAMES_SHOWN = 3
WANTED = re.compile(r"(?:Unsupported global: )?GLOBAL ([\w.]+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What of a file went into a network, and what did not.

    Attributes
    ----------
    matched
        Names in both, of the same shape: these were loaded.
    missing
        Names of the network that the file does not have.
    unexpected
        Names of the file that the network does not have, or was told to leave.
    wrong_shape
        Names in both whose shapes differ → (shape in the file, shape in the network).
    parameters, parameters_loaded
        Parameters of the network, and how many of them came from the file. Buffers do not count.
    fingerprint
        SHA-256 of the names and values that were loaded.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    wrong_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    parameters: int
    parameters_loaded: int
    fingerprint: str

    def facts(self) -> dict[str, Any]:
        """Give it as the record keeps it."""
        return {
            "matched": len(self.matched),
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "wrong_shape": {
                name: [list(shape) for shape in shapes] for name, shapes in self.wrong_shape.items()
            },
            "parameters_loaded": self.parameters_loaded,
            "share_of_parameters": self.parameters_loaded / max(self.parameters, 1),
            "fingerprint": self.fingerprint,
        }


def read(path: Path) -> State:
    """Read a state dict, ours or a published one, with the names that one process writes.

    Raises
    ------
    UserError
        When the file is not there, is cut off, is no checkpoint, wants to run code, or holds
        weights that are not finite.
    """
    return state_of(unpack(path), path)


def state_of(held: Any, path: Path) -> State:
    """Find the state dict in what a file holds; refuses as `read` does."""
    for holder in HOLDERS:
        if isinstance(held, Mapping) and isinstance(held.get(holder), Mapping):
            held = held[holder]
    if not is_state(held):
        raise UserError(
            f"a checkpoint must hold a state dict, bare or under one of {', '.join(HOLDERS)}",
            got=f"{str(path)!r} with {contents(held)}",
            remedy="name the file that torch.save wrote for the model's weights",
        )
    state = {str(name).removeprefix(WRAPPER): value for name, value in held.items()}
    require_finite(state, path)
    return state


def is_state(held: Any) -> bool:
    """Say whether something maps names to tensors."""
    if not isinstance(held, Mapping) or not held:
        return False
    return all(isinstance(name, str) and isinstance(x, Tensor) for name, x in held.items())


def unpack(path: Path) -> Any:
    """Open a file of torch.save without running anything in it."""
    try:
        with harmless_numbers():
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise refusal("must exist", path, "no such file", "look at the path") from error
    except (IsADirectoryError, PermissionError) as error:
        got = error.strerror or "no readable file"
        raise refusal("must be a file", path, got.lower(), "name the file itself") from error
    except pickle.UnpicklingError as error:
        wanted = WANTED.search(str(error))
        if wanted is None:
            raise not_whole(path) from error
        raise refusal(
            "must hold nothing but tensors and plain values",
            path,
            f"one that calls {wanted.group(1)} when it is opened",
            "do not open it elsewhere; if you trust its maker, ask for the bare state dict",
        ) from error
    except (
        RuntimeError,
        OSError,
        EOFError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
    ) as error:
        raise not_whole(path) from error


def harmless_numbers() -> AbstractContextManager[Any]:
    """Let numpy's numbers in: published files keep losses in them, and they run nothing."""
    scalar, make = np._core.multiarray.scalar, np._core.multiarray._reconstruct  # type: ignore[attr-defined]
    kinds = [type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "?")]
    # Files of numpy 1 know these two under another name.
    old = [(scalar, "numpy.core.multiarray.scalar"), (make, "numpy.core.multiarray._reconstruct")]
    return torch.serialization.safe_globals([scalar, make, np.dtype, np.ndarray, *kinds, *old])


def refusal(rule: str, path: Path, got: str, remedy: str) -> UserError:
    """Word what is wrong with a file."""
    return UserError(f"the checkpoint {str(path)!r} {rule}", got=got, remedy=remedy)


def not_whole(path: Path) -> UserError:
    """Word that a file cannot be read."""
    size = path.stat().st_size
    return refusal(
        "must be a whole file of torch.save",
        path,
        f"{size:,} bytes that are cut off or of another kind",
        "fetch or copy it again, and compare its size with that of the original",
    )


def contents(held: Any) -> str:
    """Say what a file holds instead of weights."""
    if isinstance(held, Mapping):
        shown = ", ".join(map(repr, list(held)[:NAMES_SHOWN])) or "nothing"
        return f"a dict of {shown}{' …' if len(held) > NAMES_SHOWN else ''}"
    return f"a {type(held).__name__}"


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are infinite or no numbers."""
    wrong = [n for n, x in state.items() if x.is_floating_point() and not x.isfinite().all()]
    if wrong:
        raise refusal(
            "must hold finite weights",
            path,
            f"{listed(wrong)} with infinite values or NaN",
            "take an earlier epoch: this one was written after training went wrong",
        )


def load(
    network: nn.Module,
    state: Mapping[str, Tensor],
    *,
    body: Predicate,
    allow: Sequence[str] = (),
    heads: bool = True,
) -> Audit:
    """Copy a state dict into a network, in the network's own precision.

    Parameters
    ----------
    body
        Says of a name whether it must match; the others are heads.
    allow
        Names, or beginnings of names up to a dot, that need not match all the same.
    heads
        Whether heads that match are loaded too; else they keep what they were initialised with.

    Raises
    ------
    UserError
        When the body does not match in full and `allow` does not say so; nothing is loaded then.
    """
    own = network.state_dict()
    audit = compare(network, own, state, lambda name: heads or body(name))
    require_body(audit, body, allow, known={*own, *state})
    with torch.no_grad():
        for name in audit.matched:
            own[name].copy_(state[name])
    return audit


def compare(network: nn.Module, own: State, state: Mapping[str, Tensor], taken: Predicate) -> Audit:
    """Hold a state dict against a network's own; changes neither."""
    both = [name for name in own if name in state and taken(name)]
    matched = [name for name in both if own[name].shape == state[name].shape]
    parameters = {name: p.numel() for name, p in network.named_parameters()}
    return Audit(
        matched=tuple(matched),
        missing=tuple(name for name in own if name not in state or not taken(name)),
        unexpected=tuple(name for name in state if name not in own or not taken(name)),
        wrong_shape={
            name: (tuple(state[name].shape), tuple(own[name].shape))
            for name in both
            if own[name].shape != state[name].shape
        },
        parameters=sum(parameters.values()),
        parameters_loaded=sum(parameters.get(name, 0) for name in matched),
        fingerprint=fingerprint({name: state[name].to(own[name].dtype) for name in matched}),
    )


def require_body(audit: Audit, body: Predicate, allow: Sequence[str], known: Iterable[str]) -> None:
    """Refuse anything but a full match of the body, save for what is allowed by name."""
    known = list(known)
    for word in allow:
        if not any(named(name, word) for name in known):
            raise UserError(
                "model.allow_missing must name weights of the network or of the checkpoint",
                got=repr(word),
                remedy="give names as the state dict has them, or their beginnings up to a dot",
            )
    wrong: list[str] = []
    for what, names in (
        ("missing in the file", audit.missing),
        ("unknown to the network", audit.unexpected),
        ("of another shape", tuple(audit.wrong_shape)),
    ):
        found = [n for n in names if body(n) and not any(named(n, word) for word in allow)]
        if found:
            shown = [with_shapes(name, audit) for name in found]
            wrong.append(f"{len(found)} {what} ({listed(shown)})")
    if wrong:
        raise UserError(
            "a checkpoint must fill the whole body of the network",
            got="; ".join(wrong),
            remedy="choose the size it was made with, or name what may differ in "
            "model.allow_missing=[…]",
        )


def named(name: str, word: str) -> bool:
    """Say whether a word is a name or its beginning up to a dot."""
    return name == word or name.startswith(word.rstrip(".") + ".")


def with_shapes(name: str, audit: Audit) -> str:
    """Name a weight, with both of its shapes where they differ."""
    if name not in audit.wrong_shape:
        return name
    there, here = audit.wrong_shape[name]
    return f"{name} {list(there)} in the file, {list(here)} here"


def listed(names: Sequence[str]) -> str:
    """Show the first few names."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def fingerprint(state: Mapping[str, Tensor]) -> str:
    """Digest names, shapes, precision and values, in whatever order they come."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{list(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return f"sha256:{digest.hexdigest()}"
