"""Arrays from an .npz, with nothing run that a stranger may have put in."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leadline.errors import UserError


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an .npz.

    Raises
    ------
    UserError
        When the file is missing, is none, is cut off, or holds objects that need pickle.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise UserError("the .npz must exist", got=str(path), remedy="look at the path") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(
            "an .npz must hold plain arrays and be whole",
            got=f"{str(path)!r} ({str(error).splitlines()[0] if str(error) else 'no .npz'})",
            remedy="write it again with numpy.savez",
        ) from error
