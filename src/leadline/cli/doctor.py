"""What is there, what is wrong, what to do: the installation, datasets, files."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leadline.config import FileData, PublishedData
from leadline.config.compose import compose, options, shipped
from leadline.data.cells import Cells, Outline, describe_file, outline
from leadline.data.datasets import read
from leadline.data.datasets.published import (
    PAPER_SETS,
    PaperFile,
    PaperSet,
    differences,
    folder_of,
    git_blob,
)
from leadline.data.splits.split import make_split
from leadline.errors import FAILED, GOOD, UserError, nearest
from leadline.runs import damage, records
from leadline.runs.provenance import PACKAGES, version
from leadline.runs.record import State

# Labels and values of larger files are not looked at: Panglao alone would take 10 GiB.
CELLS_READ_WHOLE = 200_000
# Models with released weights, and how files of weights end; checkup.py reads them, with torch.
RELEASED = ("scbert", "scgpt")
GPU = "gpu"
WEIGHTS = (".pt", ".pth", ".ckpt", ".bin")


@dataclass(frozen=True, slots=True)
class InstallationCheck:
    """One thing looked at, whether it is as it should be, and what was seen or is to be done."""

    good: bool
    text: str


def examine(names: Sequence[str], *, moved: bool = False) -> bool:
    """Print what there is to say of each name; tell whether all of it can be used.

    With `moved`, damaged records are moved aside.
    """
    if moved and not (names and all(is_runs_folder(Path(name)) for name in names)):
        raise UserError(
            "--quarantine moves the damaged records of a folder aside",
            got=" ".join(names) or "no folder",
            remedy="name the folder of the runs: leadline doctor runs --quarantine",
        )
    findings = [
        finding
        for name in names
        for finding in (of_runs(Path(name), moved=True) if moved else of_name(name))
    ] or of_installation()
    for finding in findings:
        print(f"{'ok   ' if finding.good else 'WRONG'}  {finding.text}")
    return all(finding.good for finding in findings)


def of_name(name: str) -> list[InstallationCheck]:
    """Look at a dataset of the paper, another dataset, or a file."""
    if name in PAPER_SETS:
        config = compose([f"data={name}"])
        assert isinstance(config.data, PublishedData)
        return of_paper_set(config.data, Path(config.data_dir))
    if name in RELEASED:
        return weights_of_model(name)
    if name == GPU:
        return of_gpus()
    if name in options("data") and (path := own_file(name)) is not None:
        return of_file(path)
    if name in options("data"):
        return [
            InstallationCheck(
                True, f"{name}: comes with leadline or is made by it; nothing to fetch"
            )
        ]
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(
            "doctor looks at datasets, released models, gpu and files",
            got=f"{name!r}, which is neither",
            remedy=nearest(name, [*options("data"), *RELEASED, GPU]),
        )
    if is_runs_folder(path):
        return of_runs(path)
    if path.suffix in WEIGHTS or (path / "args.json").is_file():
        return of_weights(path)
    return of_file(path)


def is_runs_folder(path: Path) -> bool:
    """Say whether a folder holds records, or held some before they were moved aside."""
    path = path.expanduser()
    if not path.is_dir():
        return False
    inside = {each.name for each in path.iterdir()}
    return bool(inside & {records.STUDIES, damage.QUARANTINE}) or any(
        records.is_record(path / name) for name in inside
    )


def of_runs(path: Path, *, moved: bool = False) -> list[InstallationCheck]:
    """Look at every record of a folder; with `moved`, put the damaged ones aside."""
    path = path.expanduser()
    states = records.find_records(path)
    finished = [folder for folder, at in states.items() if at in (State.DONE, State.DAMAGED)]
    usable, damaged = damage.parted(finished)
    unfinished = Counter(str(at) for at in states.values() if at not in (State.DONE, State.DAMAGED))
    counts = "".join(f", {count} {at}" for at, count in sorted(unfinished.items()))
    text = f"{path}: {len(usable)} of {len(finished)} finished records are whole{counts}"
    found = [InstallationCheck(not damaged or moved, text)]
    for manifest in sorted((path / records.STUDIES).glob("*.json")):
        try:
            records.read_manifest(manifest)
        except UserError as error:
            found.append(InstallationCheck(False, f"  {error}"))
    if not moved:
        found += [InstallationCheck(False, f"  {each}") for each in damaged]
        if damaged:
            remedy = f"leadline doctor {path} --quarantine moves them into {damage.QUARANTINE}/"
            found.append(InstallationCheck(False, f"  {remedy}, and the same studies make them"))
        return found
    for each, place in zip(damaged, damage.quarantine(damaged), strict=True):
        found.append(InstallationCheck(True, f"  {each}; moved to {place}"))
    return found


def of_gpus() -> list[InstallationCheck]:
    """Look at the GPUs that torch sees; compile a kernel for them, or for the CPU without one."""
    import torch

    from leadline.models.scbert import attention

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [
        InstallationCheck(True, f"cuda:{gpu}: {torch.cuda.get_device_name(gpu)}")
        for gpu in range(count)
    ]
    if not count:
        remedy = "install torch's CUDA build, or compute on CPUs"
        found = [InstallationCheck(False, f"torch {torch.__version__} sees no GPU: {remedy}")]
    device = torch.device("cuda" if count else "cpu")
    q, k, v, projection = (torch.rand(2, 8, 1, 4, device=device) for _ in range(4))
    attention.compiled(q, k, v, projection[0, :, 0], "head")
    reason = attention.not_compiled.get(device.type)
    said = f"torch cannot compile for the device {device.type}: {reason}"
    good = f"torch compiles kernels for the device {device.type}"
    return [*found, InstallationCheck(reason is None, good if reason is None else said)]


def own_file(name: str) -> Path | None:
    """Give the file behind a named dataset that is anybody's file."""
    data = compose([f"data={name}"]).data
    is_file = isinstance(data, FileData) and data.path is not None
    return Path(str(data.path)).expanduser() if is_file else None


def weights_of_model(name: str) -> list[InstallationCheck]:
    """Look at what was released of a model."""
    from leadline.cli import doctor_weights

    lines = doctor_weights.of_model(name, Path(compose([]).data_dir))
    return [InstallationCheck(good, text) for good, text in lines]


def of_weights(path: Path) -> list[InstallationCheck]:
    """Look at a file of weights, or a released folder."""
    from leadline.cli import doctor_weights

    try:
        lines = doctor_weights.of_folder(path) if path.is_dir() else doctor_weights.of_file(path)
    except UserError as error:
        return [InstallationCheck(False, f"{path}: {error}")]
    return [InstallationCheck(good, text) for good, text in lines]


def of_installation() -> list[InstallationCheck]:
    """Look at Python, the packages, the machine and the folders."""
    found = [InstallationCheck(sys.version_info >= (3, 11), f"Python {sys.version.split()[0]}")]
    for package in PACKAGES:
        there = version(package)
        found.append(
            InstallationCheck(there is not None, f"{package} {there or 'is missing: install it'}")
        )
    config = compose([])
    data_dir = Path(config.data_dir).expanduser()
    existing = next(place for place in (data_dir, *data_dir.parents) if place.exists())
    free = shutil.disk_usage(existing).free / 2**30
    found += [
        InstallationCheck(True, f"{os.cpu_count()} cores, {memory_gib():.0f} GiB memory"),
        InstallationCheck(True, f"configuration in {shipped('conf')}"),
        InstallationCheck(
            os.access(existing, os.W_OK),
            f"datasets in {data_dir} ({free:.0f} GiB free); LEADLINE_DATA or data_dir= change it",
        ),
    ]
    for name in PAPER_SETS:
        folder = folder_of(name, None, data_dir)
        missing = [
            file.name for file in PAPER_SETS[name].files if not (folder / file.name).exists()
        ]
        state = "not fetched" if missing else "fetched"
        found.append(
            InstallationCheck(True, f"{name}: {state}; `leadline doctor {name}` says more")
        )
    for name in RELEASED:
        state = "there" if (data_dir / "checkpoints" / name).is_dir() else "not fetched"
        text = f"released weights of {name}: {state}; `leadline doctor {name}` says more"
        found.append(InstallationCheck(True, text))
    return found


def memory_gib() -> float:
    """Give the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def of_paper_set(data: PublishedData, data_dir: Path) -> list[InstallationCheck]:
    """Look at the files of one of the paper's datasets."""
    expected = PAPER_SETS[data.name]
    folder = folder_of(data.name, data.path, data_dir)
    found = [InstallationCheck(True, f"{data.name}: {expected.title}; {expected.held_out}")]
    for file in expected.files:
        path = folder / file.name
        packed = folder / file.packed if file.packed else None
        if packed is not None and packed.exists():
            found.append(of_packed(packed, file))
        if path.exists():
            found += of_paper_file(data, path, file, expected, data_dir)
        elif packed is not None and packed.exists():
            found.append(InstallationCheck(False, f"{path} is missing: run gunzip --keep {packed}"))
        else:
            size = f"{file.cells:,} cells x {file.genes:,} genes"
            found.append(
                InstallationCheck(
                    False, f"{path} is missing ({size}); {'; or '.join(expected.sources)}"
                )
            )
    if expected.named_by_place:
        train, test = (folder / file.name for file in expected.files)
        found += of_shared_order(train, test, data)
    return found


def of_shared_order(train: Path, test: Path, data: PublishedData) -> list[InstallationCheck]:
    """Say whether two files have their genes in one order, which the paper's scripts rely on."""
    if not (train.exists() and test.exists()):
        return []
    try:
        same = np.array_equal(read(data, train).genes, read(data, test).genes)
    except UserError:
        # Already said of the file itself.
        return []
    text = "in one order, so that names and places agree"
    if not same:
        text = "not in one order: here they go by name, in the paper's scripts by place "
        text += "(D61; data.test_genes=training)"
    return [InstallationCheck(True, f"  genes of both files are {text}")]


def of_packed(path: Path, file: PaperFile) -> InstallationCheck:
    """Compare a packed file with the digest under which the authors committed it."""
    same = git_blob(path) == file.git_blob
    verdict = "is the authors' file" if same else "differs from the authors' file: fetch it again"
    return InstallationCheck(same, f"{path} {verdict} (git blob {file.git_blob})")


def of_paper_file(
    data: PublishedData, path: Path, file: PaperFile, expected: PaperSet, data_dir: Path
) -> list[InstallationCheck]:
    """Compare a file with what is known of the paper's; one that is too large is not read whole."""
    try:
        seen = outline(path)
        wrong = differences(file, cells=seen.n_cells, genes=len(seen.genes))
        size = f"{seen.n_cells:,} cells x {len(seen.genes):,} genes"
        found = [
            InstallationCheck(not wrong, f"{path}: {size}" + "".join(f"; {text}" for text in wrong))
        ]
        if expected.genes_as is not None:
            found += of_gene_order(seen, expected.genes_as, data_dir)
        if seen.n_cells > CELLS_READ_WHOLE:
            return found
        cells = read(data, path)
    except UserError as error:
        return [InstallationCheck(False, f"{path}: {error}")]
    n_classes = len(cells.classes)
    right = file.classes is None or n_classes == file.classes
    found.append(InstallationCheck(right, f"  {n_classes} classes in {data.label!r}"))
    found += [InstallationCheck(True, f"  {note}") for note in cells.notes]
    if expected.reported_sizes and right and not wrong:
        found.append(of_reported_sizes(cells, data, expected))
    return found


def of_gene_order(seen: Outline, other: str, data_dir: Path) -> list[InstallationCheck]:
    """Compare the order of genes with that of another dataset, if that one is there."""
    path = folder_of(other, None, data_dir) / PAPER_SETS[other].files[0].name
    if not path.exists():
        return [InstallationCheck(True, f"  order of genes: not compared, {path} is not there")]
    same = np.array_equal(seen.genes, outline(path).genes)
    return [
        InstallationCheck(
            same, f"  genes {'are' if same else 'are not'} those of {other}, in its order"
        )
    ]


def of_reported_sizes(cells: Cells, data: PublishedData, expected: PaperSet) -> InstallationCheck:
    """Draw the published split and compare its class sizes with the printed ones."""
    config = compose([f"data={data.name}", "protocol=paper_code"])
    split = make_split(cells, config.protocol, seed=0, fraction=1.0, label=str(data.label))
    assert cells.labels_C is not None
    labels = cells.labels_C[split.test].tolist()
    sizes = tuple(labels.count(k) for k in range(len(cells.classes)))
    return InstallationCheck(
        sizes == expected.reported_sizes,
        f"  reported cells by class {sizes}, printed by the authors {expected.reported_sizes}",
    )


def of_file(path: Path) -> list[InstallationCheck]:
    """Say what a file holds, and which columns could be labels."""
    try:
        return [InstallationCheck(True, f"{path}: {line}") for line in describe_file(path)]
    except UserError as error:
        return [InstallationCheck(False, f"{path}: {error}")]


def call(chosen: argparse.Namespace) -> int:
    """Check the installation, datasets or files."""
    return GOOD if examine(chosen.names, moved=chosen.quarantine) else FAILED
