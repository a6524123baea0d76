"""Columns of obs: labels, batches, the split that a file brings, and the names of the cells.

Shapes: C cells, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leadline.data.cells.limits import check_lengths
from leadline.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas as pd

# What R, pandas and numpy write for a missing value when a column becomes text.
MISSING = frozenset({"", "nan", "NaN", "NA", "<NA>"})
PARTS = {
    "train": "train",
    "training": "train",
    "reference": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "query": "test",
    "heldout": "test",
}


def column_of(obs: pd.DataFrame, option: str, column: str) -> pd.Series:
    """Take a column of obs that an option names, or list those that there are."""
    if column in obs:
        return obs[column]
    names = sorted(map(str, obs.columns))
    listed = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    known = nearest(column, names)
    if known.startswith("did you mean"):
        known = f"{known} The columns are {listed}"
    raise UserError(
        f"{option} must name a column of obs",
        got=f"{column}, which is not one of its {len(names)}",
        remedy=known,
    )


def labels_of(obs: pd.DataFrame, column: str) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Turn a column into class indices and the sorted names of the classes that occur."""
    series = column_of(obs, "data.label", column)
    _check_few_values(series, column)
    words_C = _words(series, "data.label", column)
    classes, labels_C = np.unique(words_C, return_inverse=True)
    return labels_C.astype(np.int32), tuple(classes.tolist())


def batches_of(obs: pd.DataFrame, column: str) -> NDArray[np.str_]:
    """Turn a column into the name of each cell's batch."""
    return _words(column_of(obs, "data.batch", column), "data.batch", column)


def parts_of(obs: pd.DataFrame, column: str) -> NDArray[np.str_]:
    """Turn a column into "train", "validation" and "test", whatever the file calls them."""
    words_C = _words(column_of(obs, "data.split", column), "data.split", column)
    words, index_C = np.unique(words_C, return_inverse=True)
    parts = [PARTS.get(word.strip().lower(), "") for word in words.tolist()]
    unknown = [word for word, part in zip(words.tolist(), parts, strict=True) if not part]
    if unknown:
        shown = ", ".join(unknown[:6]) + (", ..." if len(unknown) > 6 else "")
        raise UserError(
            f"data.split={column} may hold only {', '.join(PARTS)}",
            got=f"{len(unknown):,} other values ({shown})",
            remedy="rename them in that column or name another one",
        )
    for part in ("test", "train"):
        if part not in parts:
            raise UserError(
                f"data.split={column} must give some cells to {part}",
                got=f"only {', '.join(words.tolist())} for {words_C.size:,} cells",
                remedy=f"call the cells of that part {part}, or leave data.split out",
            )
    return np.array(parts, dtype=np.str_)[index_C]


def ids_of(obs: pd.DataFrame) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Name every cell once: repeated names get -1, -2, ... in the order of the file."""
    return unique_ids(obs.index.astype(str).tolist())


def unique_ids(names: list[str]) -> tuple[NDArray[np.str_], tuple[str, ...]]:
    """Append -1, -2, ... to repeated names, in place; give them, and a note if any were."""
    taken = set(names)
    if len(taken) == len(names):
        return np.array(names, dtype=np.str_), ()
    seen: set[str] = set()
    next_number: dict[str, int] = {}
    changed = 0
    for row, name in enumerate(names):
        if name in seen:
            number = next_number.get(name, 1)
            while f"{name}-{number}" in taken:
                number += 1
            next_number[name] = number + 1
            names[row] = f"{name}-{number}"
            taken.add(names[row])
            changed += 1
        seen.add(name)
    note = f"{changed:,} of {len(names):,} cell names were repeated and got a number appended"
    return np.array(names, dtype=np.str_), (note,)


def _words(series: pd.Series, option: str, column: str) -> NDArray[np.str_]:
    """Give texts for all cells; whole numbers without a decimal point; nothing missing."""
    import pandas as pd

    missing_C = series.isna().to_numpy(dtype=bool)
    if pd.api.types.is_float_dtype(series.dtype) and not missing_C.any():
        whole = bool((series == series.round()).all())
        series = series.astype("int64") if whole and series.abs().max() < 2**53 else series
    words = series.astype(str)
    missing_C |= words.str.strip().isin(MISSING).to_numpy(dtype=bool)
    if missing_C.any():
        first = str(series.index[int(np.flatnonzero(missing_C)[0])])
        raise UserError(
            f"{option}={column} must have a value for every cell",
            got=f"{missing_C.sum():,} of {missing_C.size:,} cells without one (first: {first})",
            remedy="fill them in, remove those cells, or name another column",
        )
    check_lengths(words.unique(), f"{option}={column}")
    return words.to_numpy(dtype=np.str_)


def _check_few_values(series: pd.Series, column: str) -> None:
    """Refuse measurements and identifiers: labels are few."""
    import pandas as pd

    n_cells, n_values = len(series), int(series.nunique())
    numeric = pd.api.types.is_numeric_dtype(series.dtype)
    numeric = numeric and not pd.api.types.is_bool_dtype(series.dtype)
    values = series.dropna()
    fractions = numeric and bool((values != values.round()).any())
    many = n_values > 200 if numeric else False
    if (fractions and n_values > 20) or many or (n_cells >= 20 and n_values > n_cells / 2):
        what = "numbers" if numeric else "texts"
        raise UserError(
            "data.label must name a column of classes",
            got=f"{column} with {n_values:,} different {what} in {n_cells:,} cells",
            remedy="name the column that holds the cell types",
        )
