"""scBERT is the original to the last digits, and without gene2vec a histogram of tokens."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import parity_models
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from leadline.config import ScbertConfig, TrainConfig
from leadline.config.compose import compose
from leadline.errors import UserError
from leadline.files import arrays_of
from leadline.models import build_network
from leadline.models import weights as checkpoints
from leadline.models.network import DrawKey, Start
from leadline.models.scbert import model as scbert
from leadline.models.scbert import network as scbert_network
from leadline.models.scbert import parity as scbert_parity
from leadline.models.scbert.model import Scbert
from leadline.models.scbert.network import AttentionOptions, Head, ScbertNetwork, Shape
from leadline.models.scbert.tokens import MASK
from leadline.runs import identity, record
from leadline.runs.run import run
from leadline.stats import metrics
from networks import classifier, halves
from scbert_networks import (
    FOLDER,
    full_size_step,
    golden,
    golden_network,
    published,
    some_network,
    tokens_and_counts,
)

BOTH = pytest.mark.parametrize("gene2vec", [True, False], ids=["gene2vec", "no_gene2vec"])
FIT_GROUPS = ("norm", "performer.net.layers.1", "to_out")


@pytest.fixture(params=["pieces", "whole"])
def how(request, monkeypatch):
    """Compute blocks in place where no gradient is asked for, or as for one."""
    monkeypatch.setattr(
        scbert_network, "POSITIONS_FOR_PIECES", 0 if request.param == "pieces" else 10**9
    )


def outputs(gene2vec):
    return golden("g2v_outputs" if gene2vec else "nog2v_outputs")


def assert_within(found, expected, limit):
    assert found.shape == expected.shape
    difference = found.detach().double() - expected.detach().double()
    assert float(difference.abs().max()) <= limit


# The original, by its golden vectors


@BOTH
@torch.no_grad()
def test_forward_passes_are_the_originals(gene2vec, how):
    inputs, expected = golden("inputs"), outputs(gene2vec)
    tokens = inputs["tokens"]
    network = golden_network(gene2vec=gene2vec)
    assert_within(network.embed(tokens), expected["embedding"], 0)
    assert_within(network.encode(tokens), expected["encodings"], 1e-5)
    assert_within(network(tokens), expected["mlm_logits"], 1e-5)
    masked = network(inputs["tokens_masked"])
    assert_within(masked, expected["mlm_logits_masked_input"], 1e-5)
    single = torch.cat([network(row[None]) for row in tokens])
    assert_within(single, expected["mlm_logits_single"], 1e-5)
    double = golden_network(gene2vec=gene2vec, dtype=torch.float64)
    assert_within(double(tokens), expected["mlm_logits_f64"], 1e-10)
    classifies = golden_network(gene2vec=gene2vec, classifies=True)
    assert_within(classifies(tokens), expected["cls_logits"], 1e-5)
    single = torch.cat([classifies(row[None]) for row in tokens])
    assert_within(single, expected["cls_logits_single"], 1e-5)


@BOTH
@torch.no_grad()
def test_every_block_is_the_originals(gene2vec, monkeypatch):
    expected, tokens = outputs(gene2vec), golden("inputs")["tokens"]
    network = golden_network(gene2vec=gene2vec)
    x_BND = network.embed(tokens)
    for number, block in enumerate(network.blocks):
        changed = x_BND.clone()
        block.change(changed)
        x_BND = x_BND + block[0](x_BND)
        assert_within(x_BND, expected[f"block{number}_after_attn"], 1e-5)
        x_BND = x_BND + block[1](x_BND)
        assert_within(x_BND, expected[f"block{number}_after_ff"], 1e-5)
        assert_within(changed, expected[f"block{number}_after_ff"], 1e-5)


def losses(network, task):
    inputs = golden("inputs")
    if task == "mlm":
        logits = network(inputs["tokens_masked"]).transpose(1, 2)
        return cross_entropy(logits, inputs["mlm_labels"], ignore_index=MASK)
    return cross_entropy(network(inputs["tokens"]), inputs["cls_labels"], inputs["class_weight"])


@BOTH
@pytest.mark.parametrize("task", ["mlm", "ft"])
def test_training_steps_are_the_originals(gene2vec, task):
    expected = outputs(gene2vec)
    network = golden_network(gene2vec=gene2vec, classifies=task == "ft")
    if task == "ft":
        scbert.keep_frozen(network, "paper")
    changing = {n: p for n, p in network.named_parameters() if p.requires_grad}
    assert task == "mlm" or all(name.startswith(FIT_GROUPS) for name in changing)
    optimiser = torch.optim.Adam(changing.values(), lr=1e-4)
    loss = losses(network, task)
    loss.backward()
    found = {f"{task}_loss": loss}
    found[f"{task}_total_norm"] = nn.utils.get_total_norm([p.grad for p in changing.values()])
    found |= {f"{task}_gradnorm::{n}": p.grad.norm() for n, p in changing.items()}
    gradients = {f"ft_grad::{n}": p.grad.clone() for n, p in changing.items()}
    optimiser.step()
    found[f"{task}_loss_after_step"] = losses(network, task)
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[name].item(), rel=1e-4), name
    assert {n for n in expected if n.startswith(f"{task}_gradnorm::")} <= set(found)
    for name in (n for n in expected if task == "ft" and n.startswith("ft_grad::")):
        largest = float(expected[name].abs().max())
        assert_within(gradients[name], expected[name], 1e-4 * largest)
    if task == "ft":
        assert_within(network(golden("inputs")["tokens"]), expected["cls_logits_after_step"], 1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@BOTH
@torch.no_grad()
def test_the_compiled_backend_is_the_original_too(gene2vec):
    expected, tokens = outputs(gene2vec), golden("inputs")["tokens"]
    network = golden_network(gene2vec=gene2vec, backend="compiled")
    assert_within(network(tokens), expected["mlm_logits"], 1e-5)


class RoundedProducts(TorchDispatchMode):
    """Rounds the factors of every product, as a GPU's tf32 and bf16 do, and adds up exactly."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().partition("::")[2] in ("mm", "addmm", "bmm", "_linear_pointwise"):
            args = [self.rounded(x) if torch.is_tensor(x) and x.dim() > 1 else x for x in args]
        return func(*args, **(kwargs or {}))

    def rounded(self, x):
        if self.how == "bf16":
            return x.bfloat16().float()
        return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize(("how", "limit"), [("tf32", 1e-3), ("bf16", 5e-3)])
@torch.no_grad()
def test_rounded_products_stay_near_the_original(how, limit):
    """What `train.matmul` costs, found on a CPU: relative to the largest value."""
    expected, tokens = outputs(True), golden("inputs")["tokens"]
    with RoundedProducts(how):
        found = golden_network(gene2vec=True).encode(tokens)
    error = (found - expected["encodings"]).abs().max() / expected["encodings"].abs().max()
    assert limit / 50 < float(error) < limit


@torch.no_grad()
def test_the_peers_backend_agrees_with_exact_under_its_stabiliser(how):
    tokens = golden("inputs")["tokens"]
    logits = [
        golden_network(gene2vec=True, stabiliser="head", backend=backend)(tokens)
        for backend in ("performer", "exact")
    ]
    assert_within(*logits, 1e-5)


@torch.no_grad()
def test_a_cell_depends_on_its_batch_under_the_published_stabiliser_alone(how):
    tokens = golden("inputs")["tokens"]
    for stabiliser, low, high in (("batch", 1e-3, 1.0), ("head", 0.0, 1e-5)):
        network = golden_network(gene2vec=True, stabiliser=stabiliser)
        together, alone = network(tokens)[:1], network(tokens[:1])
        assert low <= float((together - alone).abs().max()) <= high


def test_names_and_shapes_are_the_published_ones():
    stored = json.loads((FOLDER / "scbert_state_dict_keys_fullsize.json").read_text())
    shape = Shape(positions=16_907, depth=6, width=200, heads=10, head_width=64)
    with torch.device("meta"):
        head = nn.Linear(200, 7)
        network = ScbertNetwork(
            shape, AttentionOptions(), positions_ND=torch.empty(16_907, 200), head=head
        )
    ours = {name: list(value.shape) for name, value in network.state_dict().items()}
    for code in ("tencent", "paper"):
        theirs = {key: shape for key, (shape, _) in stored[f"{code}/g2v"].items()}
        assert ours == {key.removeprefix(checkpoints.WRAPPER): s for key, s in theirs.items()}
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 5_007_207


# The collapse


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**30),
    cells=st.integers(1, 4),
    positions=st.integers(2, 40),
    highest=st.sampled_from([0, 1, 5, 6]),
    stabiliser=st.sampled_from(["head", "batch"]),
    classifies=st.booleans(),
)
def test_the_collapse_is_the_whole_computation(
    seed, cells, positions, highest, stabiliser, classifies
):
    network = some_network(seed, classifies=classifies, positions=positions, stabiliser=stabiliser)
    tokens_BN, counts_BT, where = tokens_and_counts(seed, cells, positions, highest=highest)
    x_BTD = network.encode_distinct(counts_BT)
    index = tokens_BN[..., None].expand(-1, -1, x_BTD.shape[2])
    if classifies:
        collapsed = network.to_out.of_distinct(x_BTD, *where)
    else:
        collapsed = network.to_out(x_BTD.gather(1, index))
    whole = network(tokens_BN)
    assert_within(collapsed, whole, 1e-10)
    if classifies:
        network.eval()
        with torch.inference_mode():
            assert_within(network.to_out.of_distinct(x_BTD, *where), whole, 1e-10)
    weight = torch.randn(whole.shape, dtype=torch.float64)
    parameters = list(network.parameters())
    pairs = zip(
        torch.autograd.grad((collapsed * weight).sum(), parameters),
        torch.autograd.grad((whole * weight).sum(), parameters),
        strict=True,
    )
    for one, other in pairs:
        assert_within(one, other, 1e-10 * max(1.0, float(other.abs().max())))


def test_evaluation_follows_weights_that_have_changed():
    network = some_network(1, classifies=True)
    tokens_BN, counts_BT, where = tokens_and_counts(1, 3, 30)
    optimiser = torch.optim.Adam(network.parameters(), fused=True)
    for _ in range(2):
        network.train()
        network(tokens_BN).square().sum().backward()
        optimiser.step()
        network.eval()
        with torch.inference_mode():
            found = network.to_out.of_distinct(network.encode_distinct(counts_BT), *where)
            assert_within(found, network(tokens_BN), 1e-10)
    for change in (1.0, 2.0, -0.5):
        with torch.no_grad():
            network.to_out.fc1.weight.mul_(change)
            x_BTD = network.encode_distinct(counts_BT)
            assert_within(network.to_out.of_distinct(x_BTD, *where), network(tokens_BN), 1e-10)


def test_the_adapter_collapses_on_its_own_and_hides_what_the_whole_network_would():
    train, _ = halves()
    model = Scbert(ScbertConfig(name="scbert", size="tiny", gene2vec="false"))
    network = model.build(train).double()
    rows, moment = np.arange(5), DrawKey(seed=1, epoch=1)
    batch = model.encode(train).batch(rows, moment)
    tokens = torch.from_numpy(model.tokens(train).dense(rows))
    assert model.collapsed and set(batch) == {"counts", "cell", "gene", "token", "labels"}
    assert_within(model.logits(network, batch), network(tokens), 1e-10)
    cells = model.embeddings(network, batch)
    encoded = network.encode(tokens)
    assert_within(cells["cells"], encoded.mean(dim=1), 1e-10)
    assert_within(cells["positions"], encoded.sum(dim=0), 1e-10)


# The adapter


def adapter(**changes):
    freeze, start = changes.pop("freeze", "none"), changes.pop("start", None)
    words = {"name": "scbert", "size": "tiny", "gene2vec": "random"} | changes
    return Scbert(ScbertConfig(**words), freeze=freeze, start=start)


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_published_files_fill_the_body_whatever_their_precision_and_head(wrapper, tmp_path):
    train, _ = halves(n_genes=64)
    body, _ = published(gene2vec=True)
    body["pos_emb.emb.weight"] = body["pos_emb.emb.weight"].double()
    state = {wrapper + name: value for name, value in body.items()}
    content = {"epoch": 17, "model_state_dict": state, "losses": np.float64(0.5)}
    torch.save(content, tmp_path / "published.pth")
    sizes = {"size": "paper", "depth": 2, "heads": 2, "gene2vec": "published"}
    start = Start(path=tmp_path / "published.pth", identity="sha256:abc")
    model = adapter(**sizes, start=start)
    network = model.build(train)
    assert torch.equal(network.token_emb.weight, body["token_emb.weight"])
    assert network.pos_emb.emb.weight.dtype == torch.float32
    account = model.facts(network)["start"]
    assert account["identity"] == "sha256:abc" and account["fingerprint"].startswith("sha256:")
    assert account["missing"] == [n for n in network.state_dict() if n.startswith("to_out.")]
    assert account["unexpected"] == ["to_out.weight", "to_out.bias"]
    loaded = sum(p.numel() for n, p in network.named_parameters() if not n.startswith("to_out."))
    assert account["parameters_loaded"] == loaded
    with pytest.raises(UserError, match="got 64 genes in the checkpoint, 40 here"):
        adapter(**sizes, start=start).build(halves()[0])
    with pytest.raises(UserError, match=r"unknown to the network \(pos_emb.emb.weight\)"):
        adapter(**(sizes | {"gene2vec": "false"}), start=start).build(train)
    named = {"gene2vec": "false", "allow_missing": ["pos_emb"]}
    adapter(**(sizes | named), start=start).build(train)
    with pytest.raises(UserError, match=r"of another shape .*\[7, 200\] in the file, \[7, 16\]"):
        adapter(gene2vec="published", depth=2, start=start).build(train)


def test_our_layout_carries_the_genes_and_brings_cells_into_their_order(tmp_path):
    train, test = halves()
    first = adapter()
    contents = first.layouts(first.build_masked(train), epoch=3)
    torch.save(contents["pretrained.pt"], tmp_path / "pretrained.pt")
    assert set(checkpoints.read(tmp_path / "pretrained.pt")) == set(
        contents["pretrained_published.pth"]["model_state_dict"]
    )
    assert contents["pretrained_published.pth"]["epoch"] == 3
    start = Start(path=tmp_path / "pretrained.pt", identity="run")
    order = np.random.default_rng(1).permutation(40)
    moved = halves(genes=train.genes[order])[0]
    model = adapter(start=start)
    model.build(moved)
    assert model.tokens(moved).genes.tolist() == train.genes.tolist()
    assert model.facts(None)["genes"]["shared"] == 40
    (tmp_path / "genes.txt").write_text("\n".join(train.genes[:30]))
    with pytest.raises(UserError, match="the same genes in the same order"):
        adapter(start=start, genes=str(tmp_path / "genes.txt"))


def test_what_is_frozen_at_full_size_is_counted():
    head = Head(16_907, 200, (512, 128), 11)
    shape = Shape(positions=16_907, depth=6, width=200, heads=10, head_width=64)
    network = ScbertNetwork(
        shape, AttentionOptions(), positions_ND=torch.zeros(16_907, 200), head=head
    )

    def changing(freeze):
        network.requires_grad_(True)
        network.pos_emb.requires_grad_(False)
        scbert.keep_frozen(network, freeze)
        names = [n for n, p in network.named_parameters() if p.requires_grad]
        blocks = {name.split(".")[3] for name in names if name.startswith("performer")}
        return sum(network.get_parameter(name).numel() for name in names), blocks

    assert changing("paper") == (9_558_580, {"5"})
    assert changing("original") == (9_558_580, {"4"})
    in_head = sum(p.numel() for p in head.parameters())
    assert changing("all_but_head") == (in_head, set())
    assert changing("none") == (5_007_207 - 1_407 + in_head, set("012345"))


def test_ways_of_freezing_that_a_model_does_not_know_are_refused():
    with pytest.raises(UserError, match="train.freeze of model=mlp must be one of none: got 'pa"):
        build_network(compose(["model=mlp"]).model, train=TrainConfig(freeze="paper"))
    with pytest.raises(UserError, match="train.freeze of model=scbert must be one of none, paper"):
        adapter(freeze="transformer_too")
    with pytest.raises(UserError, match="the last block but one: got model.depth=1"):
        adapter(freeze="original", depth=1)


def test_gene_vectors_come_from_where_the_configuration_says(tmp_path):
    train, _ = halves()
    torch.manual_seed(1)
    tables = {}
    np.save(tmp_path / "table.npy", np.ones((40, 16)))
    for word in ("random", "built", str(tmp_path / "table.npy")):
        model = adapter(gene2vec=word)
        network = model.build(train)
        table = network.pos_emb.emb.weight
        assert table.shape == (41, 16) and not table.requires_grad
        assert (table[-1] == 0).all() and (table[:-1] != 0).any()
        tables[model.facts(network)["gene2vec"]["from"]] = table
    assert set(tables) == {"random", "built", "table.npy"} and (tables["table.npy"][:-1] == 1).all()
    assert not hasattr(adapter(gene2vec="false").build(train), "pos_emb")


def test_projections_are_redrawn_on_the_published_steps_and_alike_on_every_rank():
    train, _ = halves()
    model = adapter(redraw_every=3)
    torch.manual_seed(5)
    network = model.build(train)
    (block,) = network.blocks
    drawn = [block.attention.projection_ME.clone()]
    for step in range(1, 10):
        model.before_step(network, step)
        drawn.append(block.attention.projection_ME.clone())
    changed = [s for s in range(1, 10) if not torch.equal(drawn[s], drawn[s - 1])]
    assert changed == [4, 8]  # of 1000: 1001, 2002, …
    torch.manual_seed(5)
    other = model.build(train)
    other.load_state_dict(network.state_dict())
    for both in (network, other):
        for step in range(10, 13):
            model.before_step(both, step)
    assert torch.equal(*(next(n.blocks).attention.projection_ME for n in (network, other)))
    never = adapter(redraw_every=0)
    kept = never.build(train)
    before = next(kept.blocks).attention.projection_ME.clone()
    for step in range(1, 5):
        never.before_step(kept, step)
    assert torch.equal(before, next(kept.blocks).attention.projection_ME)


def test_classes_without_training_cells_cannot_be_named():
    train, test = halves()
    train = train.take(np.flatnonzero(train.labels_C != 1))
    learner = classifier(adapter())
    learner.fit(train, test)
    proba = learner.predict_proba(test)
    assert (proba[:, 1] == 0).all() and np.isfinite(proba).all()


def test_micro_batches_do_not_change_a_fit_under_the_corrected_stabiliser():
    train, test = halves()
    found = []
    for micro in ("auto", "3"):
        learner = classifier(adapter(stabiliser="head"), micro_batch=micro)
        rows = learner.fit(train, test).epochs
        found.append((rows[-1]["train_loss"], learner.predict_proba(test)))
    assert found[0][0] == pytest.approx(found[1][0], abs=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["protocol=corrected"], "head"),
        (["protocol=paper_code"], "batch"),
        (["protocol=paper_code", "model.stabiliser=head"], "head"),
        (["protocol.stabiliser=batch"], "batch"),
    ],
)
def test_the_protocol_says_which_stabiliser_unless_the_model_does(words, expected):
    config = identity.resolved(compose(["model=scbert", *words]))
    assert config.model.stabiliser == expected
    assert "stabiliser" not in identity.identity(config)["protocol"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("model.size=huge", "model.size must be one of tiny, small, paper"),
        ("model.hidden=[3]", "model.hidden must give the two hidden layers"),
        ("model.stabiliser=cell", "model.stabiliser must be one of auto, head, batch"),
        ("model.backend=cuda", "model.backend must be one of auto, exact"),
        ("model.head_width=1", r"model.head_width must lie in \[2"),
    ],
)
def test_mistakes_in_the_settings_are_explained(word, said):
    with pytest.raises(UserError, match=said):
        compose(["model=scbert", word])


@pytest.mark.parametrize("word", ["false", "False"])
def test_false_is_false_however_it_is_written(word):
    model = compose(["model=scbert", f"model.gene2vec={word}", f"model.pretrained={word}"]).model
    assert model.gene2vec == model.pretrained == "false"


@pytest.mark.slow
def test_a_step_at_full_size_fits_into_3_gib():
    """In a process of its own, whose peak is the step's."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        trainable, norm, peak = pool.submit(full_size_step, "paper").result()
    assert trainable == 9_558_580 and 0 < norm < np.inf and peak < 3 * 1024


def test_a_run_beats_the_majority_clearly(tmp_path):
    words = ["model=scbert", "model.size=tiny", "model.gene2vec=false", "train.epochs=6"]
    folder = run(compose([*words, "train.device=cpu", f"runs_dir={tmp_path}"]))
    said = record.read_predictions(folder)[0]["test"]
    scores = metrics.score(
        said.truth_C, said.predicted_C, said.proba_CK, labels="truth", hard=np.array([], int)
    )
    majority = np.bincount(said.truth_C).max() / len(said.truth_C)
    assert scores["accuracy"] > majority + 0.3
    facts = record.read_facts(Path(folder))["fit"]
    assert facts["collapsed"] and facts["freeze"] == "none"


def test_embeddings_of_all_cells_are_kept_and_can_be_probed(tmp_path):
    words = ["model=scbert", "model.size=tiny", "model.gene2vec=false", "train.epochs=1"]
    words += ["train.freeze=all_but_head", "protocol.stabiliser=batch", f"runs_dir={tmp_path}"]
    folder = run(compose([*words, "train.device=cpu", "train.save_embeddings=true"]))
    with np.load(folder / "embeddings.npz") as stored:
        assert stored["embedding"].shape == (700, 16) == (len(stored["ids"]), 16)
        assert stored["gene_embedding"].shape == (766, 16) and stored["genes"][-1] == "<cls>"
        assert np.isfinite(stored["embedding"]).all()
    facts = record.read_facts(folder)
    trained = facts["fit"]["trainable_groups"]
    assert set(trained) == {f"to_out.{layer}" for layer in ("conv1", "fc1", "fc2", "fc3")}
    (warning,) = (text for text in facts["warnings"] if "one by one" in text)
    assert warning.startswith("predicted one by one instead of 32 at a time, ")
    assert any("model.stabiliser=batch takes one number" in text for text in facts["warnings"])
    probe = ["model=embedding", f"model.file={folder / 'embeddings.npz'}", f"runs_dir={tmp_path}"]
    scores = record.read_facts(run(compose(probe)))["metrics"]["test"]
    assert 0 <= scores["accuracy"] <= 1


def test_a_model_without_embeddings_says_so_before_it_is_fitted():
    train, _ = halves()
    with pytest.raises(UserError, match="a model that places cells: got Mlp, which does not"):
        classifier(save_embeddings=True).fit(train, None)


def test_what_batches_change_is_measured():
    train, test = halves()
    learner = classifier(adapter(stabiliser="batch"), lr=0.01)
    learner.fit(train, None)
    with torch.no_grad():
        for block in learner.network.blocks:
            block.attention.to_k.weight.mul_(4)
    together = learner.predict_proba(test)
    alone = np.concatenate([learner.predict_proba(test.take(np.array([c]))) for c in range(45)])
    largest = np.abs(together - alone).max()
    changed = (together.argmax(1) != alone.argmax(1)).mean()
    assert largest > 1e-7
    assert learner.effect_of_batches(test) == [
        f"predicted one by one instead of 8 at a time, {changed:.1%} of 45 cells change their "
        f"label (largest change of a probability: {largest:.2g})"
    ]
    head = classifier(adapter(stabiliser="head"))
    head.fit(train, None)
    assert head.effect_of_batches(test) == []


# Parity


def test_anyones_weights_can_be_held_against_the_original(tmp_path):
    out = tmp_path / "out.npz"
    files = [str(FOLDER / f"scbert_small_{name}.npz") for name in ("weights", "inputs")]
    parity_models.main(["scbert", *files, str(out)])
    expected = outputs(True)
    with np.load(out) as found:
        assert set(found.files) == {"encodings", "mlm_logits", "cls_logits"}
        for name in found.files:
            assert found[name].dtype == np.float32
            assert_within(torch.from_numpy(found[name]), expected[name], 1e-5)
    stored = dict(np.load(files[0]))
    bare = {f"sd::module.{k[4:]}": v for k, v in stored.items() if "head::" not in k}
    del bare["sd::module.pos_emb.emb.weight"], bare["sd::module.to_out.weight"]
    del bare["sd::module.to_out.bias"]
    np.savez(tmp_path / "bare.npz", **bare)
    for backend in ("collapse", "exact"):
        parity_models.main(
            ["scbert", str(tmp_path / "bare.npz"), files[1], str(out), "--backend", backend]
        )
        with np.load(out) as found:
            assert found.files == ["encodings"]
            encodings = torch.from_numpy(found["encodings"])
            assert_within(encodings, outputs(False)["encodings"], 1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w, i: i.pop("tokens"), "whole numbers from 0 to 6, cells x positions: got no tok"),
        (lambda w, i: i.update(tokens=i["tokens"] + 3), "got int64 of shape"),
        (lambda w, i: i.update(tokens=i["tokens"][:, 1:]), "got 64 positions and 65 rows"),
        (lambda w, i: w.pop("sd::token_emb.weight"), "got no token_emb.weight"),
        (lambda w, i: w.pop("sd::norm.weight"), r"missing in the file \(norm.weight\)"),
        (lambda w, i: w.pop("sd::head::to_out.fc2.weight"), "must have conv1, fc1, fc2 and fc3"),
    ],
)
def test_weights_and_tokens_that_do_not_fit_are_explained(change, said):
    weights, inputs = (
        dict(np.load(FOLDER / f"scbert_small_{name}.npz")) for name in ("weights", "inputs")
    )
    change(weights, inputs)
    with pytest.raises(UserError, match=said):
        scbert_parity.outputs(weights, inputs)


def test_a_file_that_is_no_npz_is_explained(tmp_path):
    with pytest.raises(UserError, match="the .npz must exist"):
        arrays_of(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    for name in ("text.npz", "objects.npz"):
        with pytest.raises(UserError, match="must hold plain arrays and be whole"):
            arrays_of(tmp_path / name)
