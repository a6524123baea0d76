"""From a dataset's configuration to its cells."""

from __future__ import annotations

from pathlib import Path

from leadline import config
from leadline.catalog.join import join
from leadline.catalog.paper import PAPER_SETS, check, locate
from leadline.cells import Cells, read_cells
from leadline.errors import UserError
from leadline.progress import progress


def load(data: config.DataConfig, data_dir: Path) -> Cells:
    """Read, make or find the cells that a configuration names.

    Raises
    ------
    UserError
        When a file is missing, is not what it should be, or holds what no model can use.
    """
    match data:
        case config.EmbeddedData():
            return read(data, Path(__file__).parents[1] / "embedded" / f"{data.name}.h5ad")
        case config.FileData():
            if data.path is None:
                raise UserError(
                    "data=h5ad needs a file", got="no data.path", remedy="add data.path=cells.h5ad"
                )
            return read(data, Path(data.path).expanduser())
        case config.ZhengLikeData() | config.MsLikeData():
            return read(data, synthetic_file(data, data_dir))
        case config.PublishedData():
            return load_paper_set(data, data_dir)
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
    """Give the file of a synthetic dataset, making it on first use."""
    from leadline.synthetic import RECIPE, write_ms_like, write_zheng_like

    folder = data_dir.expanduser() / "synthetic"
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(data, config.ZhengLikeData):
        size = {"n_cells": data.n_cells, "n_genes": data.n_genes}
        n_cells = data.n_cells
    else:
        size = {
            "n_train": data.n_train,
            "n_test": data.n_test,
            "n_genes": data.n_genes,
            "n_classes": data.n_classes,
        }
        n_cells = data.n_train + data.n_test
    shape = "x".join(str(number) for number in size.values())
    kind = type(data).__name__.removesuffix("Data")
    path = folder / f"{kind}-recipe{RECIPE}-{shape}-seed{data.seed}.h5ad"
    if path.exists():
        return path
    write = write_zheng_like if isinstance(data, config.ZhengLikeData) else write_ms_like
    with progress("making synthetic cells", n_cells) as advance:
        done = 0

        def told(now: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        write(path, **size, seed=data.seed, progress=told)
    return path


def load_paper_set(data: config.PublishedData, data_dir: Path) -> Cells:
    """Read the files of one of the paper's datasets and check that they are what they should be."""
    expected = PAPER_SETS[data.name]
    cells = [read(data, path) for path in locate(data.name, data.path, data_dir)]
    for part, file in zip(cells, expected.files, strict=True):
        check(part, file)
    return cells[0] if len(cells) == 1 else join(*cells)
