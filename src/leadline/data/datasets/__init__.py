"""Named datasets: embedded, synthetic, the paper's, and anybody's file."""

from __future__ import annotations

from pathlib import Path

from leadline import config
from leadline.data.cells import Cells, read_cells
from leadline.data.datasets.published import PAPER_SETS, check, join, locate
from leadline.data.token_store import MANIFEST, open_store
from leadline.errors import UserError
from leadline.progress import progress


def load(data: config.DataConfig, data_dir: Path) -> Cells:
    """Read, make or find the cells that a configuration names.

    Raises
    ------
    UserError
        When a file is missing, is not what it should be, or holds what no model can use.
    """
    paths = files(data, data_dir)
    if isinstance(data, config.StoreData):
        store = open_store(paths[0].parent)
        return store.cells(data.name, label=data.label, batch=data.batch, split=data.split)
    if isinstance(data, config.PublishedData):
        return load_paper_set(data, paths)
    return read(data, paths[0])


def files(data: config.DataConfig, data_dir: Path) -> list[Path]:
    """Name the files that a configuration is read from; synthetic ones are made on first use.

    Raises
    ------
    UserError
        When the user has to fetch or name a file first.
    """
    match data:
        case config.EmbeddedData():
            return [Path(__file__).parent / "embedded" / f"{data.name}.h5ad"]
        case config.FileData():
            if data.path is None:
                raise UserError(
                    "data=h5ad needs a file", got="no data.path", remedy="add data.path=cells.h5ad"
                )
            return [Path(data.path).expanduser()]
        case config.StoreData():
            if data.path is None:
                raise UserError(
                    "data=store needs a token store",
                    got="no data.path",
                    remedy="add data.path=FOLDER, as leadline store build wrote it",
                )
            return [Path(data.path).expanduser() / MANIFEST]
        case config.ZhengLikeData() | config.MsLikeData():
            path = synthetic_file(data, data_dir)
            if not path.exists():
                make_synthetic(data, path)
            return [path]
        case config.PublishedData():
            return locate(data.name, data.path, data_dir)
    raise AssertionError(f"no dataset for {type(data).__name__}")


def read(data: config.DataConfig, path: Path) -> Cells:
    """Read one file with the columns that the configuration names."""
    return read_cells(
        path,
        name=data.name,
        label=data.label,
        batch=data.batch,
        split=data.split,
        layer=data.layer,
        scale=None if data.scale == "auto" else data.scale,
        gene_column=data.gene_column,
        library_column=data.library_column,
    )


def synthetic_file(data: config.ZhengLikeData | config.MsLikeData, data_dir: Path) -> Path:
    """Name the file of a synthetic dataset."""
    from leadline.data.datasets.synthetic import RECIPE

    shape = "x".join(str(number) for number in synthetic_size(data).values())
    kind = type(data).__name__.removesuffix("Data")
    folder = data_dir.expanduser() / "synthetic"
    return folder / f"{kind}-recipe{RECIPE}-{shape}-seed{data.seed}.h5ad"


def synthetic_size(data: config.ZhengLikeData | config.MsLikeData) -> dict[str, int]:
    """Give what decides the size of a synthetic dataset."""
    if isinstance(data, config.ZhengLikeData):
        return {"n_cells": data.n_cells, "n_genes": data.n_genes}
    return {
        "n_train": data.n_train,
        "n_test": data.n_test,
        "n_genes": data.n_genes,
        "n_classes": data.n_classes,
    }


def make_synthetic(data: config.ZhengLikeData | config.MsLikeData, path: Path) -> None:
    """Write the file of a synthetic dataset."""
    from leadline.data.datasets.synthetic.ms import write_ms_like
    from leadline.data.datasets.synthetic.zheng import write_zheng_like

    path.parent.mkdir(parents=True, exist_ok=True)
    size = synthetic_size(data)
    n_cells = sum(size.get(key, 0) for key in ("n_cells", "n_train", "n_test"))
    write = write_zheng_like if isinstance(data, config.ZhengLikeData) else write_ms_like
    with progress("making synthetic cells", n_cells) as advance:
        done = 0

        def told(now: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        write(path, **size, seed=data.seed, progress=told)


def load_paper_set(data: config.PublishedData, paths: list[Path]) -> Cells:
    """Read the files of one of the paper's datasets and check that they are what they should be."""
    expected = PAPER_SETS[data.name]
    cells = [read(data, path) for path in paths]
    for part, file in zip(cells, expected.files, strict=True):
        check(part, file)
    return cells[0] if len(cells) == 1 else join(*cells, test_genes=data.test_genes)
