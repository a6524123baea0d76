"""The trainer: the mathematics of a step, the choice of an epoch, and numbers that go wrong."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

from leadline import training
from leadline.config import MlpConfig, TrainConfig, resolve
from leadline.config.compose import compose, shipped
from leadline.distributed import World
from leadline.errors import UserError
from leadline.models.dropout import CellDropout, keep, random_words, set_cells
from leadline.models.mlp import Mlp
from leadline.models.network import DrawKey
from leadline.runs import identity, prepare, record
from leadline.runs.run import run
from leadline.studies.launchers import execute as executing
from leadline.studies.launchers.base import QueuedRun
from leadline.training import fit as fitting
from leadline.training import precision
from leadline.training import step as guards
from leadline.training.fit import batch_of, order_of, rate_of_epoch, rate_of_step, steps_of
from leadline.training.objectives import Classification, class_weights
from leadline.training.precision import determinism
from leadline.training.step import Stepper
from networks import (
    CollapsedScbert,
    Drawing,
    Mixing,
    Partly,
    PublishedScbert,
    TinyScbert,
    classifier,
    fit_and_predict,
    halves,
    tiny_scgpt,
)
from small import small_cells

GOLDEN = Path(__file__).parent / "golden"


def columns(rows, name):
    return np.array([row[name] for row in rows])


# Schedules and order


def test_the_published_learning_rates_for_sixty_epochs():
    golden = json.loads((GOLDEN / "scbert_lr_epochs1_60.json").read_text())
    config = TrainConfig(lr=1e-4, schedule="scbert_cosine_restarts")
    found = [rate_of_epoch(config, epoch) for epoch in range(1, 61)]
    assert len(golden) == 60
    np.testing.assert_allclose(found, golden, rtol=1e-12)


def test_step_and_warm_up():
    config = TrainConfig(lr=1e-4, schedule="step", gamma=0.9)
    assert [rate_of_epoch(config, e) for e in (1, 2, 3)] == pytest.approx([1e-4, 9e-5, 8.1e-5])
    config = TrainConfig(lr=1.0, warmup_epochs=1.5)
    rates = [rate_of_step(config, epoch, step, 4) for epoch in (1, 2) for step in range(4)]
    assert rates == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1, 1])


def test_order_depends_on_seed_and_epoch_alone_and_holds_every_cell_once():
    first = order_of(101, seed=5, epoch=2, order="shuffled")
    np.testing.assert_array_equal(first, order_of(101, seed=5, epoch=2, order="shuffled"))
    for other in ({"seed": 6, "epoch": 2}, {"seed": 5, "epoch": 3}):
        assert (first != order_of(101, order="shuffled", **other)).any()
    batches = [batch_of(first, step, 8) for step in range(steps_of(101, 8))]
    assert [len(batch) for batch in batches] == [8] * 12 + [5]
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(101))
    np.testing.assert_array_equal(order_of(4, seed=5, epoch=2, order="fixed"), np.arange(4))


# The mathematics of a step


@pytest.mark.parametrize("weights", ["none", "train", "whole"])
@pytest.mark.parametrize("micro_batch", ["auto", "3"])
def test_a_step_is_adam_on_torchs_weighted_mean(weights, micro_batch):
    train, _ = halves()
    model = Mlp(MlpConfig(name="mlp", hidden=[16], dropout=0.0))
    whole = np.array([7, 5, 100])
    learner = classifier(
        model, class_weights=weights, whole_K=whole, micro_batch=micro_batch, clip=0.05
    )
    learner.setting.train.epochs, learner.setting.train.batch_size = 1, 20
    torch.manual_seed(3)
    bare = model.build(train)
    counts = {"none": np.ones(3), "train": np.bincount(train.labels_C), "whole": whole}[weights]
    weight_K = torch.tensor(1 / counts, dtype=torch.float32)
    optimiser = torch.optim.Adam(bare.parameters(), lr=1e-3)
    order = order_of(len(train), seed=3, epoch=1, order="shuffled")
    losses = []
    for step in range(steps_of(len(train), 20)):
        batch = model.encode(train).batch(batch_of(order, step, 20), DrawKey(seed=3, epoch=1))
        loss = cross_entropy(model.logits(bare, batch), batch["labels"], weight_K)
        losses.append((loss.item(), weight_K[batch["labels"]].sum().item()))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(bare.parameters(), 0.05)
        optimiser.step()
    fit = learner.fit(train, None)
    for ours, theirs in zip(learner.network.parameters(), bare.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
    expected = np.average([x for x, _ in losses], weights=[w for _, w in losses])
    assert fit.epochs[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"class_weights": "train"}, {"optimiser": "adamw"}])
def test_accumulation_changes_nothing_beyond_rounding(options):
    rows, proba, facts = fit_and_predict(options=options)
    for micro_batch in ("1", "2", "5"):
        rows_m, proba_m, facts_m = fit_and_predict(options=options | {"micro_batch": micro_batch})
        for name in ("train_loss", "selection_loss"):
            np.testing.assert_allclose(
                columns(rows_m, name), columns(rows, name), rtol=0, atol=1e-5
            )
        np.testing.assert_allclose(proba_m, proba, atol=1e-5)
        assert facts_m["execution"]["cells_at_a_time"] == int(micro_batch)


def test_class_weights_are_inverse_counts_with_mean_one():
    weight_K = class_weights(np.array([10, 40, 0]), 3)
    np.testing.assert_allclose(weight_K, [2.5, 0.625, 0])
    assert np.average(weight_K[:2], weights=[10, 40]) == pytest.approx(1)
    np.testing.assert_array_equal(class_weights(None, 2), [1, 1])


def test_frozen_and_unused_parameters_stay_as_they_were():
    train, _ = halves()
    learner = classifier(Partly(), optimiser="adamw", weight_decay=0.1)
    torch.manual_seed(3)
    before = Partly().build(train).state_dict()
    fit = learner.fit(train, None)
    after = learner.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"hidden.1.0.weight", "hidden.1.0.bias", "head.weight", "head.bias"}
    assert set(fit.facts["trainable_groups"]) == {"hidden.1.0", "head", "unused"}
    assert fit.facts["parameters_total"] - fit.facts["parameters_trainable"] == 41 * 16


def test_no_activation_of_a_frozen_prefix_is_kept():
    train, _ = halves()
    model = Partly()
    network = model.build(train).train()
    batch = model.encode(train).batch(np.arange(7), DrawKey(seed=1, epoch=1))
    set_cells(network, seed=1, epoch=1, rows=np.arange(7))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.shape) or x, lambda x: x):
        model.logits(network, batch)
    assert (7, 40) not in kept  # the input of the frozen layer; (7, 16) feeds the first free one
    assert kept.count(torch.Size([7, 16])) == 1


@pytest.mark.parametrize("model", [None, TinyScbert, PublishedScbert, CollapsedScbert, tiny_scgpt])
def test_activations_can_be_computed_again_instead_of_kept(model):
    options, cells = {"model": model, "epochs": 1}, {"sizes": (12, 10, 8)}
    plain = fit_and_predict(options=options, cells=cells)
    again = fit_and_predict(options=options | {"activation_checkpointing": True}, cells=cells)
    np.testing.assert_allclose(again[1], plain[1], atol=1e-7)


def test_computing_again_needs_a_model_that_names_its_blocks():
    nameless = type("Nameless", (Drawing,), {"blocks": lambda self, network: ()})
    with pytest.raises(UserError, match="needs a model that names its blocks: got Nameless"):
        fit_and_predict(options={"activation_checkpointing": True, "model": nameless})


# Dropout that belongs to cells


def test_a_cells_mask_depends_on_seed_epoch_cell_and_layer_and_on_nothing_else():
    def masks(rows, seed=1, epoch=1):
        network = nn.Sequential(CellDropout(0.3), CellDropout(0.3)).train()
        set_cells(network, seed=seed, epoch=epoch, rows=np.array(rows))
        return [layer(torch.ones(len(rows), 5, 40)) for layer in network]

    first, second = masks([4, 9, 2])
    assert not torch.equal(first, second) and not torch.equal(first[0], first[1])
    torch.testing.assert_close(masks([9])[0][0], first[1], rtol=0, atol=0)
    assert not torch.equal(masks([4, 9, 2], epoch=2)[0], first)
    assert not torch.equal(masks([4, 9, 2], seed=2)[0], first)
    assert first.unique().tolist() == [0, pytest.approx(1 / 0.7)]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_masks_look_like_independent_draws(share):
    network = nn.Sequential(CellDropout(share)).train()
    set_cells(network, seed=7, epoch=3, rows=np.arange(400))
    kept = keep(network[0].key_2B, 1000, share).double() - (1 - share)
    variance = share * (1 - share)
    # Each sum of 400,000 independent draws, whether of one element or of products of two.
    limit = 4.5 * np.sqrt(variance / kept.numel())
    assert abs(kept.mean().item()) < limit
    for other in (kept.roll(1, 0), kept.roll(1, 1), kept.roll((1, 1), (0, 1))):
        assert abs((kept * other).mean().item()) < 4.5 * variance / np.sqrt(kept.numel())
    # Cells and elements as a whole: neither is favoured.
    for axis, length in ((0, 400), (1, 1000)):
        z = kept.sum(axis) / np.sqrt(variance * length)
        assert 0.85 < z.var().item() < 1.15


def test_dropout_needs_to_be_aimed_and_does_nothing_when_predicting():
    layer = CellDropout(0.5)
    with pytest.raises(RuntimeError, match="needs aim"):
        layer(torch.ones(2, 3))
    assert torch.equal(layer.eval()(torch.ones(2, 3)), torch.ones(2, 3))


# Choosing an epoch


def scripted(monkeypatch, scores):
    """Let the selection set say these things, epoch by epoch."""
    left = iter(scores)
    monkeypatch.setattr(fitting, "score", lambda *_: {"classes_named": 2} | next(left))


@pytest.mark.parametrize(("select_by", "best"), [("accuracy", 2), ("macro_f1", 3), ("loss", 1)])
def test_the_epoch_is_chosen_by_the_named_score_and_ties_keep_the_earlier(
    monkeypatch, select_by, best
):
    table = [(0.2, 0.5, 0.3), (0.3, 0.9, 0.3), (0.2, 0.9, 0.4), (0.4, 0.1, 0.4)]
    scripted(
        monkeypatch, [dict(zip(("loss", "accuracy", "macro_f1"), x, strict=True)) for x in table]
    )
    train, test = halves()
    learner = classifier(epochs=4, select_by=select_by)
    fit = learner.fit(train, test)
    assert fit.facts["best_epoch"] == best and fit.facts["selected_by"] == select_by
    # The weights are those of that epoch: a fit that ends there has the same.
    scripted(monkeypatch, [{"loss": 1 / e, "accuracy": e, "macro_f1": e} for e in range(1, 5)])
    other = classifier(epochs=best, select_by=select_by)
    other.fit(train, test)
    np.testing.assert_array_equal(learner.predict_proba(test), other.predict_proba(test))


def test_patience_ends_a_fit(monkeypatch):
    scripted(monkeypatch, [{"loss": x, "accuracy": 0, "macro_f1": 0} for x in (3, 2, 2, 2, 1)])
    train, test = halves()
    fit = classifier(epochs=5, patience=2, select_by="loss").fit(train, test)
    assert len(fit.epochs) == 4 and fit.facts["best_epoch"] == 2 and fit.facts["stopped_early"]


def test_without_selection_cells_the_last_epoch_is_taken():
    train, test = halves()
    learner = classifier(patience=1)
    fit = learner.fit(train, None)
    assert fit.facts["best_epoch"] == 3 and fit.facts["selected_by"] == "last epoch"
    assert set(fit.epochs[0]) == {"epoch", "lr", "train_loss"}
    assert learner.predict_proba(test).shape == (45, 3)


def test_selection_scores_are_those_of_the_metrics():
    train, test = halves()
    learner = classifier(epochs=1)
    row = learner.fit(train, test).epochs[0]
    proba = learner.predict_proba(test)
    truth = test.labels_C
    assert row["selection_accuracy"] == (proba.argmax(1) == truth).mean()
    expected = -np.log(proba[np.arange(len(truth)), truth]).mean()
    assert row["selection_loss"] == pytest.approx(expected, rel=1e-6)
    assert row["selection_classes_named"] == len(np.unique(proba.argmax(1)))


# Numbers that go wrong


class Poisoned(Mlp):
    """Gives NaN for one cell of the training part."""

    def __init__(self):
        super().__init__(MlpConfig(name="mlp", hidden=[], dropout=0.0))

    def encode(self, cells):
        source = super().encode(cells)
        source.matrix_CG = source.matrix_CG.copy()
        if "cell7" in cells.ids:
            row = int(np.flatnonzero(cells.ids == "cell7")[0])
            source.matrix_CG.data[source.matrix_CG.indptr[row]] = np.nan
        return source


def test_a_loss_that_is_no_number_stops_with_the_cells_and_the_last_good_epoch():
    train = small_cells(sizes=(40, 30, 20)).take(np.arange(1, 90, 2))
    learner = classifier(Poisoned())
    with pytest.raises(training.NumbersWrong) as caught:
        learner.fit(train, None)
    message = str(caught.value)
    assert "the loss is nan in epoch 1" in message and "last good epoch: none" in message
    assert "cell7" in message.partition("this batch: ")[2].split(", ")
    assert all(torch.isfinite(p).all() for p in learner.network.parameters())


def test_infinite_gradients_stop_too_and_many_cells_are_cut_short():
    ids = np.array([f"c{i}" for i in range(40)])
    with pytest.raises(
        training.NumbersWrong, match="the gradient norm is inf in epoch 3, step 2; "
    ):
        guards.check_finite(1.0, np.inf, epoch=3, step=1, ids=ids, last_good=2)
    with pytest.raises(training.NumbersWrong, match="last good epoch: epoch 2.*c31 and 8 more$"):
        guards.check_finite(np.nan, 1.0, epoch=3, step=1, ids=ids, last_good=2)
    guards.check_finite(1.0, 1.0, epoch=3, step=1, ids=ids, last_good=2)


def test_an_exploding_loss_warns(monkeypatch):
    assert guards.exploded([1.0, 0.5, 1.6]) == (
        "the training loss exploded in epoch 3: 1.6 after 0.5"
    )
    assert guards.exploded([1.0]) is None and guards.exploded([1.0, 0.5, 1.4]) is None
    monkeypatch.setattr(
        fitting, "rate_of_step", lambda config, epoch, *_: 10.0 if epoch == 3 else 1e-3
    )
    train, _ = halves()
    (warning,) = classifier(epochs=3).fit(train, None).warnings
    assert warning.startswith("the training loss exploded in epoch 3: ")


class Hungry(Mlp):
    """Runs out of memory whenever it sees more than some cells."""

    most = 3
    error = torch.OutOfMemoryError("CUDA out of memory")

    def __init__(self):
        super().__init__(MlpConfig(name="mlp", hidden=[16], dropout=0.3))

    def logits(self, network, batch):
        if len(batch["genes"]) > self.most:
            raise self.error
        return super().logits(network, batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_halves_the_micro_batch_and_changes_nothing(error, monkeypatch):
    monkeypatch.setattr(Hungry, "error", error)
    told = []
    train, test = halves()
    learner = classifier(Hungry(), told=told)
    fit = learner.fit(train, test)
    assert fit.facts["execution"]["cells_at_a_time"] == 2
    assert [line for line in told if "out of memory" in line] == [
        "out of memory: 4 cells at a time from here on",
        "out of memory: 2 cells at a time from here on",
    ]
    _, proba, _ = fit_and_predict()
    np.testing.assert_allclose(learner.predict_proba(test), proba, atol=1e-5)


def test_memory_for_not_even_one_cell_is_explained(monkeypatch):
    monkeypatch.setattr(Hungry, "most", 0)
    train, _ = halves()
    with pytest.raises(UserError, match="got out of memory with 1 cells at a time; use a smaller"):
        classifier(Hungry()).fit(train, None)
    with pytest.raises(UserError, match="with 4 cells at a time; let train.micro_batch=auto"):
        classifier(Hungry(), micro_batch="4").fit(train, None)


def test_ranks_try_before_the_first_step_whether_memory_will_do(monkeypatch):
    """What `_settle` does on each rank: the longest cells are tried, and nothing is left of it."""
    tried = []

    class Long(Mixing):
        most = 3

        def logits(self, network, batch):
            tried.append(batch["labels"].tolist())
            if len(batch["labels"]) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().logits(network, batch) + torch.rand(())

    train, _ = halves()
    model = Long()
    source, network = model.encode(train), model.build(train)
    source.lengths_C = np.arange(len(train))
    setting = classifier(model, optimiser="adamw", weight_decay=0.5).setting
    stepper = Stepper(Classification(model, np.ones(3), labels="truth"), network, source, setting)
    before = {name: x.clone() for name, x in network.state_dict().items()}
    generator = torch.get_rng_state()
    stepper._settle(np.arange(8), 1)
    assert stepper.micro == 2 and list(map(len, tried)) == [8, 4, 2]
    assert tried[-1] == train.labels_C[[-1, -2]].tolist()
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


def test_an_error_that_is_not_about_memory_is_not_swallowed(monkeypatch):
    monkeypatch.setattr(Hungry, "error", RuntimeError("shapes do not match"))
    train, _ = halves()
    with pytest.raises(RuntimeError, match="shapes do not match"):
        classifier(Hungry()).fit(train, None)


# Precision and determinism


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision_learns(amp, capsys):
    rows, proba, facts = fit_and_predict(options={"amp": amp, "epochs": 6, "lr": 0.01})
    assert ("fp16 is slow on a CPU" in capsys.readouterr().err) == (amp == "fp16")
    full, _, _ = fit_and_predict(options={"epochs": 6, "lr": 0.01})
    assert rows[-1]["train_loss"] == pytest.approx(full[-1]["train_loss"], abs=0.05)
    assert np.isfinite(proba).all()


def test_fp16_leaves_out_steps_until_its_scale_fits():
    train, _ = halves()
    model = Mlp(MlpConfig(name="mlp", hidden=[16], dropout=0.0))
    learner = classifier(model, amp="fp16")
    source, network = model.encode(train), model.build(train)
    objective = Classification(model, np.ones(3), labels="truth")
    stepper = Stepper(objective, network, source, learner.setting)
    stepper.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = [p.clone() for p in network.parameters()]
    taken = stepper.take(np.arange(8), 1, 1e-3)
    assert not np.isfinite(taken.norm) and stepper.skipped == 1 and stepper.may_overflow()
    assert all(map(torch.equal, before, network.parameters()))
    assert stepper.scaler.get_scale() == 2.0**39


@pytest.mark.parametrize(
    ("device", "asked", "done"),
    [
        *(("cpu", "auto", "exact"), ("cpu", "tf32", "exact"), ("cpu", "bf16", "bf16")),
        *(("cuda", "auto", "tf32"), ("cuda", "exact", "exact"), ("cuda", "bf16", "bf16")),
    ],
)
def test_how_products_are_rounded_is_set_for_the_fit_alone(device, asked, done):
    config, on = TrainConfig(matmul=asked), torch.device(device)
    assert precision.products(config, on) == done
    before = torch.get_float32_matmul_precision()
    with precision.rounding(config, on):
        expected = "high" if done == "tf32" else "highest"
        assert torch.get_float32_matmul_precision() == expected
    assert torch.get_float32_matmul_precision() == before == "highest"


def test_rounded_products_learn_nearly_the_same_and_are_recorded():
    (rows, proba, facts), (rows_r, proba_r, facts_r) = (
        fit_and_predict(options={"matmul": matmul}) for matmul in ("auto", "bf16")
    )
    assert facts["execution"]["matmul"] == "exact" and facts_r["execution"]["matmul"] == "bf16"
    assert 1e-5 < abs(proba - proba_r).max() < 0.05


def test_a_kernel_of_attention_that_cannot_be_deterministic_is_named_in_every_run():
    text = "Memory Efficient attention defaults to a non-deterministic algorithm. To explicitly"
    for _ in range(2):
        with determinism(TrainConfig(), torch.device("cuda")) as unable:
            assert torch.is_warn_always_enabled()  # torch itself says it once a process
            for _ in range(3):
                warnings.warn(text, stacklevel=1)
        assert unable == {"Memory Efficient attention"} and not torch.is_warn_always_enabled()


@pytest.mark.parametrize(
    "words",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "NCCL error: unhandled cuda error. Last error: Cuda failure 2 'out of memory'",
    ],
)
def test_every_way_in_which_a_gpu_runs_out_of_memory_is_understood(words):
    assert guards.out_of_memory(torch.AcceleratorError(words))
    told = executing.failed(QueuedRun(run_id="x", words=(), runs_dir=""), f"x failed: {words}")
    assert told.memory and told.transient
    assert not guards.out_of_memory(torch.AcceleratorError("CUDA error: device-side assert"))


def test_judging_an_epoch_holds_fewer_cells_when_memory_runs_out():
    class Short(Mlp):
        def logits(self, network, batch):
            if not torch.is_grad_enabled() and len(batch["labels"]) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().logits(network, batch)

    config = MlpConfig(name="mlp", hidden=[16], dropout=0.3)
    rows, proba, _ = fit_and_predict(options={"model": lambda: Short(config)})
    expected, _, _ = fit_and_predict()
    assert columns(rows, "selection_loss") == pytest.approx(columns(expected, "selection_loss"))


def test_what_cannot_be_deterministic_is_named():
    with determinism(TrainConfig(), torch.device("cpu")) as unable:
        assert torch.are_deterministic_algorithms_enabled()
        warnings.warn("cumsum_cuda does not have a deterministic implementation", stacklevel=1)
    assert unable == {"cumsum_cuda"} and not torch.are_deterministic_algorithms_enabled()
    with determinism(TrainConfig(deterministic=False), torch.device("cpu")) as unable:
        assert not torch.are_deterministic_algorithms_enabled()
    with pytest.raises(UserWarning, match="something else"):
        with determinism(TrainConfig(), torch.device("cpu")):
            warnings.warn("something else", stacklevel=1)


def test_a_fit_leaves_the_callers_cells_and_generators_alone():
    train, test = halves()
    before = train.fingerprint(), test.fingerprint()
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    learner = classifier()
    learner.fit(train, test)
    learner.predict_proba(test)
    assert torch.equal(torch.rand(3), expected)
    assert (train.fingerprint(), test.fingerprint()) == before


# Sizes at the edge


@pytest.mark.parametrize(("sizes", "n_genes"), [((2,) * 1000, 30), ((2, 2), 5), ((40, 30, 20), 40)])
def test_a_thousand_classes_two_cells_and_a_batch_larger_than_the_data(sizes, n_genes):
    train, test = halves(sizes=sizes, n_genes=n_genes)
    learner = classifier(batch_size=100_000 if len(sizes) < 1000 else 500, epochs=2)
    fit = learner.fit(train, test)
    proba = learner.predict_proba(test)
    assert proba.shape == (len(test), len(sizes)) and np.isfinite(fit.epochs[0]["selection_loss"])
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    unseen = np.setdiff1d(np.arange(len(sizes)), train.labels_C)
    assert (proba[:, unseen] == 0).all()


def test_one_class_and_a_model_that_is_all_frozen_are_refused():
    train, _ = halves(sizes=(40,))
    with pytest.raises(UserError, match="at least 2 classes.*got 20 cells, all 'type 0'"):
        classifier().fit(train, None)
    frozen = type(
        "Frozen",
        (Drawing,),
        {"build": lambda self, t: Drawing.build(self, t).requires_grad_(False)},
    )
    with pytest.raises(UserError, match="every parameter is frozen"):
        classifier(frozen()).fit(halves()[0], None)


def test_the_scaling_comes_from_the_training_cells_alone():
    train, test = halves()
    network = Mlp(MlpConfig(name="mlp")).build(train)
    dense = train.lognorm().toarray()
    np.testing.assert_allclose(network.centre_G, dense.mean(axis=0), rtol=1e-5)
    varies = dense.std(axis=0) > 0
    np.testing.assert_allclose(network.factor_G[varies], 1 / dense.std(axis=0)[varies], rtol=1e-4)
    plain = Mlp(MlpConfig(name="mlp", scaling="none")).build(train)
    assert (plain.centre_G == 0).all() and (plain.factor_G == 1).all()


def test_a_model_that_mixes_cells_says_so_in_the_record():
    train, _ = halves()
    fit = classifier(Mixing()).fit(train, None)
    assert fit.warnings == [
        "the result depends on how cells are batched: batch norm mixes the cells of a micro-batch"
    ]


def test_before_step_is_called_once_a_step_whatever_the_micro_batches():
    seen = []
    counting = type(
        "Counting", (Mixing,), {"before_step": lambda self, network, step: seen.append(step)}
    )
    train, _ = halves()
    classifier(counting(), epochs=2, batch_size=20, micro_batch="5").fit(train, None)
    assert seen == list(range(1, 7))


# A masked objective: sums over positions, masks that belong to cells


class Masked:
    """Predicts whether each masked gene is expressed; the weight is the number of masked genes."""

    def loss(self, network, batch):
        logits_BG = network(batch["genes"] * ~batch["masked"])
        truth_BG = (batch["genes"] > 0).float()
        loss_BG = nn.functional.binary_cross_entropy_with_logits(
            logits_BG, truth_BG, reduction="none"
        )
        return (loss_BG * batch["masked"]).sum(), batch["masked"].sum()

    def tally(self, network, batch):
        loss, weight = self.loss(network, batch)
        return {"loss": loss.double().numpy(), "weight": weight.double().numpy()}

    def scores(self, tally):
        return {"loss": tally["loss"] / tally["weight"], "masked": tally["weight"]}


class MaskedCells:
    """Masks a share of genes, drawn for each cell and epoch."""

    def __init__(self, cells):
        self.matrix_CG = cells.lognorm()

    def __len__(self):
        return self.matrix_CG.shape[0]

    def batch(self, rows, moment):
        words = random_words(seed=moment.seed, epoch=moment.epoch, rows=rows)
        masked = [
            np.random.default_rng(word).random(self.matrix_CG.shape[1]) < 0.2 for word in words
        ]
        genes = torch.from_numpy(self.matrix_CG[rows].toarray())
        return {"genes": genes, "masked": torch.from_numpy(np.array(masked))}


def test_a_masked_objective_is_fitted_over_positions_whatever_the_micro_batches():
    train, test = halves()
    fits, networks = [], []
    for micro_batch in ("auto", "3"):
        setting = classifier(micro_batch=micro_batch, select_by="loss", lr=0.02).setting
        torch.manual_seed(0)
        network = nn.Linear(40, 40)
        fit = training.FitLoop(
            Masked(), network, MaskedCells(train), MaskedCells(test), setting, ids=train.ids
        )
        fits.append(fit.run())
        networks.append(network)
    torch.testing.assert_close(networks[0].weight, networks[1].weight, rtol=0, atol=1e-5)
    losses = [columns(fit.rows, "selection_loss") for fit in fits]
    np.testing.assert_allclose(*losses, atol=1e-5)
    assert losses[0][-1] < losses[0][0]
    # Masks change from epoch to epoch in training, and are the same whenever it is judged.
    assert len(set(columns(fits[0].rows, "selection_masked"))) == 1


# What names a run


def test_training_settings_name_the_runs_of_networks_and_of_no_baseline():
    def named(by_epochs, part="train", **changes):
        plain = compose(["model=mlp" if by_epochs else "model=majority"])
        config = replace(plain, **{part: replace(getattr(plain, part), **changes)})
        return identity.identity(identity.resolved(config))

    science = [{"lr": 0.1}, {"epochs": 3}, {"amp": "bf16"}, {"batch_size": 64}, {"freeze": "paper"}]
    operational = [
        *({"devices": 4}, {"micro_batch": "2"}, {"checkpoint_minutes": 1.0}, {"compile": True}),
        *({"device": "cpu"}, {"deterministic": False}, {"keep_best": False}, {"threads": 1}),
        {"matmul": "exact"},
        *({"activation_checkpointing": True}, {"save_embeddings": True}, {"redraw_every": 16}),
    ]
    for changes in science:
        assert named(True, **changes) != named(True)
        assert named(False, **changes) == named(False)
    for changes in operational:
        assert named(True, **changes) == named(True)
    for changes in ({"class_weights": "train"}, {"order": "fixed"}, {"select_by": "loss"}):
        assert named(True, "protocol", **changes) != named(True)
        assert named(False, "protocol", **changes) == named(False)
    listed = {key for changes in (*science, *operational) for key in changes}
    rest = {"optimiser", "eps", "weight_decay", "schedule", "gamma", "warmup_epochs", "clip"}
    assert listed | rest | {"patience"} == set(TrainConfig.__dataclass_fields__)
    assert set(named(True)["train"]) == rest | {
        *("patience", "lr", "epochs", "amp", "batch_size", "freeze")
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("train.epochs=0", r"train.epochs must lie in \[1, 100000\]: got 0"),
        ("train.batch_size=0", r"train.batch_size must lie in \[1"),
        ("train.lr=0", r"train.lr must lie in \(0, 10\]: got 0"),
        ("train.lr=fast", "train.lr must be a number"),
        ("train.clip=0", r"train.clip must lie in \(0, inf\)"),
        ("train.optimiser=sgd", "train.optimiser must be one of adam, adamw"),
        ("train.schedule=cosine", "train.schedule must be one of constant, scbert_cosine"),
        ("train.amp=fp8", "train.amp must be one of none, bf16, fp16"),
        ("train.matmul=fp8", "train.matmul must be one of auto, exact, tf32, bf16"),
        ("train.micro_batch=0", "train.micro_batch must be auto or a whole number above 0"),
        ("train.micro_batch=some", "train.micro_batch must be auto or a whole number above 0"),
        ("train.devices=0", r"train.devices must lie in \[1"),
        ("train.device=tpu", "train.device must be one of auto, cpu, cuda"),
        ("train.patience=-1", r"train.patience must lie in \[0"),
        ("train.checkpoint_minutes=0", r"train.checkpoint_minutes must lie in \(0"),
        ("model.dropout=1", r"model.dropout must lie in \[0, 0.95\]"),
        ("model.hidden=[0]", r"model.hidden must lie in \[1"),
        ("model.scaling=robust", "model.scaling must be one of zscore, none"),
    ],
)
def test_settings_out_of_range_are_explained(word, message):
    with pytest.raises(UserError, match=message):
        compose(["model=mlp", word])


def test_presets_show_every_setting():
    shown = yaml.safe_load((shipped("conf") / "train" / "default.yaml").read_text())
    assert set(shown) - {"defaults"} == set(TrainConfig.__dataclass_fields__)
    assert compose(["train=default"]).train == TrainConfig()
    scbert, scgpt = (compose([f"train={name}_paper"]).train for name in ("scbert", "scgpt"))
    assert (scbert.schedule, scbert.epochs, scbert.lr) == ("scbert_cosine_restarts", 10, 1e-4)
    assert (scgpt.schedule, scgpt.eps, scgpt.amp) == ("step", 1e-4, "fp16")


@pytest.mark.parametrize(
    ("model", "expected"),
    [("scbert", ("accuracy", "whole", "shuffled")), ("scgpt", ("loss", "none", "fixed"))],
)
def test_what_published_training_is(model, expected):
    switches = ("select_by", "class_weights", "order")
    assert tuple(resolve.published_training(name, model) for name in switches) == expected


def test_the_network_comes_near_logistic_regression_on_the_embedded_cells(tmp_path):
    facts = record.read_facts(run(compose(["model=mlp", "seed=1", f"runs_dir={tmp_path}"])))
    # Logistic regression with C = 0.1 has 0.807 here.
    assert facts["metrics"]["test"]["accuracy"] > 0.78
    assert facts["cost"]["training_seconds"] > 0 and facts["provenance"]["device"] == "cpu"


def test_weights_over_the_whole_set_are_warned_of(tmp_path):
    words = ["model=mlp", "train.epochs=1", "protocol.class_weights=whole", f"runs_dir={tmp_path}"]
    facts = record.read_facts(run(compose(words)))
    assert "class weights count the reported cells too, as in the paper's code" in facts["warnings"]
    assert facts["fit"]["class_weights"] == "whole"


class Collapsed(Mlp):
    """Always prefers the first class."""

    def logits(self, network, batch):
        return super().logits(network, batch) * 1e-9 + torch.tensor([1.0, 0.0, 0.0])


def test_a_network_that_names_one_class_is_flagged_as_collapsed():
    train, test = halves()
    fit = classifier(Collapsed(MlpConfig(name="mlp")), epochs=1).fit(train, test)
    assert "collapsed: one class is named for every cell of the selection set" in fit.warnings


def test_several_processes_for_a_baseline_are_refused(monkeypatch):
    monkeypatch.setattr(prepare.distributed, "from_environment", lambda: World(rank=1, size=2))
    with pytest.raises(UserError, match="model=majority is computed by one process: got 2"):
        prepare.prepare(compose(["model=majority"]))


# torch's compiler uses parts of torch that torch itself calls deprecated.
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.slow
def test_a_compiled_network_learns_the_same():
    rows, proba, _ = fit_and_predict()
    rows_c, proba_c, _ = fit_and_predict(options={"compile": True})
    np.testing.assert_allclose(
        columns(rows_c, "train_loss"), columns(rows, "train_loss"), atol=1e-4
    )
    np.testing.assert_allclose(proba_c, proba, atol=1e-4)
