"""Masked pretraining: the masks, what is measured, and the run that leaves weights for others."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from killing import Killed, die_before
from leadline import distributed, models, training
from leadline.config import TrainConfig
from leadline.config.compose import compose
from leadline.data.splits import pretraining_cells
from leadline.errors import UserError
from leadline.models.network import DrawKey
from leadline.models.scbert.pretraining import (
    MASK,
    HiddenBins,
    ScbertMaskedBatches,
    heuristics,
    lowest,
    masks,
    modes,
)
from leadline.models.scbert.tokens import N_TOKENS, tokenise
from leadline.processes import StopRequest
from leadline.report.frame import frame as tidy
from leadline.runs import prepare, record, starting_weights
from leadline.runs import records as results
from leadline.runs.record import State
from leadline.runs.run import run
from leadline.stats import metrics
from leadline.training.pretrainer import Pretrainer
from pretrainable import Fake
from small import small_cells

GOLDEN = Path(__file__).parent / "golden" / "scbert_datamask.npz"
NOW = DrawKey(seed=3, epoch=2)


# ---- masks


@pytest.mark.parametrize("seed", [0, 1])
def test_masks_are_those_of_the_original_given_its_random_numbers(seed):
    # From the original's masking with torch.manual_seed 0 and 1; 24 random bits are exact here.
    golden = np.load(GOLDEN)
    tokens = golden["tokens"]
    torch.manual_seed(seed)
    first, second = torch.rand(tokens.shape).numpy(), torch.rand(tokens.shape).numpy()
    cell, gene = np.nonzero(tokens)
    draw = ((1 - first[cell, gene].astype(np.float64)) * 2**24).astype(np.uint64)
    places = lowest(cell, draw, len(tokens))
    chosen = np.zeros(tokens.shape, bool)
    chosen[cell[places], gene[places]] = True
    np.testing.assert_array_equal(np.where(chosen, tokens, MASK), golden[f"labels_seed{seed}"])
    shown = np.where(chosen & (second < 0.9), MASK, tokens)
    np.testing.assert_array_equal(shown, golden[f"masked_seed{seed}"])


@pytest.mark.parametrize(
    ("held", "wanted"), [(1, 1), (6, 1), (7, 2), (20, 3), (60, 9), (100, 16), (0, 0)]
)
def test_so_many_are_chosen_with_the_product_in_single_precision(held, wanted):
    cell = np.concatenate([np.zeros(held, int), np.ones(5, int)])
    draw = np.random.default_rng(0).integers(0, 2**24, held + 5).astype(np.uint64)
    chosen = np.zeros(held + 5, bool)
    chosen[lowest(cell, draw, 2)] = True
    assert chosen[:held].sum() == wanted
    assert chosen[held:].sum() == 1
    if wanted:
        assert draw[:held][chosen[:held]].max() <= np.sort(draw[:held])[wanted - 1]


@settings(deadline=None)
@given(st.lists(st.integers(0, 90), max_size=12), st.integers(0, 24), st.integers(0, 9))
def test_the_lowest_draws_are_those_that_a_sort_finds(held, bits, seed):
    cell = np.repeat(np.arange(len(held)), held)
    # Few bits make ties.
    draw = np.random.default_rng(seed).integers(0, 2**bits, len(cell)).astype(np.uint64)
    expected = []
    for one in range(len(held)):
        places = np.flatnonzero(cell == one)
        wanted = int(np.ceil(np.float32(0.15) * np.float32(len(places))))
        expected += sorted(places[np.argsort(draw[places], kind="stable")[:wanted]])
    assert lowest(cell, draw, len(held)).tolist() == expected


def test_a_cell_is_masked_alike_whatever_cells_it_comes_with():
    tokens = tokenise(small_cells(sizes=(30, 30), n_genes=80))
    source = ScbertMaskedBatches(tokens, collapsed=False)
    rows = np.array([4, 50, 7, 7, 21])
    together = source.batch(rows, NOW)["tokens"].numpy()
    for place, row in enumerate(rows):
        alone = source.batch(np.array([row]), NOW)["tokens"].numpy()
        np.testing.assert_array_equal(together[place], alone[0])
    for other in (DrawKey(seed=4, epoch=2), DrawKey(seed=3, epoch=3)):
        assert (source.batch(rows, other)["tokens"].numpy() != together).any()


def test_shares_of_chosen_and_hidden_are_as_published():
    rng = np.random.default_rng(0)
    n_cells, held = 2000, 200
    cell = np.repeat(np.arange(n_cells), held)
    gene = np.tile(np.arange(held, dtype=np.int32), n_cells)
    bins = rng.integers(1, 6, len(cell)).astype(np.uint8)
    places, shown = masks(cell, gene, bins, np.arange(n_cells), NOW)
    chosen = np.zeros(len(cell), bool)
    chosen[places] = True
    assert chosen.reshape(n_cells, held).sum(axis=1).tolist() == [31] * n_cells
    hidden = shown == MASK
    assert not hidden[~chosen].any()
    assert hidden.sum() / chosen.sum() == pytest.approx(0.9, abs=0.005)
    # Every gene is chosen as often as any other: 62,000 choices of 200 genes.
    by_gene = chosen.reshape(n_cells, held).sum(axis=0)
    assert np.abs(by_gene - 310).max() < 5.5 * np.sqrt(310)
    np.testing.assert_array_equal(shown[~hidden], bins[~hidden])


# ---- the objective


def networks():
    """The same function of the counts of tokens, once for tokens and once collapsed."""
    torch.manual_seed(0)
    table = torch.randn(N_TOKENS, N_TOKENS)
    mixing = torch.randn(N_TOKENS, N_TOKENS)

    def whole(network, batch):
        counts = torch.nn.functional.one_hot(batch["tokens"].long(), N_TOKENS).sum(dim=1)
        share = counts.float() / batch["tokens"].shape[1]
        logits = table[batch["tokens"].long()] + (share @ mixing)[:, None]
        return logits.flatten(0, 1)[batch["where"]]

    def collapsed(network, batch):
        share = batch["counts"].float() / batch["counts"].sum(dim=1, keepdim=True)
        return (table + (share @ mixing)[:, None]).flatten(0, 1)[batch["where"]]

    return whole, collapsed


def test_counts_of_tokens_give_what_all_positions_give():
    tokens = tokenise(small_cells(sizes=(30, 20), n_genes=120))
    rows = np.arange(50)
    found = []
    for logits, collapsed in zip(networks(), (False, True), strict=True):
        batch = ScbertMaskedBatches(tokens, collapsed=collapsed).batch(rows, NOW)
        objective = HiddenBins(logits)
        loss, weight = objective.loss(None, batch)
        tally = objective.tally(None, batch)
        found.append([float(loss), float(weight), *objective.scores(tally).values()])
        table = objective.tables(tally)["confusion_of_bins.csv"]
        assert np.loadtxt(table.splitlines()[1:], delimiter=",")[:, 1:].sum() == pytest.approx(
            tally["confusion"].sum()
        )
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


def test_scores_are_those_of_a_plain_loop():
    tokens = tokenise(small_cells(sizes=(12, 9), n_genes=90))
    batch = ScbertMaskedBatches(tokens, collapsed=False).batch(np.arange(21), NOW)
    logits = networks()[0](None, batch)
    found = HiddenBins(networks()[0])
    scores = found.scores(found.tally(None, batch))
    labels, cells = batch["label"].numpy(), batch["cell"].numpy()
    hidden = batch["shown"].numpy() == MASK
    any_bin = logits.argmax(dim=1).numpy()
    some_bin = logits[:, 1:6].argmax(dim=1).numpy() + 1
    common = np.array([np.bincount(row[row > 0]).argmax() for row in tokens.dense(np.arange(21))])
    by_cell = [(some_bin == labels)[cells == b].mean() for b in range(21)]
    named_common = any_bin == common[cells]
    all_common = [
        named_common[hidden & (cells == b)].all()
        for b in range(21)
        if (hidden & (cells == b)).any()
    ]
    one_name = [
        len(set(any_bin[hidden & (cells == b)])) == 1
        for b in range(21)
        if (hidden & (cells == b)).any()
    ]
    assert scores == pytest.approx(
        {
            "loss": float(cross_entropy(logits, batch["label"])),
            "accuracy": (any_bin == labels)[hidden].mean(),
            "masking_accuracy_per_cell": np.mean(by_cell),
            "frac_cells_predict_most_common_bin": np.mean(all_common),
            "frac_cells_one_prediction": np.mean(one_name),
            "frac_masked_preds_eq_most_common_bin": named_common[hidden].mean(),
        }
    )


def test_rules_without_a_network_are_judged_on_the_same_positions():
    cells = small_cells(sizes=(60, 40), n_genes=90)
    train, other = tokenise(cells.take(np.arange(70))), tokenise(cells.take(np.arange(70, 100)))
    moment = DrawKey(seed=5, epoch=0)
    batch = ScbertMaskedBatches(other, collapsed=False).batch(np.arange(30), moment)
    hidden = batch["shown"].numpy() == MASK
    label, cell = batch["label"].numpy()[hidden], batch["cell"].numpy()[hidden]
    gene = batch["where"].numpy()[hidden] % 91
    dense = train.dense(np.arange(70))
    mode = np.bincount(dense[dense > 0]).argmax()
    mode_of = [
        np.bincount(column[column > 0]).argmax() if column.any() else mode for column in dense.T
    ]
    found = heuristics(train, other, moment)
    assert found == pytest.approx(
        {
            "heuristic_accuracy_most_common_bin": (batch["common_B"].numpy()[cell] == label).mean(),
            "heuristic_accuracy_gene_mode": (np.array(mode_of)[gene] == label).mean(),
            "heuristic_accuracy_corpus_mode": (mode == label).mean(),
        }
    )
    assert modes(train)[1] == mode


@pytest.mark.parametrize(
    ("scores", "warned"),
    [
        ({"masking_accuracy": 0.5, "heuristic_accuracy_a": 0.5, "heuristic_accuracy_b": 0.4}, "a"),
        ({"masking_accuracy": 0.5, "heuristic_accuracy_a": 0.4, "heuristic_accuracy_b": 0.6}, "b"),
        ({"masking_accuracy": 0.51, "heuristic_accuracy_a": 0.5}, None),
        ({"masked_loss": 3.0, "heuristic_loss_a": 4.0, "heuristic_loss_b": 2.0}, "b"),
        ({"masked_loss": 1.9, "heuristic_loss_a": 4.0, "heuristic_loss_b": 2.0}, None),
        ({"gene2vec_agreement": 0.4}, None),
    ],
)
def test_a_network_no_better_than_the_best_rule_is_warned_of(scores, warned):
    said = metrics.no_better_than_rules(scores)
    assert [text.rpartition(" ")[2] for text in said] == ([] if warned is None else [warned])


# ---- the run


def pretrainer(collapsed=False, world=None, vault=None, notice=None, **train):
    settings = {"epochs": 3, "batch_size": 8, "threads": 1} | train
    setting = training.FitSettings(
        train=TrainConfig(**settings),
        seed=3,
        world=world or distributed.World(),
        vault=vault or training.CheckpointsInMemory(),
        notice=notice or StopRequest(),
    )
    return Pretrainer(Fake(collapsed), setting)


def halves():
    cells = small_cells(sizes=(40, 30, 20), n_genes=60)
    return cells.take(np.arange(0, 90, 2)), cells.take(np.arange(1, 90, 2))


def pretrain_on_rank(world=None, notice=None, options=None):
    train, test = halves()
    learner = pretrainer(world=world, notice=notice, **(options or {}))
    fit = learner.fit(train, test)
    return [dict(row) for row in fit.epochs], learner.measure(test).scores


@pytest.mark.parametrize("collapsed", [False, True])
def test_genes_are_learnt_from_genes(collapsed):
    train, test = halves()
    learner = pretrainer(collapsed, epochs=8, lr=0.03)
    fit = learner.fit(train, test)
    assert fit.epochs[-1]["train_loss"] < fit.epochs[0]["train_loss"] - 0.2
    scores = learner.measure(test).scores
    best = fit.epochs[fit.facts["best_epoch"] - 1]
    assert scores["masking_accuracy"] == best["selection_accuracy"]
    assert scores["masked_loss"] == pytest.approx(best["selection_loss"], rel=1e-6)
    assert "heuristic_accuracy_gene_mode" in scores


def test_pieces_of_a_batch_change_nothing():
    whole, pieces = (pretrain_on_rank(options=o) for o in ({}, {"micro_batch": "3"}))
    for one, other in zip(whole[0], pieces[0], strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert whole[1] == pytest.approx(pieces[1], rel=1e-4)


@pytest.mark.slow
def test_two_ranks_do_what_one_does():
    from leadline.training.ranks import ranks

    rows, scores = ranks(2, "cpu", pretrain_on_rank, {})
    expected_rows, expected = pretrain_on_rank()
    for one, other in zip(rows, expected_rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    assert scores == pytest.approx(expected, rel=1e-3)


@pytest.fixture
def fakes(monkeypatch):
    """Have model=mlp stand for the small network that can be pretrained."""
    monkeypatch.setattr(models, "build_network", lambda chosen, *, train, start=None: Fake())


def words(folder, *more):
    return [
        *("task=pretrain", "model=mlp", "train.epochs=2", "train.threads=1", f"runs_dir={folder}"),
        *more,
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """One pretraining run for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "build_network", lambda chosen, *, train, start=None: Fake())
        return run(compose(words(folder)))


def test_a_run_leaves_a_record_with_floors_and_weights_in_every_layout(made):
    facts = record.read_facts(made)
    assert record.state(made) is State.DONE
    assert record.verify(made) == []
    assert made.name.startswith("mlp-pretrain-pbmc68k_reduced-f1-s1-")
    for part in ("test", "val"):
        assert {
            "masking_accuracy",
            "masking_accuracy_per_cell",
            "masked_loss",
            "frac_cells_predict_most_common_bin",
            "heuristic_accuracy_most_common_bin",
            "heuristic_accuracy_gene_mode",
            "heuristic_accuracy_corpus_mode",
        } <= set(facts["metrics"][part])
    kept = {path.name for path in (made / "checkpoints").iterdir()}
    assert kept == {"pretrained.pt", "pretrained_published.pth"} == set(facts["fit"]["checkpoints"])
    stored = torch.load(made / "checkpoints" / "pretrained.pt", weights_only=True)
    assert stored["genes"][:2] == ["HES4", "TNFRSF4"]
    with open(made / "epochs.csv") as file:
        assert len(list(csv.DictReader(file))) == 2
    assert (made / "confusion_of_bins.csv").read_text().startswith("bin,named_0")
    assert any("no better than a rule" in text for text in facts["warnings"])


def test_its_numbers_stand_in_the_frame_beside_those_of_other_tasks(made):
    frame = tidy(results.read_done(made.parent))
    row = frame[(frame.metric == "masking_accuracy") & (frame.split == "test")]
    assert row.arm.tolist() == ["mlp pretrain"]
    assert not (frame.metric == "accuracy").any()


def test_claims_about_masking_are_judged_by_such_records(made):
    from leadline.papers import claims

    facts = record.read_facts(made) | {"dataset": "panglao", "model": "scbert"}
    records = [facts | {"arm": "reference"}, facts | {"arm": "no_gene2vec"}]
    evidence = claims.Evidence.of(tidy(records))
    judged = {found.id: found for found in claims.evaluate(evidence, claims.load_claims())}
    for name in ("C24", "C25", "C26"):
        assert judged[name].verdict is claims.Verdict.FAILS
    assert "no_better_than_heuristic" in {raised.flag.id for raised in judged["C24"].flags}


def test_the_corpus_holds_neither_reported_nor_selection_cells(made):
    config = compose(words(made.parent))
    named = prepare.identify_run(config)
    kept = pretraining_cells.read(made)
    for rows, inside in (
        (named.split.train, True),
        (named.split.test, False),
        (named.split.val, False),
    ):
        found = pretraining_cells.seen(kept, named.cells.take(rows), copies=False)
        assert found.all() if inside else not found.any()


def test_cells_without_labels_are_a_corpus_too(fakes, tmp_path):
    folder = run(compose(words(tmp_path, "data.label=null", "data.hard_classes=[]")))
    facts = record.read_facts(folder)
    assert facts["split"]["cells"]["test"] == 140
    assert facts["data"]["classes"] == []


def test_a_killed_run_goes_on_to_the_same_bits(made, fakes, tmp_path):
    more = ["train.checkpoint_minutes=1e-9"]
    for step in (1, 9, 20, 4):
        with pytest.MonkeyPatch.context() as patched:
            die_before(patched, step)
            with pytest.raises(Killed):
                run(compose(words(tmp_path, *more)))
    folder = run(compose(words(tmp_path, *more)))
    assert folder.name == made.name
    for name in ("epochs.csv", "confusion_of_bins.csv", "corpus.npz"):
        assert (folder / name).read_bytes() == (made / name).read_bytes()
    first, second = (
        torch.load(path / "checkpoints" / "pretrained.pt", weights_only=True)["network"]
        for path in (folder, made)
    )
    assert all(torch.equal(first[name], second[name]) for name in second)
    assert record.read_facts(folder)["metrics"] == record.read_facts(made)["metrics"]


def test_killed_after_the_weights_were_kept_it_still_ends_well(fakes, tmp_path, monkeypatch):
    with pytest.MonkeyPatch.context() as patched:

        def dying(self, cells):
            raise Killed

        patched.setattr(Pretrainer, "measure", dying)
        with pytest.raises(Killed):
            run(compose(words(tmp_path)))
    folder = run(compose(words(tmp_path)))
    kept = {path.name for path in (folder / "checkpoints").iterdir()}
    assert kept == {"pretrained.pt", "pretrained_published.pth"}
    record.tidy(folder)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == kept


# ---- starting from it


def started(word, folder, *more):
    """A configuration that starts from a pretraining, as scBERT's and scGPT's do."""
    config = compose(["model=mlp", f"runs_dir={folder}", *more])
    config.model = WithStart(word)
    return config


class WithStart:
    """The settings that `origins` reads of a model."""

    name = "mlp"

    def __init__(self, pretrained):
        self.pretrained = pretrained


def origin_of(word, folder, *more):
    return starting_weights.weights_sources(started(word, folder, *more)).get("pretrained")


@pytest.mark.parametrize("word", ["false", "False", " FALSE "])
def test_false_starts_from_nothing(word, tmp_path):
    assert origin_of(word, tmp_path) is None


def test_a_run_is_named_by_its_id_or_by_the_path_of_its_record(made):
    by_id, by_path = origin_of(made.name, made.parent), origin_of(str(made), "/elsewhere")
    assert by_id == by_path
    assert by_id.identity == made.name
    assert by_id.path == made / "checkpoints" / "pretrained.pt"
    starting_weights.require_ready(by_id, started(made.name, made.parent))


def test_a_file_is_known_by_its_content_and_never_by_its_path(tmp_path):
    for name in ("first.pth", "second.pth"):
        (tmp_path / name).write_bytes(b"weights")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "args.json").write_text("{}")
    first, second, folder = (
        origin_of(str(tmp_path / name), tmp_path) for name in ("first.pth", "second.pth", "folder")
    )
    assert first.identity == second.identity != folder.identity
    assert first.identity.startswith("sha256:")
    (tmp_path / "second.pth").write_bytes(b"other weights")
    assert origin_of(str(tmp_path / "second.pth"), tmp_path).identity != first.identity


def test_a_run_that_is_not_done_is_refused_with_the_command_that_makes_it(made, tmp_path):
    origin = origin_of(made.name, tmp_path)
    with pytest.raises(UserError, match=r"missing .*model=mlp data=pbmc68k_reduced seed=1"):
        starting_weights.require_ready(origin, started(made.name, tmp_path))
    folder = tmp_path / made.name
    folder.mkdir()
    (folder / "config.yaml").write_text((made / "config.yaml").read_text())
    with pytest.raises(UserError, match=r"interrupted .*seed=1 train.epochs=2"):
        starting_weights.require_ready(origin, started(made.name, tmp_path))


def test_weights_that_were_changed_are_refused(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / made.name)
    origin = origin_of(folder.name, tmp_path)
    with open(folder / "checkpoints" / "pretrained.pt", "ab") as file:
        file.write(b"!")
    with pytest.raises(UserError, match="weights of a finished run must not change"):
        starting_weights.require_ready(origin, started(folder.name, tmp_path))
    (folder / "checkpoints" / "pretrained.pt").unlink()
    with pytest.raises(UserError, match="is not there"):
        starting_weights.require_ready(origin, started(folder.name, tmp_path))


def test_a_run_of_another_task_or_model_is_refused(made, tmp_path):
    folder = run(compose(["model=majority", f"runs_dir={tmp_path}"]))
    with pytest.raises(UserError, match="task=classify model=majority"):
        starting_weights.require_ready(
            origin_of(folder.name, tmp_path), started(folder.name, tmp_path)
        )
    other = started(made.name, made.parent)
    other.model.name = "scgpt"
    with pytest.raises(UserError, match="must name a run of task=pretrain model=scgpt"):
        starting_weights.require_ready(origin_of(made.name, made.parent), other)


def test_a_word_that_is_nothing_is_refused_with_the_nearest(made):
    with pytest.raises(UserError, match="a run's id or a file: got 'publishd'.*published"):
        origin_of("publishd", made.parent)


def test_published_weights_that_are_not_there_say_where_to_get_them(tmp_path):
    config = started("published", tmp_path, f"data_dir={tmp_path}")
    config.model.name = "scbert"
    with pytest.raises(UserError, match="panglao_pretrain.pth: got nothing there; get https"):
        starting_weights.weights_sources(config)


def test_a_published_list_of_genes_serves_gene2vec_too(tmp_path):
    words = ["task=pretrain", "model=gene2vec", "model.genes=published", f"data_dir={tmp_path}"]
    with pytest.raises(UserError, match="genes.txt: got nothing there; get the var_names"):
        run(compose(words))


def test_a_network_of_another_size_is_refused(made):
    config, origin = started(made.name, made.parent), origin_of(made.name, made.parent)
    stored = made / "config.yaml"
    assert "hidden" in stored.read_text()
    starting_weights.require_size(origin, config)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(starting_weights, "SIZES", ("hidden",))
        config.model.hidden = [7]
        with pytest.raises(UserError, match=r"hidden=\[7\] instead of \[256\]; add model.hidden"):
            starting_weights.require_size(origin, config)


@pytest.mark.slow
@pytest.mark.parametrize("gene2vec", ["built", "false"])
def test_scbert_starts_from_a_pretraining_of_its_own(gene2vec, tmp_path):
    common = [
        *("model=scbert", "model.size=tiny", f"model.gene2vec={gene2vec}", "train.epochs=1"),
        *("train.threads=1", f"runs_dir={tmp_path}"),
    ]
    first = run(compose(["task=pretrain", *common]))
    start = f"model.pretrained={first.name}"
    facts = record.read_facts(run(compose([*common, start])))
    told = facts["fit"]["start"]
    assert told["identity"] == first.name
    assert told["wrong_shape"] == {}
    assert all(name.startswith("to_out.") for name in [*told["missing"], *told["unexpected"]])
    published = first / "checkpoints" / "pretrained_published.pth"
    again = record.read_facts(run(compose([*common, f"model.pretrained={published}"])))
    assert again["fit"]["start"]["fingerprint"] == told["fingerprint"]
    assert again["run_id"] != facts["run_id"]
    assert again["metrics"] == facts["metrics"]
    with pytest.raises(UserError, match=r"model.size=small instead of tiny.*; add model.size=tiny"):
        run(compose([*common[:1], "model.size=small", *common[2:], start]))
    with pytest.raises(UserError, match="must not have seen the cells"):
        run(compose([*common, start, "protocol.split_seed=1"]))


# ---- what was seen


def test_a_pretraining_that_saw_the_reported_cells_is_refused(made):
    origin = origin_of(made.name, made.parent)
    here = prepare.identify_run(compose(["model=mlp"]))
    reported = here.cells.take(here.split.test)
    starting_weights.require_unseen(origin, reported, started(made.name, made.parent))
    elsewhere = prepare.identify_run(compose(["model=mlp", "protocol.split_seed=1"]))
    with pytest.raises(UserError, match=r"99 of 140 reported cells in the corpus of mlp-pre"):
        starting_weights.require_unseen(
            origin,
            elsewhere.cells.take(elsewhere.split.test),
            started(made.name, made.parent),
        )


def renamed(cells, ids):
    return small_cells(
        sizes=(20, 30),
        n_genes=200,
        ids=np.asarray(ids),
        matrix_CG=cells.matrix_CG,
        library_C=cells.library_C,
    )


def test_cells_are_known_by_id_and_by_what_they_express():
    cells = small_cells(sizes=(20, 30), n_genes=200)
    kept = pretraining_cells.describe(cells)
    assert pretraining_cells.seen(kept, cells, copies=False).all()
    # On another scale, with the genes in another order, they are the same cells.
    order = np.random.default_rng(0).permutation(200)
    turned = small_cells(
        sizes=(20, 30), n_genes=200, matrix_CG=cells.matrix_CG[:, order], genes=cells.genes[order]
    )
    assert pretraining_cells.seen(kept, turned, copies=False).all()
    # The same barcodes in another experiment are other cells.
    other = small_cells(sizes=(20, 30), n_genes=200, seed=9)
    assert not pretraining_cells.seen(kept, other, copies=True).any()
    # The same cells under other names are copies.
    copies = renamed(cells, [f"other{i}" for i in range(50)])
    assert pretraining_cells.seen(kept, copies, copies=True).all()
    assert not pretraining_cells.seen(kept, copies, copies=False).any()


def test_with_other_genes_the_ids_decide():
    cells = small_cells(sizes=(20, 30), n_genes=200)
    fewer = small_cells(sizes=(20, 30), n_genes=100, matrix_CG=cells.matrix_CG[:, :100])
    assert pretraining_cells.seen(pretraining_cells.describe(cells), fewer, copies=False).all()


# ---- settings that do not go together


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["model=logreg"], "needs a model that learns genes from genes: got model=logreg"),
        (["model=mlp"], "needs a model that learns genes from genes: got model=mlp"),
        (["model=mlp", "protocol.select_by=macro_f1"], "got protocol.select_by=macro_f1"),
    ],
)
def test_what_does_not_go_with_pretraining_is_refused(more, message, tmp_path):
    with pytest.raises(UserError, match=message):
        run(compose(["task=pretrain", f"runs_dir={tmp_path}", *more]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("label", ["bulk_labels", "null"])
def test_cells_with_too_few_genes_are_set_aside(label, tmp_path):
    hard = [] if label != "null" else ["data.hard_classes=[]"]
    for task in ("pretrain", "classify")[: 2 if label != "null" else 1]:
        config = compose(
            [f"task={task}", "model=mlp", f"data.label={label}", "data.min_genes=200", *hard]
        )
        named = prepare.identify_run(config)
        held = np.diff(named.cells.matrix_CG.indptr)
        split = named.split
        assert held[split.dropped].max() < 200
        used = np.concatenate([split.train, split.val, split.test, split.unlabelled])
        assert held[used].min() >= 200
        assert len(used) + len(split.dropped) == 700
        assert f"set aside: {len(split.dropped)} cells" in " ".join(split.warnings)
    with pytest.raises(UserError, match="none of 700 expresses 1,000"):
        prepare.identify_run(compose(["data.min_genes=1000"]))


def test_labels_and_what_only_they_decide_do_not_name_a_pretraining(tmp_path):
    first, second = (
        prepare.identify_run(compose(words(tmp_path, *more))).run_id
        for more in ([], ["protocol.metric_labels=all", "protocol.class_weights=train"])
    )
    assert first == second
    other = prepare.identify_run(compose(words(tmp_path, "train.lr=0.1"))).run_id
    assert other != first
