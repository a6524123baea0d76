"""Damage what leadline reads, in seeded ways, and count what falls: docs/reliability.md.

Each case is read in a process that is killed after 20 s and may hold 2 GiB. A line for the user is
as good as a result; a traceback, a hang or too much memory is a fall. Prints JSON.

    python scripts/fuzz.py --cases 10000 --seed 1
    python scripts/fuzz.py --door h5ad --only 17 --seed 1      one case, with its traceback
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy import sparse

SECONDS, GIB = 20, 2 << 30
TEXTS = ("", "x", "NaN", "☃" * 40, "a\0b", "=1+1", "-1", "1e999", "[" * 2000, "y" * 20_000, "../x")
NUMBERS = (0, 1, -1, 3, 2**31, 2**63 - 1, 10**18, -(2**40))


def cells() -> tuple[sparse.csr_array, list[str], list[str], list[str]]:
    """Make counts of 60 cells of three classes in 30 genes, and their names."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, size=(60, 30)) + (np.arange(30) == 0)
    labels = [f"type {at % 3}" for at in range(60)]
    matrix = sparse.csr_array(counts.astype(np.float32))
    return matrix, labels, [f"cell{at}" for at in range(60)], [f"GENE{at}" for at in range(30)]


def make_h5ad(path: Path) -> None:
    """Write an AnnData file with a layer, raw, obsm and columns of each kind."""
    import anndata
    import pandas as pd

    matrix, labels, ids, genes = cells()
    obs = pd.DataFrame({"ct": pd.Categorical(labels), "n": np.arange(60.0)}, index=ids)
    obs["text"] = [f"t{at % 4}" for at in range(60)]
    adata = anndata.AnnData(X=matrix, obs=obs, var=pd.DataFrame({"s": genes}, index=genes))
    adata.layers["dense"] = matrix.toarray()
    adata.layers["csc"] = matrix.tocsc()
    adata.obsm["X_pca"] = np.ones((60, 2))
    adata.raw = adata
    adata.write_h5ad(path)


def make_tenx_h5(path: Path) -> None:
    """Write a 10x v3 file."""
    matrix, _, ids, genes = cells()
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        for name, values in (("data", matrix.data.astype(int)), ("indices", matrix.indices),
                             ("indptr", matrix.indptr), ("shape", np.array([30, 60]))):  # fmt: skip
            group[name] = values
        group["barcodes"] = np.array(ids, dtype="S")
        for name, values in (("id", genes), ("name", genes),
                             ("feature_type", ["Gene Expression"] * 30)):  # fmt: skip
            group[f"features/{name}"] = np.array(values, dtype="S")
    obs_table(path.parent)


def obs_table(folder: Path) -> None:
    """Write the table of cells beside 10x data."""
    _, labels, ids, _ = cells()
    rows = [f"{name},{label}" for name, label in zip(ids, labels, strict=True)]
    (folder / "obs.csv").write_text("\n".join(["barcode,ct", *rows]) + "\n")


def make_folder(folder: Path) -> None:
    """Write a 10x folder."""
    matrix, _, ids, genes = cells()
    folder.mkdir()
    entries = matrix.tocoo()
    lines = ["%%MatrixMarket matrix coordinate integer general", f"30 60 {entries.nnz}"]
    rows = zip(entries.col, entries.row, entries.data, strict=True)
    lines += [f"{g + 1} {c + 1} {int(v)}" for g, c, v in rows]
    (folder / "matrix.mtx").write_text("\n".join(lines) + "\n")
    (folder / "barcodes.tsv").write_text("\n".join(ids) + "\n")
    (folder / "features.tsv").write_text("".join(f"{g}\t{g}\tGene Expression\n" for g in genes))
    obs_table(folder)


def damage_bytes(path: Path, rng: random.Random) -> None:
    """Flip, cut, double or replace bytes."""
    content = bytearray(path.read_bytes())
    kind = rng.randrange(5)
    at = rng.randrange(max(1, len(content)))
    if kind == 0 or not content:
        content = content[:at]
    elif kind == 1:
        for _ in range(rng.choice((1, 4, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 2:
        content[at : at + rng.choice((1, 8, 512))] = bytes(rng.choice((1, 8, 512)))
    elif kind == 3:
        content[at:at] = content[: rng.randrange(600)]
    else:
        content[at : at + 8] = rng.choice(NUMBERS).to_bytes(8, "little", signed=True)
    path.write_bytes(content)


def damage_hdf5(path: Path, rng: random.Random) -> None:
    """Delete, replace, link or inflate one part of an HDF5 file, or an attribute of it."""
    # What HDF5 itself refuses to write is no case; the file stays as far as it was changed.
    refused = (ValueError, TypeError, OSError, KeyError, RuntimeError)
    with contextlib.suppress(*refused), h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        node = file[name]
        kind = rng.randrange(10)
        if kind == 0:
            del file[name]
        elif kind == 1 and node.attrs:
            del node.attrs[rng.choice(list(node.attrs))]
        elif kind == 2:
            key = rng.choice([*node.attrs, "encoding-type", "shape", "column-order", "_index"])
            value: Any = rng.choice(
                (*TEXTS[:4], *NUMBERS, [1], [1, 2, 3], [-5, 3], [10**15, 10**15])
            )
            node.attrs[key] = value
        elif kind == 3:
            del file[name]
            file[name] = h5py.SoftLink(rng.choice(("/nothing", "/obs", "/", f"/{name}")))
        elif kind == 4:
            del file[name]
            file[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "other.h5")), "/x")
        elif kind == 5:
            parent = node.parent.name
            del file[name]
            file[name] = file[parent]
        elif kind == 6:
            del file[name]
            shape = rng.choice(
                ((10**13,), (60, 10**9), (10**7, 30), (60,), (), (0, 0), (60, 30, 2))
            )
            options = {"chunks": True} if shape and 0 not in shape else {}
            file.create_dataset(name, shape=shape, dtype=rng.choice(("f4", "i8", "S3")), **options)
        elif kind == 7:
            del file[name]
            text = rng.choice(TEXTS).replace("\0", "") * rng.choice((1, 1, 1, 50))
            file[name] = rng.choice(([text] * 60, text, [text] * 30))
        elif kind == 8 and isinstance(node, h5py.Dataset) and node.size and node.ndim == 1:
            values = node[()]
            try:
                values[rng.randrange(len(values))] = rng.choice((*NUMBERS, float("nan")))
            except (ValueError, OverflowError, TypeError):
                values = values[: rng.randrange(len(values))]
            attributes = dict(node.attrs)
            del file[name]
            file[name] = values
            for key, value in attributes.items():
                file[name].attrs[key] = value
        else:
            del file[name]
            zeros = np.zeros(rng.choice((10, 60, 10**7)), rng.choice(("i8", "f4", "u1")))
            file.create_dataset(name, data=zeros, compression="gzip", chunks=True)


def damage_lines(path: Path, rng: random.Random) -> None:
    """Change one line or one field of a text."""
    lines = path.read_text().split("\n")
    at = min(rng.choice((0, 1, 2, rng.randrange(len(lines)))), len(lines) - 1)
    fields = lines[at].replace("\t", " ").replace(",", " ").split(" ")
    kind = rng.randrange(6)
    if kind == 0:
        del lines[at]
    elif kind == 1:
        lines[at] = rng.choice(TEXTS)
    elif kind == 2:
        old = rng.choice(fields) or " "
        lines[at] = lines[at].replace(old, str(rng.choice((*TEXTS, *NUMBERS))), 1)
    elif kind == 3:
        lines.insert(at, lines[rng.randrange(len(lines))])
    elif kind == 4:
        lines[at] = lines[at] * rng.choice((2, 500))
    else:
        lines = lines[:at]
    path.write_bytes("\n".join(lines).encode(rng.choice(("utf-8", "utf-16", "utf-8")), "replace"))
    if rng.random() < 0.1:
        packed = gzip.compress(path.read_bytes())
        path.write_bytes(packed[: rng.randrange(len(packed))])
        path.rename(path.with_name(path.name + ".gz"))


# A door: what is written into an empty folder for a case, and what reads it.
Door = tuple[Callable[[Path, random.Random, Path], Any], Callable[[Any], None]]


def read_file(path: Path) -> None:
    """Read cells with their labels, and each other matrix of the file."""
    from leadline.data.cells import read_cells

    for layer in (None, "dense", "csc", "raw"):
        with contextlib.suppress(Exception) if layer else contextlib.nullcontext():
            read_cells(path, name="x", label="ct", layer=layer)
        if path.suffix != ".h5ad":
            break


def case_h5ad(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage an h5ad."""
    path = folder / "cells.h5ad"
    shutil.copy(originals / "cells.h5ad", path)
    rng.choice((damage_hdf5, damage_hdf5, damage_bytes))(path, rng)
    return path


def case_tenx(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage a 10x .h5 or the table beside it."""
    path = folder / "tenx.h5"
    shutil.copy(originals / "tenx.h5", path)
    shutil.copy(originals / "obs.csv", folder / "obs.csv")
    kind = rng.randrange(4)
    damage = (damage_hdf5, damage_hdf5, damage_bytes, damage_lines)[kind]
    damage(folder / "obs.csv" if kind == 3 else path, rng)
    return path


def case_folder(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage one file of a 10x folder."""
    path = folder / "tenx"
    shutil.copytree(originals / "tenx", path)
    damage = rng.choice((damage_lines, damage_lines, damage_bytes))
    damage(path / rng.choice(("matrix.mtx", "barcodes.tsv", "features.tsv", "obs.csv")), rng)
    return path


def case_npz(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage positions of cells."""
    path = folder / "positions.npz"
    np.savez_compressed(path, ids=np.array(cells()[2]), embedding=np.ones((60, 2)))
    damage_bytes(path, rng)
    return path


def read_positions(path: Path) -> None:
    """Read positions of cells."""
    from leadline.data.embeddings import read_npz

    read_npz(path, np.array(cells()[2]))


def case_checkpoint(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage released weights."""
    path = folder / "weights.pt"
    shutil.copy(originals / "weights.pt", path)
    damage_bytes(path, rng)
    return path


def read_checkpoint(path: Path) -> None:
    """Read released weights."""
    from leadline.models.weights import read

    read(path)


WORDS = (
    *("seed", "model", "data", "data.path", "data.label", "data.fraction", "task", "train.epochs"),
    *("hydra", "hydra/launcher", "hydra.launcher.n_jobs", "hydra/sweeper", "retries", "tracker"),
    *("protocol", "protocol.folds", "model.C", "runs_dir", "train", "task_settings", "~seed"),
    *("+x", "++seed", "seed@x", "study", "launcher", "data_dir", "model.pretrained"),
)
VALUES = (
    *TEXTS, *map(str, NUMBERS), "nan", "inf", "null", "true", "1.5", "[1]", "{a: 1}", "1,2", "a,b",
    "range(1,5)", "range(1,5,0)", "range(1,1000000000)", "glob(*)", "choice(1,2)", "interval(0,1)",
    "${seed}", "${oc.env:HOME}", "${nothing}", "'", '"', "logreg", "h5ad", "pretrain", "local",
    "shuffle(range(1,9))", "int(3)", "sort(3,1)", "python:os.system", "python:", "/dev/zero", "/",
)  # fmt: skip


def case_words(folder: Path, rng: random.Random, originals: Path) -> list[str]:
    """Make words of a command line."""
    count = rng.choice((1, 1, 2, 3))
    return [f"{rng.choice(WORDS)}={rng.choice(VALUES)}" for _ in range(count)]


def read_words(words: list[str]) -> None:
    """Compose one run, list the runs of words, and separate those about the sweep."""
    from leadline.cli.ablate import parse_words
    from leadline.config.compose import compose
    from leadline.errors import UserError
    from leadline.studies.expand import varied

    for read in (compose, varied, parse_words):
        with contextlib.suppress(UserError):
            read(words)


STUDY = """question: does it?
base: {data: pbmc68k_reduced, train.epochs: 1}
by_size: [{below: 3000, settings: {train.epochs: 2}}, {settings: {}}]
arms:
  reference: {model: logreg}
  other: {model: mlp, also: {}}
grid: {seed: [1, 2], data.fraction: [0.5, 1.0]}
compare: {family: f, tests: [crossed], metrics: [accuracy], equivalence_margin: 0.01}
looks: null
report: false
"""
IN_A_STUDY = ("[]", "{}", "0", "null", "[[]]", "{a: [1]}", "&a [*a]", "range(1,9)", ".nan", "'@x'",
              "[1, 1]", "!!python/object:os.x {}", "2001-01-01", "-", "? a", "*a")  # fmt: skip


def case_study(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Change one value of a study's file."""
    text, path = STUDY, folder / "study.yaml"
    for _ in range(rng.choice((1, 1, 2))):
        pieces = [word for word in text.replace(",", " ").split() if len(word) > 1]
        text = text.replace(rng.choice(pieces), rng.choice((*IN_A_STUDY, *TEXTS)), 1)
    if rng.random() < 0.1:
        levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12))
        text = f"l0: &l0 [x]\n{levels}\n"
    path.write_bytes(text.encode("utf-8", "replace"))
    return path


def read_study(path: Path) -> None:
    """Read a study and list its runs."""
    from leadline.studies import expand, read

    expand(read(str(path)), [])


def case_record(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage one file of one of four records; seal half of them again."""
    runs = folder / "runs"
    shutil.copytree(originals / "runs", runs)
    record = sorted(each for each in runs.iterdir() if (each / "DONE").exists())[1]
    path = record / rng.choice(("record.json", "DONE", "predictions.npz", "config.yaml"))
    if path.name == "record.json" and rng.random() < 0.7:
        facts = json.loads(path.read_text())
        owner = facts
        while isinstance(owner, dict) and owner:
            key = rng.choice(sorted(owner))
            if not isinstance(owner[key], dict) or rng.random() < 0.4:
                values = (None, 7.3, -1, "text", [], {}, True, 1e308, [1], {"a": 1})
                owner[key] = rng.choice(values)
                break
            owner = owner[key]
        path.write_text(json.dumps(facts))
    elif rng.random() < 0.1:
        path.unlink()
    else:
        damage_bytes(path, rng)
    if rng.random() < 0.6 and path.name != "DONE" and path.exists():
        from leadline.runs.seal import digests

        (record / "DONE").write_text(json.dumps({"sha256": digests(record)}))
    return runs


def read_records(runs: Path) -> None:
    """List records, show the damaged one, gather what a report needs, and estimate."""
    from leadline.cli.list import listed
    from leadline.cli.show import shown
    from leadline.report.compare.study import comparisons
    from leadline.report.frame import frame
    from leadline.report.study import gather
    from leadline.runs.records import find_records, read_done
    from leadline.studies.estimate import fit_estimator

    listed("runs", runs)
    for folder in find_records(runs):
        shown(folder)
    frame(read_done(runs))
    for study in gather(runs, (), 0.01):
        comparisons(study)
    fit_estimator(runs, [])


PAPER = """<?xml version="1.0"?><article><front><article-meta><title-group>
<article-title>T</article-title>
</title-group></article-meta></front><body><sec><title>Results</title><p>scBERT reached 0.80
accuracy, 3 points above 0.77 (p = 0.01).</p><table-wrap><label>Table 1</label><table><tr>
<th>a</th>
<th colspan="2">b</th></tr><tr><td>1.0</td><td>2 ± 1</td><td>3</td></tr></table></table-wrap></sec>
</body></article>"""


def case_paper(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Damage a paper."""
    path = folder / "paper.xml"
    path.write_text(PAPER)
    rng.choice((damage_bytes, damage_lines))(path, rng)
    return path if path.exists() else folder / "paper.xml.gz"


def read_paper(path: Path) -> None:
    """Read a paper."""
    from leadline.papers.drafts.read import read_paper as read

    read(path)


def case_path(folder: Path, rng: random.Random, originals: Path) -> Path:
    """Make a path that is no file of cells."""
    path = folder / "x.h5ad"
    kind = rng.randrange(8)
    if kind == 0:
        path.symlink_to("x.h5ad")
    elif kind == 1:
        return folder / ("x" * rng.choice((256, 5000)))
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        return Path(rng.choice(("/dev/zero", "/dev/null", "/", "", "~", "\n")))
    elif kind == 5:
        path.write_bytes(b"")
    elif kind == 6:
        path.symlink_to("/nowhere")
    else:
        (folder / "f").write_text("")
        return folder / "f" / "x.h5ad"
    return path


def read_path(path: Path) -> None:
    """Take a path through each command that is given one."""
    from leadline import cli

    for words in (
        ["doctor", str(path)],
        ["run", "model=majority", "data=h5ad", f"data.path={path}", "data.label=ct"],
        ["plan", f"{path}.yaml"],
        ["list", "runs", "--runs", str(path)],
        ["report", "--runs", str(path)],
        ["claims", "draft", str(path)],
        ["predict", "--run", str(path), "--cells", str(path), "--out", f"{path}/x.csv"],
    ):
        with contextlib.suppress(SystemExit):
            cli.main(words)


DOORS: dict[str, Door] = {
    "h5ad": (case_h5ad, read_file),
    "tenx_h5": (case_tenx, read_file),
    "tenx_folder": (case_folder, read_file),
    "npz": (case_npz, read_positions),
    "checkpoint": (case_checkpoint, read_checkpoint),
    "words": (case_words, read_words),
    "study": (case_study, read_study),
    "record": (case_record, read_records),
    "paper": (case_paper, read_paper),
    "path": (case_path, read_path),
}


def make_originals(folder: Path) -> None:
    """Write one whole file for each door."""
    import torch

    from leadline import cli

    make_h5ad(folder / "cells.h5ad")
    make_tenx_h5(folder / "tenx.h5")
    make_folder(folder / "tenx")
    torch.save(
        {"layer.weight": torch.ones(3, 3), "layer.bias": torch.ones(3)}, folder / "weights.pt"
    )
    for model in ("majority", "nearest_centroid"):
        for seed in (1, 2):
            words = ["data=h5ad", f"data.path={folder / 'cells.h5ad'}", "data.label=ct"]
            words += [f"model={model}", f"seed={seed}", f"runs_dir={folder / 'runs'}"]
            assert cli.main(["run", *words]) == cli.GOOD


def try_case(door: str, seed: int, originals: Path, folder: Path) -> str:
    """Make and read one case in this process; give what fell, or "" if nothing did."""
    from leadline.errors import UserError

    make, read = DOORS[door]
    rng = random.Random(f"{door} {seed}")
    made = make(folder, rng, originals)
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            read(made)
    except UserError as error:
        line = str(error)
        return "" if "\n" not in line else f"more than one line: {line[:200]!r}"
    except Exception:
        return traceback.format_exc()
    text = said.getvalue()
    return text[text.index("Traceback") :] if "Traceback (most" in text else ""


def work(door: str, seeds: list[int], originals: Path, pipe: Any) -> None:
    """Try cases one after another, and tell of each."""
    import warnings

    warnings.simplefilter("ignore")
    for seed in seeds:
        pipe.send(("began", seed, 0))
        with tempfile.TemporaryDirectory() as place:
            fell = try_case(door, seed, originals, Path(place))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
        pipe.send((fell, seed, peak))
    pipe.send(None)


def run_door(door: str, seeds: list[int], originals: Path) -> dict[str, Any]:
    """Try all cases of a door; a process that hangs or grows too large is replaced."""
    found: dict[str, Any] = {"cases": len(seeds), "tracebacks": 0, "hangs": 0, "over_2_gib": 0}
    falls: list[dict[str, Any]] = []
    left = list(seeds)
    slowest = largest = 0.0
    while left:
        ours, theirs = multiprocessing.Pipe()
        worker = multiprocessing.Process(target=work, args=(door, left, originals, theirs))
        worker.start()
        theirs.close()
        now, began = left[0], time.monotonic()
        kind = ""
        while not kind:
            try:
                told = ours.recv() if ours.poll(SECONDS) else "hang"
            except EOFError:
                told = "died"
            if told is None:
                left = []
                break
            if isinstance(told, str):
                kind = told
                falls.append({"seed": now, "kind": kind})
                found["hangs" if kind == "hang" else "tracebacks"] += 1
                left = left[left.index(now) + 1 :]
                break
            text, now, peak = told
            if text == "began":
                began = time.monotonic()
                continue
            slowest, largest = max(slowest, time.monotonic() - began), max(largest, peak)
            if text:
                found["tracebacks"] += 1
                falls.append({"seed": now, "kind": text.strip().splitlines()[-1][:200]})
            if peak > GIB:
                found["over_2_gib"] += 1
                falls.append({"seed": now, "kind": f"{peak / 2**30:.1f} GiB"})
                left = left[left.index(now) + 1 :]
                kind = "large"
        if worker.is_alive() and kind:
            os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join()
    found |= {"slowest_seconds": round(slowest, 2), "largest_mib": round(largest / 2**20)}
    return found | {"falls": falls[:40]}


def main() -> int:
    """Try cases of every door; exit with 1 if anything fell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000, help="over all doors together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--door", choices=DOORS, action="append")
    parser.add_argument("--only", type=int, help="one case by its seed, in this process")
    chosen = parser.parse_args()
    doors = chosen.door or list(DOORS)
    multiprocessing.set_start_method("fork")
    with tempfile.TemporaryDirectory() as place:
        originals = Path(place)
        os.environ["LEADLINE_DATA"] = str(originals / "data")
        os.chdir(originals)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            make_originals(originals)
        if chosen.only is not None:
            with tempfile.TemporaryDirectory() as folder:
                print(try_case(doors[0], chosen.only, originals, Path(folder)) or "nothing fell")
            return 0
        each = -(-chosen.cases // len(doors))
        seeds = [chosen.seed * 1_000_000 + at for at in range(each)]
        found = {door: run_door(door, seeds, originals) for door in doors}
    keys = ("cases", "tracebacks", "hangs", "over_2_gib")
    total = {key: sum(each[key] for each in found.values()) for key in keys}
    print(json.dumps({"seed": chosen.seed, **total, "doors": found}, indent=1))
    return int(any(total[key] for key in keys[1:]))


if __name__ == "__main__":
    sys.exit(main())
