"""Token stores: the tokens are those of the cells, whatever files, blocks and kills there were."""

import errno
import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from killing import Killed, die_before
from leadline import distributed
from leadline.cli import main
from leadline.config.compose import compose
from leadline.data import token_store, token_store_build
from leadline.data.cells import Scale, read_cells
from leadline.data.cells.read import ColumnNames
from leadline.data.token_store_build import BuildSettings
from leadline.errors import UserError
from leadline.models import gene2vec
from leadline.models.network import DrawKey
from leadline.models.scbert import tokens
from leadline.models.scbert.pretraining import ScbertMaskedBatches
from leadline.models.scgpt import tokens as scgpt
from leadline.runs import record
from leadline.runs.prepare import identify_run
from leadline.runs.run import run
from leadline.training.fit import batch_of, order_of
from small import saved, small_cells


def of_columns(blocks=tokens.block_tokens, **columns):
    return BuildSettings(
        columns=ColumnNames(**columns), tokenizer=tokens.tokenizer("measured"), blocks=blocks
    )


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of 8 cells and shards of 16."""
    monkeypatch.setattr(token_store_build, "BLOCK_CELLS", 8)
    init = BuildSettings.__init__

    def smaller(self, *, shard_cells=16, **others):
        init(self, shard_cells=shard_cells, **others)

    monkeypatch.setattr(BuildSettings, "__init__", smaller)


@pytest.fixture
def file(tmp_path):
    return saved(small_cells(), tmp_path / "cells.h5ad", batch=["a"] * 25 + ["b"] * 35)


@pytest.fixture
def store(tmp_path, file, small_blocks):
    return token_store_build.build(
        [file], tmp_path / "corpus", of_columns(label="celltype", batch="protocol")
    )


# What is in a store ------------------------------------------------------------------------------


def test_tokens_labels_and_names_are_those_of_the_file(store, file):
    cells = read_cells(file, name="x", label="celltype", batch="protocol")
    plain, rows = tokens.tokenise(cells), np.random.default_rng(0).permutation(60)
    held = store.cells("x", label="celltype", batch="protocol")
    found = tokens.scbert_tokens(None, held)
    assert store.manifest["shards"] == 4 and held.scale is Scale.SCBERT_BINS
    assert np.array_equal(found.dense(rows), plain.dense(rows))
    assert np.array_equal(found.histograms(rows), plain.histograms(rows))
    assert np.array_equal(held.labels_C, cells.labels_C) and held.classes == cells.classes
    assert np.array_equal(held.batch_C, cells.batch_C) and np.array_equal(held.ids, cells.ids)
    assert store.cells("x").labels_C is None
    for ours, theirs in zip(found.stored(rows), plain.stored(rows), strict=True):
        assert np.array_equal(ours, theirs)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rows_and_views_are_those_of_a_matrix_in_memory(data):
    seed = data.draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    n_cells, n_genes = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 9))
    dense = rng.integers(0, 6, (n_cells, n_genes)) * (rng.random((n_cells, n_genes)) < 0.4)
    cuts = sorted(data.draw(st.lists(st.integers(0, n_cells), max_size=4)))
    shards = []
    for low, high in zip([0, *cuts], [*cuts, n_cells], strict=True):
        part = sparse.csr_array(dense[low:high].astype(np.uint8))
        start = part.indptr.astype(np.int64)
        shard = token_store.Shard(start=start, gene_N=part.indices.astype("u2"), token_N=part.data)
        shards.append(shard)
    whole = token_store.StoredRows(shards, n_genes, tokenizer={}, content="")
    some = np.array(data.draw(st.lists(st.integers(0, n_cells - 1), max_size=30)), np.int64)
    again = np.array(data.draw(st.lists(st.integers(0, max(len(some) - 1, 0)), max_size=9)), int)
    view = whole.view(some)
    assert view.shape == (len(some), n_genes) and view.nnz == (dense[some] > 0).sum()
    assert np.array_equal(view[:].toarray(), dense[some])
    assert np.array_equal(whole[:, [0]].toarray(), dense[:, [0]])
    if len(some):
        assert np.array_equal(view.view(again)[:].toarray(), dense[some][again])
        assert np.array_equal(view.dense(again, n_genes + 1)[:, :n_genes], dense[some][again])


@pytest.mark.parametrize("cuts", [(60,), (1, 59), (7, 13, 40), (8, 8, 44)])
def test_parts_of_a_corpus_give_the_tokens_of_the_whole(tmp_path, store, cuts):
    cells = small_cells()
    parts, at = [], 0
    for number, size in enumerate(cuts):
        part = cells.take(np.arange(at, at + size))
        parts.append(saved(part, tmp_path / f"part{number}.h5ad"))
        at += size
    found = token_store_build.build(parts, tmp_path / "parts", of_columns(label="celltype"))
    assert found.rows.content == store.rows.content
    assert np.array_equal(found.cells("x").ids, cells.ids)
    assert found.cells("x", label="celltype").classes == cells.classes


def test_shards_and_blocks_leave_no_trace_in_the_content(tmp_path, file, store):
    settings = BuildSettings(
        columns=ColumnNames(label="celltype", batch="protocol"),
        tokenizer=tokens.tokenizer("measured"),
        blocks=tokens.block_tokens,
        shard_cells=48,
    )
    other = token_store_build.build([file], tmp_path / "other", settings)
    assert other.manifest["shards"] == 2
    assert other.manifest["fingerprint"] == store.manifest["fingerprint"]


def test_files_are_brought_to_the_genes_that_all_have(tmp_path, capsys, small_blocks):
    first, second = small_cells(seed=1), small_cells(seed=2)
    order = np.random.default_rng(0).permutation(40)[:30]
    fewer = small_cells(seed=2, matrix_CG=second.matrix_CG[:, order], genes=second.genes[order])
    paths = [saved(first, tmp_path / "a.h5ad"), saved(fewer, tmp_path / "b.h5ad")]
    found = token_store_build.build(paths, tmp_path / "corpus", of_columns())
    assert "a.h5ad: 10 of 40 genes are dropped" in capsys.readouterr().err
    assert found.genes.tolist() == first.genes[np.sort(order)].tolist()
    # What a cell has in genes that are dropped stays in the total that it is divided by.
    whole = tokens.tokenise(first).dense(np.arange(60))[:, np.sort(order)]
    assert np.array_equal(found.rows.dense(np.arange(60), 30), whole)
    assert len(set(found.cells("x").ids)) == 120


# Batches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("collapsed", [True, False])
def test_ranks_read_every_cell_once_and_masks_are_those_of_cells_in_memory(
    store, file, ranks, collapsed
):
    plain = tokens.tokenise(read_cells(file, name="x"))
    stored = tokens.scbert_tokens(None, store.cells("x"))
    sources = [ScbertMaskedBatches(t, collapsed=collapsed) for t in (stored, plain)]
    order, moment, seen = (
        order_of(60, seed=3, epoch=2, order="shuffled"),
        DrawKey(seed=3, epoch=2),
        [],
    )
    for step in range(-(-60 // 7)):
        rows = batch_of(order, step, 7)
        for rank in range(ranks):
            own = distributed.share_of(rows, rank, ranks)
            seen += own.tolist()
            ours, theirs = (source.batch(own, moment) for source in sources)
            assert ours.keys() == theirs.keys()
            assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert sorted(seen) == list(range(60)) and seen == order.tolist()


WORDS = ["model=scbert", "model.size=tiny", "train=pretrain_tiny", "train.epochs=2"]
PRETRAIN = ["task=pretrain", *WORDS, "model.gene2vec=false"]


def folder_of(words, tmp_path, name):
    return run(compose([*words, f"runs_dir={tmp_path / name}"]))


def test_a_run_on_a_store_has_the_scores_of_a_run_on_the_cells(tmp_path, store, file):
    at = ["data=store", f"data.path={store.folder}"]
    ways = {"store": at, "file": ["data=h5ad", f"data.path={file}"]}
    facts = {
        name: record.read_facts(folder_of([*PRETRAIN, *words], tmp_path, name))
        for name, words in ways.items()
    }
    assert facts["store"]["metrics"] == facts["file"]["metrics"]
    labels = ["data.label=celltype", "model.gene2vec=built", "model.pretrained=false"]
    facts = {
        name: record.read_facts(folder_of([*WORDS, *words, *labels], tmp_path, name))
        for name, words in ways.items()
    }
    assert facts["store"]["metrics"] == facts["file"]["metrics"]


def test_floors_without_a_network_are_those_of_a_pretraining_run(tmp_path, store, capsys):
    words = [*PRETRAIN, "data=store", f"data.path={store.folder}"]
    found = record.read_facts(folder_of(words, tmp_path, "run"))["metrics"]["test"]
    capsys.readouterr()
    assert main(["store", "floors", str(store.folder)]) == 0
    told = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told == {
        name.replace("_", " "): f"{value:.4f}"
        for name, value in found.items()
        if name.startswith("heuristic_")
    }


def test_pretraining_that_is_killed_goes_on_as_if_nothing_had_been(tmp_path, store, monkeypatch):
    words = [*PRETRAIN, "data=store", f"data.path={store.folder}", "train.checkpoint_minutes=1e-9"]
    whole = record.read_facts(folder_of(words, tmp_path, "whole"))
    for moment in (2, 3):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            die_before(patched, moment)
            folder_of(words, tmp_path, "killed")
    found = record.read_facts(folder_of(words, tmp_path, "killed"))
    assert found["metrics"] == whole["metrics"]
    assert found["fit"]["checkpoints"] == whole["fit"]["checkpoints"]


@pytest.fixture
def ranks_store(tmp_path, file, small_blocks):
    """Bins of scGPT, of all genes."""
    of_scgpt = BuildSettings(
        columns=ColumnNames(label="celltype"),
        tokenizer=scgpt.tokenizer(51),
        blocks=partial(scgpt.block_tokens, bins=51),
    )
    return token_store_build.build([file], tmp_path / "ranks", of_scgpt)


@pytest.mark.parametrize("words", [["task=pretrain"], ["data.label=celltype"]])
def test_scgpt_reads_its_bins_from_a_store(tmp_path, ranks_store, file, words):
    tiny = ["model=scgpt", "model.size=tiny", "train=scgpt_tiny", "train.epochs=1", *words]
    ways = {
        "store": f"data=store data.path={ranks_store.folder}",
        "file": f"data=h5ad data.path={file}",
    }
    scores = [
        record.read_facts(folder_of([*tiny, *way.split()], tmp_path, name))["metrics"]
        for name, way in ways.items()
    ]
    assert scores[0] == scores[1]


def test_scgpt_refuses_other_bins_and_genes_that_it_does_not_know(tmp_path, ranks_store):
    words = [
        "model=scgpt",
        "model.size=tiny",
        "task=pretrain",
        "data=store",
        f"runs_dir={tmp_path}",
    ]
    words.append(f"data.path={ranks_store.folder}")
    with pytest.raises(UserError, match="the tokens that the model reads: got .* build a store"):
        run(compose([*words, "model.bins=11"]))
    listed = tmp_path / "vocab.json"
    special = ["<pad>", "<cls>", "<eoc>"]
    names = [*special, *ranks_store.genes[:38].tolist()]
    listed.write_text(json.dumps({name: k for k, name in enumerate(names)}))
    with pytest.raises(UserError, match="must know all genes of a token store.* got 2 of 40"):
        run(compose([*words, f"model.vocabulary={listed}"]))


@pytest.mark.parametrize("method", ["ppmi", "correlation"])
def test_genes_that_go_together_are_those_of_a_matrix_in_memory(store, file, method):
    stored = tokens.scbert_tokens(None, store.cells("x"))
    plain = tokens.tokenise(read_cells(file, name="x"))
    found, wanted = (gene2vec.association(t, method) for t in (stored, plain))
    assert np.allclose(found, wanted, atol=1e-6)
    assert np.allclose(*(abs(gene2vec.build(t, 4, method).table_GW) for t in (stored, plain)))


def test_smaller_corpora_are_parts_of_larger_ones(tmp_path, store):
    words = ["task=pretrain", "model=scbert", "data=store", f"data.path={store.folder}"]
    splits = [
        identify_run(compose([*words, f"data.corpus_fraction={share}"])).split
        for share in (0.1, 0.5, 1)
    ]
    few, half, whole = (set(split.train.tolist()) for split in splits)
    assert few < half < whole and len(half) == -(-len(whole) // 2)
    assert all(np.array_equal(split.test, splits[0].test) for split in splits)
    with pytest.raises(UserError, match="data.corpus_fraction belongs to task=pretrain: got"):
        run(compose(["data.corpus_fraction=0.5", f"runs_dir={tmp_path}"]))


# Kills and damage --------------------------------------------------------------------------------

KILLED = """
import os, signal, sys
from pathlib import Path
from leadline.data import token_store_build as build
from leadline.data.cells.read import ColumnNames
from leadline.models.scbert import tokens

build.BLOCK_CELLS = 8
file, folder = Path(sys.argv[1]), Path(sys.argv[2])
settings = build.BuildSettings(
    columns=ColumnNames(label="celltype", batch="protocol"),
    tokenizer=tokens.tokenizer("measured"), blocks=tokens.block_tokens, shard_cells=16)

def dying(moment):
    left = [moment]
    def before(function):
        def called(*arguments, **options):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)
        return called
    for name in ("replace", "rename", "fsync", "link"):
        setattr(os, name, before(getattr(os, name)))
    build.Aside.write = before(build.Aside.write)

def child(out, moment):
    pid = os.fork()
    if pid == 0:
        dying(moment)
        build.build([file], out, settings)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

# The first build loads what all others need, and counts the moments.
counted = []
def counting(function):
    def called(*arguments, **options):
        counted.append(1)
        return function(*arguments, **options)
    return called
kept = {name: getattr(os, name) for name in ("replace", "rename", "fsync", "link")}
for name in kept:
    setattr(os, name, counting(kept[name]))
write, build.Aside.write = build.Aside.write, counting(build.Aside.write)
build.build([file], folder / "corpus0", settings)
for name in kept:
    setattr(os, name, kept[name])
build.Aside.write = write

killed = 0
moments = int(sys.argv[3])
for k in range(moments):
    moment = 1 + k * (len(counted) - 1) // (moments - 1)
    out = folder / f"corpus{moment}"
    code = child(out, moment)
    assert code == -signal.SIGKILL, code
    killed += 1
    # A second kill, in what the first one left.
    child(out, 5)
    assert child(out, 10**9) == 0
print(killed)
"""


@pytest.mark.parametrize("moments", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_build_that_is_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path, store, file, moments
):
    found = tmp_path / "killed"
    found.mkdir()
    told = subprocess.run(
        [sys.executable, "-c", KILLED, str(file), str(found), str(moments)],
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert int(told.stdout) == moments
    stores = list(found.iterdir())
    assert len(stores) == moments + 1
    assert not [path for path in stores if path.name.endswith(token_store.BUILDING)]
    assert all(bytes_of(path) == bytes_of(store.folder) for path in stores)


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path, file, store, monkeypatch):
    left = [9]
    write = token_store_build.Aside.write

    def filling(self, array):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, array)

    settings = of_columns(label="celltype", batch="protocol")
    with monkeypatch.context() as patched:
        patched.setattr(token_store_build.Aside, "write", filling)
        with pytest.raises(UserError, match="needs room on the disk: got .* which is full; make"):
            token_store_build.build([file], tmp_path / "full", settings)
    with pytest.raises(UserError, match="whose build is not finished; repeat"):
        token_store.open_store(tmp_path / "full")
    kept = (tmp_path / "full.building" / "00000.json").stat().st_mtime_ns
    assert kept
    found = token_store_build.build([file], tmp_path / "full", settings)
    assert bytes_of(found.folder) == bytes_of(store.folder)


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        ("cut", "must be whole: got .*00001.genes has 10 of"),
        ("lost", "must be whole: got .*00001.genes is missing"),
        ("older", "must have format 1: got format 0 in .*; build it again"),
        ("half", "must be whole: got .*a STORE.json that cannot be read"),
    ],
)
def test_what_is_not_whole_is_refused_when_it_is_opened(store, harm, line):
    shard, manifest = store.folder / "00001.genes", store.folder / "STORE.json"
    match harm:
        case "cut":
            shard.write_bytes(shard.read_bytes()[:10])
        case "lost":
            shard.unlink()
        case "older":
            manifest.write_text(json.dumps(dict(store.manifest) | {"format": 0}))
        case "half":
            manifest.write_text('{"form')
    with pytest.raises(UserError, match=line):
        token_store.open_store(store.folder)


def test_a_changed_byte_is_found_by_check_alone(store, capsys):
    shard = store.folder / "00002.tokens"
    content = bytearray(shard.read_bytes())
    content[3] ^= 1
    assert main(["store", "check", str(store.folder)]) == 0
    shard.write_bytes(content)
    token_store.open_store(store.folder)
    assert main(["store", "check", str(store.folder)]) == 2
    assert "00002.tokens differ from what was written" in capsys.readouterr().err


def test_a_store_is_never_overwritten_by_other_data(tmp_path, store, file):
    again = of_columns(label="celltype", batch="protocol")
    assert token_store_build.build([file], store.folder, again).manifest == store.manifest
    other = saved(small_cells(seed=5), tmp_path / "other.h5ad")
    with pytest.raises(UserError, match="never overwritten: got .*another store .other sources"):
        token_store_build.build([other], store.folder, of_columns(label="celltype"))
    place = tmp_path / "new.building"
    place.mkdir()
    (place / "PLAN.json").write_text(json.dumps(store.manifest["plan"]))
    with pytest.raises(UserError, match="with the same files and settings: got other sources"):
        token_store_build.build([other], tmp_path / "new", of_columns(label="celltype"))


# Mistakes ----------------------------------------------------------------------------------------


def test_the_command_builds_and_shows(tmp_path, file, capsys):
    out = tmp_path / "corpus"
    assert main(["store", "build", str(file), "--out", str(out), "--label", "celltype"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(out)
    assert main(["store", "show", str(out)]) == 0
    told = capsys.readouterr().out
    assert "60 cells x 40 genes" in told and "data.label=celltype (3 values)" in told


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["data.label=other"], "data.label must be the column that the store was built with"),
        (["model.total=reference"], "must hold the tokens that the model reads"),
        (["model=mlp", "data.label=celltype"], "mlp needs .* got scBERT's bins from a token store"),
    ],
)
def test_runs_that_cannot_read_a_store_are_refused_in_a_line(tmp_path, store, words, line):
    chosen = [*WORDS, "model.gene2vec=false"] if not words[0].startswith("model=") else []
    chosen += [] if "data.label=celltype" in words else ["task=pretrain"]
    chosen += ["data=store", f"data.path={store.folder}", f"runs_dir={tmp_path}", *words]
    with pytest.raises(UserError, match=line):
        run(compose(chosen))


def test_a_model_of_other_genes_is_refused(tmp_path, store):
    listed = tmp_path / "genes.txt"
    listed.write_text("\n".join(store.genes[::-1].tolist()))
    with pytest.raises(UserError, match="must hold the genes of the model, in its order: got 40"):
        tokens.scbert_tokens(None, store.cells("x"), tokens.read_genes(listed))


def test_no_folder_no_path_no_place(tmp_path, file, capsys):
    with pytest.raises(UserError, match="a folder with STORE.json: got .* without it; write one"):
        token_store.open_store(tmp_path / "nothing")
    with pytest.raises(UserError, match="data=store needs a token store: got no data.path"):
        run(compose(["task=pretrain", "model=scbert", "data=store", f"runs_dir={tmp_path}"]))
    assert main(["store", "build", str(file)]) == 2
    assert "needs a place: got no --out" in capsys.readouterr().err
    assert main(["store", "build", str(file), "--out", "x", "--shard-cells", "7"]) == 2
    assert "--shard-cells must be a multiple of 4,096: got 7" in capsys.readouterr().err


def test_files_that_cannot_be_read_in_blocks_are_refused(tmp_path, monkeypatch):
    cells = small_cells()
    by_genes = saved(
        small_cells(matrix_CG=sparse.csc_array(cells.matrix_CG)), tmp_path / "columns.h5ad"
    )
    with pytest.raises(UserError, match="reads cells in blocks: got X of columns.h5ad"):
        token_store_build.build([by_genes], tmp_path / "x", of_columns())
    other = small_cells(genes=np.array([f"H{i}" for i in range(40)]))
    paths = [saved(cells, tmp_path / "a.h5ad"), saved(other, tmp_path / "b.h5ad")]
    with pytest.raises(UserError, match="must share genes: got none that is in all of a.h5ad, b"):
        token_store_build.build(paths, tmp_path / "x", of_columns())
    monkeypatch.setattr(token_store_build, "MOST_GENES", 39)
    with pytest.raises(UserError, match="has at most 39 genes: got 40"):
        token_store_build.build(paths[:1], tmp_path / "x", of_columns())
