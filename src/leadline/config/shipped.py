"""What ships beside the code: the options of `conf` and the studies of `ablations`."""

from __future__ import annotations

from pathlib import Path


def shipped(folder: str) -> Path:
    """Find `conf` or `ablations`: inside the installed package, else at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    for place in (package / folder, package.parents[1] / folder):
        if place.is_dir():
            return place
    raise RuntimeError(f"this installation of leadline lacks its folder {folder}")


def options(group: str) -> list[str]:
    """Give the names that a group offers, as written on the command line."""
    return sorted(path.stem for path in (shipped("conf") / group).glob("*.yaml"))


def studies() -> list[str]:
    """Give the names of the studies."""
    return sorted(path.stem for path in shipped("ablations").glob("*.yaml"))


def about(path: Path) -> str:
    """Give the comment that a file of `conf` begins with, as one line."""
    said = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        said.append(line.removeprefix("#").strip())
    return " ".join(said)
