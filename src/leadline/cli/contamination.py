"""`leadline contamination`: whether a pretrained model has seen the reported cells."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leadline import files as atomic
from leadline.cli.claims import require_folder_of
from leadline.cli.live_table import aligned
from leadline.config import DataConfig, FileData
from leadline.config.compose import compose, options
from leadline.config.corpora import (
    MEANINGS,
    Seen,
    SeenLevel,
    by_date,
    corpora,
    corpus_of,
    stated,
)
from leadline.data.overlap import (
    MOST_FALSE,
    CellOverlap,
    OverlapComparison,
    TargetCells,
    compare,
    corpus_files,
    read_target,
)
from leadline.errors import GOOD, UserError, nearest
from leadline.progress import say
from leadline.runs import record, records

REGISTRY = "registry"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedData:
    """The data set that was named: its settings, its place, and its name in the registry."""

    config: DataConfig
    data_dir: Path
    name: str | None


def call(chosen: argparse.Namespace) -> int:
    """Print what is known, and on what it rests."""
    data = named(chosen.data, chosen.overrides)
    if chosen.model:
        # A misspelt name is told before anything is read.
        corpus_of(chosen.model)
    if chosen.out is not None:
        require_folder_of(chosen.out)
    if REGISTRY in chosen.corpus:
        if len(chosen.corpus) > 1 or chosen.run or chosen.out:
            raise UserError(
                "--corpus registry compares no cells",
                got="other corpora, --run or --out beside it",
                remedy="leave them out, or name the corpus itself",
            )
        found = by_registry(data, chosen)
        print(json.dumps(found) if chosen.json else "\n".join(registry_lines(found)))
        return GOOD
    parts = [
        part
        for path in chosen.corpus
        for part in corpus_files(Path(path).expanduser(), chosen.corpus_layer, chosen.corpus_genes)
    ]
    target, which = reported(read_target(data.config, data.data_dir, chosen.dataset_id), chosen)
    found_cells = compare(target, parts)
    seen = judged(found_cells, data, chosen)
    if chosen.out is not None:
        atomic.write_text(chosen.out, as_csv(target, found_cells))
    if chosen.json:
        print(json.dumps(as_json(found_cells, seen, data, chosen, which)))
    else:
        names = ", ".join(chosen.corpus)
        print("\n".join(lines(found_cells, seen, f"{which} of {chosen.data}", names)))
        for note in target.notes:
            say(note)
    return GOOD


def named(name: str, words: Sequence[str]) -> ReportedData:
    """Find a dataset by its name, or a file."""
    wrong = next((word for word in words if not word.startswith(("data.", "data_dir="))), None)
    if wrong is not None:
        raise UserError(
            "settings of the data are data.KEY=VALUE",
            got=repr(wrong),
            remedy="options of the command begin with --; see leadline contamination --help",
        )
    if name in options("data") and name != "h5ad":
        config = compose([f"data={name}", *words])
        return ReportedData(config=config.data, data_dir=Path(config.data_dir), name=name)
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            "DATA must be a file or the name of a dataset",
            got=repr(name),
            remedy=nearest(name, options("data")),
        )
    config = compose(["data=h5ad", *words])
    assert isinstance(config.data, FileData)
    config.data.path = str(path)
    return ReportedData(config=config.data, data_dir=Path(config.data_dir), name=None)


def reported(target: TargetCells, chosen: argparse.Namespace) -> tuple[TargetCells, str]:
    """Keep the reported cells: those of a record, of the file's own test part, or all."""
    if chosen.run is None:
        given_C = target.cells.given_C
        if given_C is None:
            return target, "all cells"
        return target.take(np.flatnonzero(given_C == "test")), "the test cells"
    folder = records.find_run(chosen.run, chosen.runs)
    if not (folder / record.PREDICTIONS).is_file():
        raise UserError(
            "--run must name a finished run that reported cells",
            got=f"{folder.name} without {record.PREDICTIONS}",
            remedy="name another one, or leave --run out",
        )
    parts, _ = record.read_predictions(folder)
    rows = np.flatnonzero(np.isin(target.cells.ids, parts["test"].ids))
    if not len(rows):
        raise UserError(
            "--run must have reported cells of DATA",
            got=f"none of the {len(parts['test'].ids):,} cells that {folder.name} reported",
            remedy="name the data of that run",
        )
    return target.take(rows), f"the cells reported by {folder.name}"


def by_registry(data: ReportedData, chosen: argparse.Namespace) -> dict[str, Any]:
    """Say of each model of the registry, or of one, what it is said to have seen."""
    models = [corpus_of(chosen.model)] if chosen.model else list(corpora().values())
    rows = []
    for corpus in models:
        seen = stated(corpus, data.name, public=chosen.public, closed=chosen.closed)
        closed = None if corpus.closed is None else str(corpus.closed)
        rows.append(
            {
                "model": corpus.model,
                "title": corpus.title,
                "level": str(seen.level),
                "why": seen.why,
                "corpus": corpus.corpus,
                "closed": closed,
                "source": corpus.source.strip(),
            }
        )
    return {"data": data.name or str(chosen.data), "models": rows}


def registry_lines(found: dict[str, Any]) -> list[str]:
    """Tell each model's level, and explain those that occur."""
    rows = [(row["model"], row["level"], row["why"]) for row in found["models"]]
    levels = [level for level in SeenLevel if level in {row[1] for row in rows}]
    meant = [f"{level}: {MEANINGS[level]}" for level in levels]
    return [f"has it seen {found['data']}?", *aligned(rows, indent="  "), *meant]


def judged(found: CellOverlap, data: ReportedData, chosen: argparse.Namespace) -> Seen:
    """Say which level holds: what compares cells comes before what others say."""
    total = found.n_cells
    if found.counts.seen:
        return Seen(
            level=SeenLevel.HASH,
            why=f"{found.counts.seen:,} of {total:,} cells have the counts of a cell of the corpus",
        )
    if found.join_ids.seen:
        return Seen(
            level=SeenLevel.ACCESSION,
            why=f"{found.join_ids.seen:,} of {total:,} cells have data set and join id of a cell "
            "of the corpus",
        )
    if found.top_genes.seen > MOST_FALSE * found.top_genes.judged:
        return Seen(
            level=SeenLevel.ACCESSION,
            why=f"{found.top_genes.seen:,} of {total:,} cells have the most expressed genes of a "
            "cell of the corpus",
        )
    if chosen.model:
        return stated(
            corpus_of(chosen.model), data.name, public=chosen.public, closed=chosen.closed
        )
    said = by_date(chosen.public, chosen.closed, "the corpus")
    if said.level is SeenLevel.DATE:
        return said
    compared = "none was found in what was compared, which need not be all of the corpus"
    return Seen(level=SeenLevel.UNKNOWN, why=f"{compared}; {said.why}")


def ways(found: CellOverlap) -> dict[str, OverlapComparison]:
    """Name the ways of comparing."""
    return {"counts": found.counts, "top genes": found.top_genes, "join ids": found.join_ids}


def lines(found: CellOverlap, seen: Seen, data: str, corpus: str) -> list[str]:
    """Tell for people what each way of comparing found."""
    rows = []
    for name, each in ways(found).items():
        if each.why_not:
            rows.append((f"by {name}", f"not compared: {each.why_not}"))
            continue
        said = f"{each.seen:,} of {each.judged:,} cells ({each.seen / max(each.judged, 1):.2%})"
        if name == "top genes":
            said += f"; of {found.n_shuffled:,} shuffled cells {found.false_share:.2%}"
        few = found.n_cells - each.judged
        rows.append((f"by {name}", said + (f"; {few:,} cells cannot be judged" if few else "")))
    return [
        f"{data}: {found.n_cells:,} cells looked for among {found.corpus_cells:,} of {corpus}",
        *(f"  {note}" for note in found.notes),
        *aligned(rows, indent="  "),
        f"{seen}",
        f"{seen.level}: {MEANINGS[seen.level]}",
    ]


def as_json(
    found: CellOverlap, seen: Seen, data: ReportedData, chosen: argparse.Namespace, which: str
) -> dict[str, Any]:
    """Give the same as plain values."""
    compared: dict[str, Any] = {
        name.replace(" ", "_"): {
            "seen": each.seen,
            "judged": each.judged,
            "share": each.seen / each.judged if each.judged else None,
            "why_not": each.why_not or None,
        }
        for name, each in ways(found).items()
    }
    compared["top_genes"] |= {
        "least_agreement": found.threshold,
        "false_share": found.false_share,
        "shuffled_cells": found.n_shuffled,
    }
    return {
        "data": data.name or str(chosen.data),
        "which": which,
        "cells": found.n_cells,
        "corpus": list(chosen.corpus),
        "corpus_cells": found.corpus_cells,
        "level": str(seen.level),
        "why": seen.why,
        "by": compared,
        "notes": list(found.notes),
    }


def as_csv(target: TargetCells, found: CellOverlap) -> str:
    """Lay out a row for each cell: 1 seen, 0 not seen, empty where it could not be judged."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["cell", *(name.replace(" ", "_") for name in ways(found))])
    columns = [
        np.where(each.judged_C, each.seen_C.astype(int).astype(str), "")
        for each in ways(found).values()
    ]
    writer.writerows(zip(target.cells.ids.tolist(), *(c.tolist() for c in columns), strict=True))
    return text.getvalue()
