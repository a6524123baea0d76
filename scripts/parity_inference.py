"""The crossed test on anyone's arrays: NAME/in/... of an .npz to NAME/out/... of another."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from leadline.errors import UserError
from leadline.stats.crossed import judge
from leadline.stats.published_bounds import accuracy_bounds

OPTIONAL = ("donors", "subset_a", "subset_b")


def main(in_path: str | Path, out_path: str | Path) -> None:
    """Judge every case of a file; nothing is compared here."""
    with np.load(in_path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    found: dict[str, Any] = {}
    for name in case_names(arrays):
        given = _inputs(arrays, name)
        said = _scores_case(given) if "scores_a" in given else _judged_case(name, given)
        # Published scores have no in/ and out/: their results lie beside the inputs, and in out/.
        found |= {f"{name}/out/{key}": np.asarray(value) for key, value in said.items()}
        if "scores_a" in given and f"{name}/scores_a" in arrays:
            found |= {f"{name}/{key}": np.asarray(value) for key, value in said.items()}
    with Path(out_path).open("wb") as file_out:
        np.savez(file_out, **found)


def case_names(arrays: dict[str, np.ndarray]) -> list[str]:
    """Names of the cases, in the order of the file."""
    ends = ("/in/truth", "/in/scores_a", "/scores_a")
    names = [key.removesuffix(end) for key in arrays for end in ends if key.endswith(end)]
    named = [str(x) for x in np.atleast_1d(arrays["names"])] if "names" in arrays else []
    known = [x.removesuffix("/in") for x in names]
    return list(dict.fromkeys([*[x for x in named if x in known], *known]))


def _inputs(arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    start = f"{name}/in/"
    inside = {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
    flat = {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}
    return inside or {k: v for k, v in flat.items() if "/" not in k}


def _judged_case(name: str, given: dict[str, np.ndarray]) -> dict[str, Any]:
    missing = [x for x in ("truth", "preds_a", "preds_b") if x not in given]
    if missing:
        raise UserError(
            f"case {name} must hold truth, preds_a and preds_b",
            got=f"no {', '.join(missing)}",
            remedy=f"write them as {name}/in/{missing[0]}",
        )
    more = {key: given[key] for key in OPTIONAL if key in given and given[key].size}
    return judge(
        given["truth"],
        given["preds_a"],
        given["preds_b"],
        more.pop("donors", None),
        metric=str(given.get("metric", "accuracy")),
        paired=bool(given.get("paired", False)),
        margin=float(given.get("margin", 0.01)),
        **more,
    )


def _scores_case(given: dict[str, np.ndarray]) -> dict[str, Any]:
    said = accuracy_bounds(given["scores_a"], given["scores_b"], int(given["n"]))
    return {name: getattr(said, name) for name in ("p_least", "p_most", "v_cells_most")}


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
