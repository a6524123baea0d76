"""Named datasets: the right file is read, a wrong one is refused with what is wrong."""

import dataclasses

import anndata
import numpy as np
import pytest

from cells_files import make_counts, make_obs, write_h5ad
from leadline import cli
from leadline.config.compose import compose, options
from leadline.data import datasets
from leadline.data.cells import Scale
from leadline.data.datasets import published
from leadline.data.datasets.published import PaperFile, PaperSet, join
from leadline.errors import UserError
from small import small_cells


def load(words, data_dir):
    return datasets.load(compose(words).data, data_dir)


def test_the_embedded_cells_are_the_papers_with_counts_recovered(tmp_path):
    cells = load([], tmp_path)
    assert cells.matrix_CG.shape == (700, 765) and len(cells.classes) == 10
    assert cells.scale is Scale.LN_CP10K
    assert np.bincount(cells.labels_C).max() == 240
    # Counts per 10k of all genes: the 765 that are kept do not add up to the library.
    raw = np.expm1(cells.matrix_CG.data.astype(float))
    raw *= np.repeat(cells.library_C / 1e4, np.diff(cells.matrix_CG.indptr))
    assert np.abs(raw - np.rint(raw)).max() < 0.1
    counts = cells.counts()
    assert counts.data.min() == 1 and (counts.data == np.rint(raw)).all()
    assert (np.asarray(counts.sum(axis=1)).ravel() < cells.library_C).all()


@pytest.mark.parametrize(
    ("words", "shape", "n_classes"),
    [
        (["data=zheng_like", "data.n_cells=300", "data.n_genes=200"], (300, 200), 11),
        (
            ["data=ms_like", "data.n_train=200", "data.n_test=160", "data.n_genes=100"],
            (360, 100),
            18,
        ),
    ],
)
def test_synthetic_cells_are_made_once(words, shape, n_classes, tmp_path):
    cells = load(words, tmp_path)
    assert cells.matrix_CG.shape == shape and len(cells.classes) == n_classes
    (made,) = (tmp_path / "synthetic").iterdir()
    before = made.stat().st_mtime_ns
    assert load(words, tmp_path).fingerprint() == cells.fingerprint()
    assert made.stat().st_mtime_ns == before
    assert load([*words, "data.seed=1"], tmp_path).fingerprint() != cells.fingerprint()


@pytest.fixture
def small_paper(monkeypatch):
    """The paper's sets with the sizes of files that a test can make."""

    def shrink(expected, sizes):
        files = tuple(
            dataclasses.replace(file, cells=cells, genes=genes, classes=classes)
            for file, (cells, genes, classes) in zip(expected.files, sizes, strict=True)
        )
        return dataclasses.replace(expected, files=files, reported_sizes=())

    sets = published.PAPER_SETS
    for name, sizes in (("zheng68k", [(60, 40, 3)]), ("pancreas", [(60, 40, 3), (30, 40, 3)])):
        monkeypatch.setitem(sets, name, shrink(sets[name], sizes))
    return sets


def write_set(folder, name, column, *, genes=None, n_cells=60, seed=0):
    folder.mkdir(parents=True, exist_ok=True)
    obs = make_obs(n_cells)
    obs = obs.rename(columns={"celltype": column})
    path = write_h5ad(folder / name, make_counts(n_cells, seed=seed), obs=obs)
    if genes is not None:
        file = anndata.read_h5ad(path)
        file.var_names = genes
        file.write_h5ad(path)
    return path


def genes_of(path):
    return anndata.read_h5ad(path).var_names.tolist()


def paper_words(name):
    return [f"data={name}", "data.scale=counts"]


def test_one_file_of_the_paper(small_paper, tmp_path):
    path = write_set(tmp_path / "zheng68k", "Zheng68K.h5ad", "celltype")
    expected = dataclasses.replace(
        small_paper["zheng68k"].files[0],
        genes=len(genes_of(path)),
        classes=len(set(make_obs(60).celltype)),
    )
    small_paper["zheng68k"] = dataclasses.replace(small_paper["zheng68k"], files=(expected,))
    cells = load(paper_words("zheng68k"), tmp_path)
    assert len(cells) == 60 and cells.name == "zheng68k"
    small_paper["zheng68k"] = dataclasses.replace(
        small_paper["zheng68k"], files=(dataclasses.replace(expected, cells=61),)
    )
    with pytest.raises(UserError, match="Zheng68K.h5ad must be the paper's file: got 60 cells ins"):
        load(paper_words("zheng68k"), tmp_path)


def test_two_files_of_the_paper_become_one_set_with_given_parts(small_paper, tmp_path):
    folder = tmp_path / "pancreas"
    first = write_set(folder, "demo_train.h5ad", "Celltype")
    genes = genes_of(first)
    other = [*reversed(genes[5:]), *(f"ONLY{i}" for i in range(5))]
    write_set(folder, "demo_test.h5ad", "Celltype", genes=other, n_cells=30, seed=1)
    files = tuple(
        PaperFile(name=file.name, cells=cells, genes=len(genes))
        for file, cells in zip(small_paper["pancreas"].files, (60, 30), strict=True)
    )
    small_paper["pancreas"] = dataclasses.replace(small_paper["pancreas"], files=files)
    cells = load(paper_words("pancreas"), tmp_path)
    assert len(cells) == 90 and cells.genes.tolist() == genes[5:]
    assert cells.given_C.tolist() == ["train"] * 60 + ["test"] * 30
    first_test = anndata.read_h5ad(folder / "demo_test.h5ad")[0, genes[5:]].X
    first_test = first_test.toarray() if hasattr(first_test, "toarray") else first_test
    np.testing.assert_array_equal(
        cells.matrix_CG[[60]].toarray().ravel(), np.asarray(first_test).ravel()
    )
    assert any(
        "left out: 5 only in the training file, 5 only in the test" in n for n in cells.notes
    )


def test_joined_labels_keep_their_names():
    train = small_cells(sizes=(5, 5), classes=("b", "c"))
    test = small_cells(sizes=(4, 6), classes=("a", "c"), seed=1)
    both = join(train, test)
    names = np.array(both.classes)[both.labels_C]
    assert both.classes == ("a", "b", "c")
    assert names.tolist() == [
        *np.array(train.classes)[train.labels_C],
        *np.array(test.classes)[test.labels_C],
    ]
    assert len(np.unique(both.ids)) == 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"genes": np.array([f"X{i}" for i in range(40)])}, "must share genes: got none in common"),
        ({"scale": Scale.LN_CP10K}, "must hold the same kind of numbers: got counts and ln_cp10k"),
    ],
)
def test_files_that_do_not_go_together(changes, message):
    with pytest.raises(UserError, match=message):
        join(small_cells(), small_cells(**changes))


def test_a_missing_file_is_explained(tmp_path):
    with pytest.raises(UserError, match="got no c_data.h5ad, filtered_ms_adata.h5ad"):
        load(["data=ms"], tmp_path)


def test_git_blob_is_what_git_says(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert published.git_blob(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_every_dataset_of_the_paper_has_an_option_and_a_source():
    assert set(published.PAPER_SETS) <= set(options("data"))
    for expected in published.PAPER_SETS.values():
        assert isinstance(expected, PaperSet) and expected.sources and expected.files


def doctor(capsys, *names):
    code = cli.main(["doctor", *names])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_doctor_looks_at_the_installation(capsys):
    code, shown = doctor(capsys)
    assert code == cli.GOOD
    for word in ("Python", "torch", "cores", "datasets in", "zheng68k: not fetched"):
        assert word in shown


def test_doctor_says_where_missing_files_come_from(capsys):
    code, shown = doctor(capsys, "zheng68k")
    assert code == cli.FAILED
    assert "Zheng68K.h5ad is missing (68,450 cells x 16,906 genes)" in shown
    assert "clinicalml/sc-foundation-eval" in shown


def test_doctor_compares_a_file_that_is_there(small_paper, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    write_set(tmp_path / "zheng68k", "Zheng68K.h5ad", "celltype")
    packed = tmp_path / "zheng68k" / "Zheng68K.h5ad.gz"
    packed.write_bytes(b"not the authors'")
    code, shown = doctor(capsys, "zheng68k")
    assert code == cli.FAILED
    assert "differs from the authors' file: fetch it again" in shown
    assert "60 cells x" in shown


def test_doctor_compares_the_order_of_genes(small_paper, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    path = write_set(tmp_path / "zheng68k", "Zheng68K.h5ad", "celltype")
    assert "order of genes: not compared" in doctor(capsys, "zheng68k")[1]
    genes = genes_of(path)
    write_set(tmp_path / "panglao", "panglao_human.h5ad", "celltype", genes=genes)
    assert "genes are those of panglao, in its order" in doctor(capsys, "zheng68k")[1]
    write_set(tmp_path / "panglao", "panglao_human.h5ad", "celltype", genes=genes[::-1])
    assert "WRONG    genes are not those of panglao" in doctor(capsys, "zheng68k")[1]


def test_doctor_does_not_read_a_huge_file_whole(small_paper, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    monkeypatch.setattr("leadline.cli.doctor.CELLS_READ_WHOLE", 10)
    monkeypatch.setattr("leadline.cli.doctor.read", lambda *_: pytest.fail("was read whole"))
    write_set(tmp_path / "panglao", "panglao_human.h5ad", "celltype")
    code, shown = doctor(capsys, "panglao")
    assert code == cli.FAILED and "60 cells instead of 1,357,593" in shown


def test_doctor_asks_to_unpack(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    (tmp_path / "zheng68k").mkdir()
    (tmp_path / "zheng68k" / "Zheng68K.h5ad.gz").write_bytes(b"")
    _, shown = doctor(capsys, "zheng68k")
    assert "run gunzip --keep" in shown


def test_doctor_compares_class_sizes_of_the_published_split(
    small_paper, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    path = write_set(tmp_path / "zheng68k", "Zheng68K.h5ad", "celltype")
    obs = make_obs(60)
    expected = dataclasses.replace(
        small_paper["zheng68k"],
        files=(PaperFile(name="Zheng68K.h5ad", cells=60, genes=len(genes_of(path))),),
        reported_sizes=(1,) * obs.celltype.nunique(),
    )
    small_paper["zheng68k"] = expected
    code, shown = doctor(capsys, "zheng68k")
    assert code == cli.FAILED and "printed by the authors (1, 1" in shown


def test_doctor_describes_a_file(capsys, tmp_path):
    path = write_h5ad(tmp_path / "cells.h5ad", make_counts(60), obs=make_obs(60))
    code, shown = doctor(capsys, str(path))
    assert code == cli.GOOD
    assert "60 cells" in shown and "celltype" in shown and "holds counts" in shown


def test_doctor_says_what_is_wrong_with_a_file(capsys, tmp_path):
    (tmp_path / "cells.h5ad").write_text("no HDF5")
    code, shown = doctor(capsys, str(tmp_path / "cells.h5ad"))
    assert code == cli.FAILED and shown.startswith("WRONG")


def test_doctor_knows_what_it_does_not_know(capsys):
    code, shown = doctor(capsys, "zheng68")
    assert code == cli.MISTAKE and "did you mean zheng68k?" in shown
    code, shown = doctor(capsys, "ms_like")
    assert code == cli.GOOD and "nothing to fetch" in shown
