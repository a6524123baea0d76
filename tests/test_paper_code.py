"""protocol=paper_code against what the originals' scripts draw and compute."""

import dataclasses
import json
import random
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.svm import LinearSVC

from leadline.cli.doctor import of_shared_order
from leadline.config import LogregConfig, MlpConfig, PublishedData, ScbertConfig, ScgptConfig
from leadline.config.compose import compose
from leadline.data.cells import Scale
from leadline.data.datasets.published import PAPER_SETS, join
from leadline.data.splits.draws import draw_selection
from leadline.errors import UserError
from leadline.models import build
from leadline.models.logreg.solvers import solve
from leadline.models.mlp import Mlp
from leadline.models.network import DrawKey
from leadline.models.scbert.model import Scbert
from leadline.models.scgpt.attention import TokenAttention
from leadline.models.scgpt.model import Scgpt
from leadline.models.scgpt.tokens import bin_cells
from leadline.runs import identity
from leadline.runs.prepare import prepare
from leadline.runs.run import run
from leadline.training.fit import DrawsWithReplacement, FitLoop
from networks import classifier, halves
from small import saved, small_cells

GOLDEN = Path(__file__).parent / "golden"
ROOT = Path(__file__).parents[1]
ONE_STREAM = {"solver": "liblinear", "one_vs_rest": "one_stream"}


def resolved(*words):
    return identity.resolved(compose(words))


def logreg(**changes):
    return LogregConfig(**({"name": "logreg"} | ONE_STREAM | changes))


# ---- logistic regression


def native(x, y, value, seed):
    """All classes in one call, by scikit-learn's own one-vs-rest path of liblinear."""
    fit = getattr(pytest.importorskip("sklearn.svm._base"), "_fit_liblinear", None)
    if fit is None:
        pytest.skip("this scikit-learn hides its call of liblinear elsewhere")
    settings = (True, 1, None, "l1", False, 0, 100, 1e-4, seed)
    weights, intercept, _ = fit(x, y, value, *settings)
    return np.column_stack([weights, intercept])


@pytest.mark.parametrize("sizes", [(18, 22, 14, 16), (25, 30)])
@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_one_liblinear_call_serves_all_classes_bit_by_bit_at_every_c(sizes):
    cells = small_cells(sizes=sizes, n_genes=30, signal=1.6)
    x, y = cells.lognorm(), cells.labels_C
    grid = compose([]).model.grid
    fit = solve(x, y, grid, np.arange(len(y)), logreg(), seed=5, threads=1)
    for r, value in enumerate(grid):
        np.testing.assert_array_equal(
            fit.coef_R[r].toarray(), native(x.toarray(), y, value, 5), err_msg=f"C = {value}"
        )


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_the_numbers_of_one_call_are_those_that_were_kept():
    # Of scikit-learn 1.9.1; the paper's 1.3.1 gives the same bits.
    cells = small_cells(sizes=(18, 22, 14, 16), n_genes=12, signal=1.6)
    x, y = cells.lognorm(), cells.labels_C
    with np.load(GOLDEN / "liblinear_one_stream.npz") as kept:
        fit = solve(x, y, [0.1, 10, 1000], np.arange(len(y)), logreg(), seed=5, threads=1)
        for value, coef_JG in zip((0.1, 10, 1000), fit.coef_R, strict=True):
            np.testing.assert_allclose(coef_JG.toarray(), kept[f"C={value:g}"], atol=1e-9)
            apart = solve(
                x, y, [value], np.arange(len(y)), logreg(one_vs_rest="separate"), seed=5, threads=1
            )
            assert np.abs(apart.coef_R[0].toarray() - coef_JG.toarray()).max() > 1e-5


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_the_scripts_c_is_chosen():
    cells = small_cells(sizes=(30, 40, 25), n_genes=30, signal=1.6)
    x, y = cells.lognorm().toarray(), cells.labels_C
    grid = [0.1, 10, 1000]
    fit = build(logreg(grid=grid), seed=7).fit(cells, None)
    curve = []
    for value in grid:
        right = []
        for fitted, held in StratifiedKFold(5).split(x, y):
            coef = native(x[fitted], y[fitted], value, 0)
            called = (x[held] @ coef[:, :-1].T + coef[:, -1]).argmax(axis=1)
            right.append((called == y[held]).mean())
        curve.append(np.mean(right))
    assert fit.facts["cross_validation"]["accuracy"] == curve
    assert fit.facts["C"] == grid[int(np.argmax(curve))]


@pytest.mark.filterwarnings("ignore:Liblinear failed to converge")
def test_on_pbmc_liblinear_goes_on_with_the_stream_that_drew_the_cells():
    words = ["model=logreg", "model.solver=liblinear", "protocol=paper_code", "seed=3"]
    job = prepare(compose([*words, "data.fraction=0.25"]))
    train = job.cells.take(job.split.train)
    job.model.fit(train, None)
    stream = np.random.RandomState(3)
    stream.choice(560, 140, replace=False)
    expected = native(train.lognorm().toarray(), train.labels_C, 0.1, stream)
    np.testing.assert_array_equal(job.model.solution.coef_R[-1].toarray(), expected)
    seeded = native(train.lognorm().toarray(), train.labels_C, 0.1, 3)
    assert (expected != seeded).any()


def test_a_scikit_learn_that_calls_class_by_class_only_is_refused(monkeypatch):
    def fit(self, X, y, sample_weight=None):
        raise ValueError("Unsupported set of arguments")

    monkeypatch.setattr(LinearSVC, "fit", fit)
    with pytest.raises(UserError, match=r"one_stream needs a scikit-learn .*: got scikit-learn "):
        build(logreg(C=1.0), seed=1).fit(small_cells(), None)


def test_one_stream_belongs_to_liblinear():
    with pytest.raises(UserError, match="the path draws nothing: got model.one_vs_rest=one_stream"):
        compose(["model.one_vs_rest=one_stream"])
    liblinear = "model.solver=liblinear"
    assert resolved(liblinear, "protocol=paper_code").model.one_vs_rest == "one_stream"
    assert resolved("protocol=paper_code").model.one_vs_rest == "separate"
    assert resolved(liblinear).model.one_vs_rest == "separate"
    assert "one_vs_rest" not in identity.identity(resolved(liblinear))["model"]


# ---- scGPT


@pytest.fixture(scope="module")
def scgpt_words(tmp_path_factory):
    """A file with training and test cells, and a vocabulary that knows part of their genes."""
    folder = tmp_path_factory.mktemp("scgpt")
    words = ["data=ms_like", "data.n_train=150", "data.n_test=60", "data.n_genes=120"]
    words += ["data.n_classes=3", f"data_dir={folder}", f"runs_dir={folder / 'runs'}"]
    genes = prepare(compose([*words, "model=majority", "protocol=paper_code"])).cells.genes
    known = [*genes[::3].tolist(), *genes[1::3].tolist(), "<pad>", "<cls>", "<eoc>"]
    path = folder / "vocab.json"
    path.write_text(json.dumps({name: place for place, name in enumerate(known)}))
    words += ["model=scgpt", "model.size=tiny", f"model.vocabulary={path}", "protocol=paper_code"]
    return words, known


def as_the_script(cells, known, seed, fraction):
    """What the script makes of the cells: bins, cells that train, cells that select."""
    genes = np.flatnonzero(np.isin(cells.genes, known))
    matrix = cells.matrix_CG[:, genes]
    rows = {part: np.flatnonzero(cells.given_C == part) for part in ("train", "test")}
    np.random.seed(seed)
    bins = {}
    for part in ("train", "test"):
        for row in rows[part]:
            values = matrix[[row]]
            state = np.random.RandomState()
            state.set_state(np.random.get_state())
            bins[row] = bin_cells(values, 51, state).data
            np.random.rand(values.nnz)
    few = rows["train"]
    if fraction != 1:
        few, _ = train_test_split(
            few, train_size=fraction, random_state=seed, stratify=cells.labels_C[few]
        )
    return bins, *train_test_split(few, test_size=0.1, shuffle=True)


@pytest.mark.parametrize(("fraction", "seed"), [(1.0, 1), (0.25, 2), (0.5, 3)])
def test_scgpts_hold_out_and_bins_are_the_scripts(scgpt_words, fraction, seed):
    words, known = scgpt_words
    job = prepare(compose([*words, f"data.fraction={fraction}", f"seed={seed}"]))
    before = np.random.get_state()
    try:
        bins, train, held = as_the_script(job.cells, known, seed, fraction)
    finally:
        np.random.set_state(before)
    np.testing.assert_array_equal(job.split.train, train)
    np.testing.assert_array_equal(job.split.val, held)
    network = job.model
    network.build(job.cells.take(job.split.train))
    for part in (job.split.train, job.split.val, job.split.test):
        source = network.encode(job.cells.take(part))
        _, _, bin_T = source.tokens(np.arange(len(part)), DrawKey(seed=seed, epoch=1))
        expected = np.concatenate([[0, *bins[row]] for row in part])
        np.testing.assert_array_equal(bin_T, expected)


def test_cells_that_the_script_never_binned_are_binned_all_the_same(scgpt_words):
    words, _ = scgpt_words
    job = prepare(compose(words))
    network, train = job.model, job.cells.take(job.split.train)
    network.build(train)
    renamed = dataclasses.replace(train, ids=np.array([f"new {name}" for name in train.ids]))
    # Another file may call its cells the same.
    others = dataclasses.replace(train.take(np.arange(1, len(train))), ids=train.ids[1:])
    mixed = dataclasses.replace(others, ids=train.ids[:-1])
    for cells in (renamed, mixed):
        counts = np.diff(network.known_part(cells)[0].indptr)
        assert network.tie_stream.numbers(cells.ids, counts) is None
        assert len(network.encode(cells)) == len(cells)


@pytest.mark.parametrize(("cells", "held"), [(7844, 785), (3922, 393), (1961, 197), (784, 79)])
def test_the_size_of_the_hold_out_is_rounded_up_as_in_the_paper(cells, held):
    pool, nothing = np.arange(cells), np.arange(0)
    protocol = compose(["protocol.selection=holdout_scgpt"]).protocol
    labels = np.zeros(cells, np.int32)
    train, val = draw_selection(labels, pool, nothing, nothing, protocol, 1)
    assert (len(val), len(train)) == (held, cells - held)
    plain = compose(["protocol.selection=holdout"]).protocol
    assert len(draw_selection(labels, pool, nothing, nothing, plain, 1)[1]) == round(cells / 10)


def test_paper_code_breaks_ties_at_random_unless_the_model_says_otherwise():
    assert resolved("model=scgpt", "protocol=paper_code").model.ties == "random"
    middle = resolved("model=scgpt", "protocol=paper_code", "model.ties=middle")
    assert middle.model.ties == "middle"
    corrected = identity.identity(resolved("model=scgpt"))
    assert corrected["model"]["ties"] == "middle" and "ties" not in corrected["protocol"]


def test_from_scratch_attention_starts_as_two_linear_layers():
    assert resolved("model=scgpt", "protocol=paper_code").model.attention_start == "linear"
    assert resolved("model=scgpt").model.attention_start == "xavier"
    assert "attention_start" not in identity.identity(resolved("model=scgpt"))["model"]
    width = 256
    torch.manual_seed(0)
    ours = TokenAttention(width, 8, 0.0, "sdpa", "linear")
    plain = TokenAttention(width, 8, 0.0, "sdpa")
    one, out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
    for ours_, theirs in (
        (ours.in_proj_weight, one.weight),
        (ours.in_proj_bias, one.bias),
        (ours.out_proj.weight, out.weight),
        (ours.out_proj.bias, out.bias),
    ):
        assert ours_.abs().max() <= width**-0.5
        assert ours_.std().item() == pytest.approx(theirs.std().item(), rel=0.08)
    ratio = (ours.in_proj_weight.std() / plain.in_proj_weight.std()).item()
    assert ratio == pytest.approx((2 / 3) ** 0.5, rel=0.01)
    assert not plain.in_proj_bias.any() and not plain.out_proj.bias.any()
    network = Scgpt(ScgptConfig(name="scgpt", size="tiny", attention_start="linear"))
    assert network.build(small_cells()).transformer_encoder.layers[0].self_attn.in_proj_bias.any()


@pytest.mark.parametrize("page", ["scgpt", "scbert", "baseline"])
def test_commands_that_are_called_the_papers_are(page):
    text = (ROOT / "docs" / f"{page}.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ +leadline run (.*?)# the paper's$", text, re.MULTILINE)
    config = resolved(*shlex.split(line))
    assert config.protocol.name == "paper_code"
    expected = {"scgpt": "random", "scbert": "batch", "baseline": "one_stream"}
    setting = {"scgpt": "ties", "scbert": "stabiliser", "baseline": "one_vs_rest"}
    assert getattr(config.model, setting[page]) == expected[page]


# ---- scBERT


def test_the_preset_of_scberts_authors_is_their_protocol():
    train = compose(["model=scbert", "train=scbert_original"]).train
    assert train.patience == 11
    assert train.micro_batch == "3"
    assert train.eps == 1e-8 / 60
    assert train.batch_size == 180


def test_drawing_with_replacement_is_the_authors_stream():
    # Of 560 training cells their first epoch saw 357, its validation 92 of 140, with seed 2021.
    draws = DrawsWithReplacement(2021, 560, 140)
    train, selection = draws.of_epoch(1)
    assert (len(train), len(set(train.tolist()))) == (560, 357)
    assert (len(selection), len(set(selection.tolist()))) == (140, 92)
    stream = random.Random(2021)
    for _ in range(2):
        expected = [[stream.randint(0, n - 1) for _ in range(n)] for n in (560, 140)]
    second = draws.of_epoch(2)
    np.testing.assert_array_equal(second[0], expected[0])
    np.testing.assert_array_equal(second[1], expected[1])
    # Who goes on after a stop starts anywhere.
    np.testing.assert_array_equal(DrawsWithReplacement(2021, 560, 140).of_epoch(2)[0], second[0])
    np.testing.assert_array_equal(draws.of_epoch(1)[0], train)


def test_a_fit_trains_and_is_judged_on_the_cells_that_were_drawn(monkeypatch):
    train, selection = halves()
    seen, step = [], FitLoop.one_step

    def one_step(self, rows):
        seen.extend(rows.tolist())
        step(self, rows)

    monkeypatch.setattr(FitLoop, "one_step", one_step)
    learner = classifier(epochs=1, order="replacement", seed=4)
    (row,) = learner.fit(train, selection).epochs
    drawn, judged = DrawsWithReplacement(4, len(train), len(selection)).of_epoch(1)
    assert seen == drawn.tolist()
    right = learner.predict_proba(selection).argmax(axis=1) == selection.labels_C
    assert row["selection_accuracy"] == pytest.approx(right[judged].mean())
    assert right[judged].mean() != right.mean()
    assert resolved("model=mlp", "protocol.order=replacement").protocol.order == "replacement"


def test_pretraining_under_paper_code_draws_with_replacement():
    words = ["task=pretrain", "model=scbert", "data=panglao"]
    assert resolved(*words, "protocol=paper_code").protocol.order == "replacement"
    assert resolved(*words).protocol.order == "shuffled"
    assert resolved("model=scbert", "protocol=paper_code").protocol.order == "shuffled"


def test_the_papers_pretraining_takes_8_cells_at_a_time_and_redraws_every_16_steps():
    words = ["task=pretrain", "model=scbert", "train=pretrain_scbert_paper"]
    config = resolved(*words)
    assert config.train.micro_batch == "8"
    assert config.model.redraw_every == 16
    assert resolved(*words, "model.redraw_every=0").model.redraw_every == 0
    default = resolved("model=scbert")
    assert default.model.redraw_every == 1000
    assert identity.identity(default)["model"]["redraw_every"] == 1000
    assert "redraw_every" not in identity.identity(default)["train"]
    # Another model's pretraining reads nothing of it.
    compose(["task=pretrain", "model=scgpt", "train=pretrain_scbert_paper"])


@pytest.mark.parametrize("name", ["scbert", "scgpt", "mlp"])
def test_classes_without_training_cells_can_be_named_as_in_the_papers_networks(name):
    train, test = halves()
    train = train.take(np.flatnonzero(train.labels_C != 1))
    kinds = {
        "scbert": (Scbert, ScbertConfig, {"size": "tiny", "gene2vec": "random"}),
        "scgpt": (Scgpt, ScgptConfig, {"size": "tiny"}),
        "mlp": (Mlp, MlpConfig, {}),
    }
    kind, schema, settings = kinds[name]
    for named in (False, True):
        model = kind(schema(name=name, **settings))
        model.names_all_classes = named
        learner = classifier(model, epochs=1)
        learner.fit(train, test)
        assert bool((learner.predict_proba(test)[:, 1] > 0).all()) is named
    paper = resolved(f"model={name}", "protocol=paper_code").protocol
    assert paper.named_classes == ("trained" if name == "mlp" else "all")
    corrected = identity.identity(resolved(f"model={name}"))
    assert "named_classes" not in corrected["protocol"]


def test_a_record_names_the_classes_that_a_network_could_not(tmp_path):
    cells = small_cells(sizes=(30, 40, 20), scale=Scale.COUNTS)
    given = np.where((np.arange(90) % 3 == 0) | (cells.labels_C == 2), "test", "train")
    path = saved(cells, tmp_path / "cells.h5ad", batch=given)
    words = ["data=h5ad", f"data.path={path}", "data.label=celltype", "data.split=protocol"]
    words += ["model=mlp", "train.epochs=1", "protocol.unseen_classes=keep"]
    folder = run(compose([*words, f"runs_dir={tmp_path}", "protocol.duplicates=warn"]))
    warnings = json.loads((folder / "record.json").read_text())["warnings"]
    assert any(
        text.startswith("classes without training cells cannot be named: 'type 2'")
        for text in warnings
    )


# ---- the files of multiple sclerosis


def test_genes_of_the_test_file_can_go_by_place_as_in_the_papers_scripts():
    train, test = small_cells(), small_cells(seed=1)
    turned = dataclasses.replace(test, genes=test.genes[::-1].copy())
    own, placed = join(train, turned), join(train, turned, test_genes="training")
    rows = np.arange(len(train), 2 * len(train))
    np.testing.assert_array_equal(placed.matrix_CG[rows].toarray(), test.matrix_CG.toarray())
    np.testing.assert_array_equal(own.matrix_CG[rows].toarray(), test.matrix_CG.toarray()[:, ::-1])
    fewer = dataclasses.replace(test, genes=test.genes[:-1], matrix_CG=test.matrix_CG[:, :-1])
    with pytest.raises(UserError, match="needs as many in both files: got 40 and 39"):
        join(train, fewer, test_genes="training")
    assert "test_genes" not in identity.science(compose(["data=ms"]).data)


@pytest.mark.parametrize(("turned", "said"), [(False, "in one order"), (True, "not in one order")])
def test_doctor_says_whether_names_and_places_agree(tmp_path, turned, said):
    cells = small_cells()
    first = saved(cells, tmp_path / "train.h5ad")
    genes = cells.genes[::-1].copy() if turned else cells.genes
    second = saved(dataclasses.replace(cells, genes=genes), tmp_path / "test.h5ad")
    data = PublishedData(name="ms", label="celltype")
    (check,) = of_shared_order(first, second, data)
    assert check.text.startswith(f"  genes of both files are {said}")
    assert PAPER_SETS["ms"].named_by_place and not PAPER_SETS["pancreas"].named_by_place
