"""scGPT: the published mathematics, weights that are accounted for, and runs that learn.

Golden files are outputs of the original's code (shared/golden), for a network of 3 layers.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import parity_models
import pytest
import torch
from scipy import sparse
from torch.nn.functional import cross_entropy

from leadline import models
from leadline.config import SCGPT_SIZES, ScgptConfig, TrainConfig
from leadline.config.compose import compose
from leadline.errors import UserError
from leadline.models.dropout import set_cells
from leadline.models.network import DrawKey, Start
from leadline.models.scgpt import attention, vocabulary
from leadline.models.scgpt import attention as dropped
from leadline.models.scgpt.layout import Layout
from leadline.models.scgpt.model import Scgpt
from leadline.models.scgpt.network import FROZEN, ScgptNetwork, Sizes, keep_from_changing
from leadline.models.scgpt.parity import outputs
from leadline.models.scgpt.weights import in_flash_names, in_our_names
from leadline.runs import record, starting_weights
from leadline.runs.run import run
from leadline.training.precision import determinism
from networks import classifier, halves
from small import small_cells

GOLDEN = Path(__file__).parent / "golden"
CPU = torch.device("cpu")
SMALL = {"width": 16, "heads": 2, "layers": 2, "hidden": 24}
PAPER = {"vocabulary": 60_697, "width": 512, "heads": 8, "layers": 12, "hidden": 512}
NOW = DrawKey(seed=3, epoch=1)


@pytest.fixture(scope="module")
def weights():
    return dict(np.load(GOLDEN / "scgpt_small_weights.npz"))


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN / "scgpt_small_outputs.npz"))


def adapter(start=None, freeze="none", **changes):
    chosen = {"size": "tiny", "bins": 11} | SMALL | changes
    return Scgpt(ScgptConfig(name="scgpt", **chosen), freeze, start)


# ---- the published mathematics


def golden_network(weights, dtype=torch.float32, backend="sdpa"):
    sizes = Sizes(
        vocabulary=63, width=64, heads=4, layers=3, hidden=64, classes=7, attention=backend
    )
    network = ScgptNetwork(sizes, [-2, -1, *range(51)]).to(dtype)
    state = {name.removeprefix("sd::"): torch.from_numpy(x) for name, x in weights.items()}
    network.load_state_dict(state)
    return network.eval()


def golden_tokens(golden):
    """Give ids, places of genes, levels and layout of the golden cells, unpadded."""
    there = torch.from_numpy(~golden["key_padding_mask"])
    layout = Layout(tuple(there.sum(1).tolist()), CPU)
    gene, value = (torch.from_numpy(golden[name])[there] for name in ("src", "values"))
    return (torch.arange(63), gene, value.long() + 2, layout), there


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_every_part_is_that_of_the_original(weights, golden, backend):
    network = golden_network(weights, backend=backend)
    tokens, there = golden_tokens(golden)
    layout = tokens[-1]
    with torch.no_grad():
        found = {"gene_emb": network.encoder(tokens[0])[tokens[1]]}
        found["value_emb"] = network.value_encoder(network.levels_V)[tokens[2]]
        x = network.embed(*tokens)
        cell = network.cells(x, layout)
        found["mlm_output"] = network.values(
            network.tokens(x, layout), layout, torch.arange(len(x))
        )
        for index, layer in enumerate(network.transformer_encoder.layers):
            x = layer(x, layout)
            found[f"layer{index}_output"] = x
    for name, value in found.items():
        np.testing.assert_allclose(value, golden[name][there], atol=1e-5, err_msg=name)
    np.testing.assert_allclose(cell, golden["cell_emb"], atol=1e-5)
    np.testing.assert_allclose(network.classes(cell).detach(), golden["cls_output"], atol=1e-5)


@pytest.mark.parametrize("backend", ["sdpa", "math"])
def test_logits_in_double_precision(weights, golden, backend):
    network = golden_network(weights, torch.float64, backend)
    tokens, _ = golden_tokens(golden)
    logits = network.classes(network.cells(network.embed(*tokens), tokens[-1]))
    np.testing.assert_allclose(logits.detach(), golden["cls_output_f64"], atol=1e-10)


@pytest.mark.parametrize("eps", [1e-08, 0.0001])
@pytest.mark.parametrize(("how", "name"), [("none", "nofreeze"), ("paper_pre_decoder", "freeze")])
def test_a_training_step_is_that_of_the_original(weights, golden, how, name, eps):
    network, (tokens, _) = golden_network(weights), golden_tokens(golden)
    keep_from_changing(network, how)
    labels = torch.from_numpy(golden["labels"])

    def loss():
        cell = network.cells(network.embed(*tokens), tokens[-1])
        return cross_entropy(network.classes(cell), labels)

    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad], lr=1e-4, eps=eps
    )
    before = loss()
    before.backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    expected = {key.split("::")[1] for key in golden if key.startswith(f"gradnorm_{name}::")}
    # The decoder of values gets no gradient.
    assert set(gradients) == expected
    for key, gradient in gradients.items():
        norm = float(golden[f"gradnorm_{name}::{key}"])
        assert float(gradient.norm()) == pytest.approx(norm, rel=1e-5), key
        if how == "none" and f"grad_nofreeze::{key}" in golden:
            np.testing.assert_allclose(gradient, golden[f"grad_nofreeze::{key}"], atol=1e-5)
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimiser.step()
    step = f"step_{name}_eps{eps}"
    assert before.item() == pytest.approx(float(golden[f"{step}_loss"]), abs=1e-5)
    assert norm.item() == pytest.approx(float(golden[f"{step}_total_norm"]), rel=1e-6)
    assert loss().item() == pytest.approx(float(golden[f"{step}_loss_after"]), abs=1e-5)


def layouts(weights):
    """Give the weights under the names of torch, flash-attn and the newer wrappers."""
    names = json.loads((GOLDEN / "scgpt_flash_key_map.json").read_text())
    flash = {f"sd::{a}": f"sd::{b}" for a, b in names["torch_key_to_flash_key"].items()}
    behind = ".self_attn._impl."
    return {
        "in_proj": weights,
        "Wqkv": {flash.get(name, name): x for name, x in weights.items()},
        "_impl": {name.replace(".self_attn.", behind): x for name, x in weights.items()},
        "_impl.Wqkv": {
            flash.get(name, name).replace(".self_attn.", behind): x for name, x in weights.items()
        },
    }


@pytest.mark.parametrize("layout", ["in_proj", "Wqkv", "_impl", "_impl.Wqkv"])
def test_outputs_for_comparison_come_from_every_layout(weights, golden, layout):
    words = {name: golden[name] for name in ("src", "values", "key_padding_mask")}
    found = outputs(layouts(weights)[layout], words | {"nheads": np.array(4)})
    assert set(found) == {"transformer_output", "cell_emb", "cls_output", "mlm_output"}
    for name, value in found.items():
        # At padded places, too, where the original's training path has them.
        np.testing.assert_allclose(value, golden[name], atol=1e-5, err_msg=name)


def test_the_script_for_comparison_writes_what_it_computes(weights, golden, tmp_path):
    words = {name: golden[name] for name in ("src", "values", "key_padding_mask")}
    files = [str(tmp_path / f"{name}.npz") for name in ("weights", "inputs", "out")]
    np.savez(files[0], **weights)
    np.savez(files[1], **words, nheads=4)
    parity_models.main(["scgpt", *files])
    found = np.load(files[2])
    np.testing.assert_allclose(found["cls_output"], golden["cls_output"], atol=1e-5)


def test_padding_may_stand_between_tokens(weights, golden):
    order = np.concatenate([[0], 1 + np.random.default_rng(0).permutation(31)])
    words = {n: golden[n][:, order] for n in ("src", "values", "key_padding_mask")}
    found = outputs(weights, words | {"nheads": 4})
    np.testing.assert_allclose(
        found["transformer_output"], golden["transformer_output"][:, order], atol=1e-5
    )


def test_outputs_for_comparison_say_what_is_lacking(weights, golden):
    with pytest.raises(UserError, match="got none named values, key_padding_mask, nheads"):
        outputs(weights, {"src": golden["src"]})
    words = {name: golden[name] for name in ("src", "values", "key_padding_mask")}
    with pytest.raises(UserError, match="got none named sd::encoder.embedding.weight"):
        outputs({}, words | {"nheads": 4})
    without = {n: x for n, x in weights.items() if "layers.1.self_attn.in_proj_w" not in n}
    with pytest.raises(UserError, match=r"layers\.1\.self_attn\.in_proj_weight"):
        outputs(without, words | {"nheads": 4})


@pytest.mark.parametrize(
    ("classes", "total", "frozen"),
    [
        (18, 51_340_819, 19_998_227),
        (14, 51_338_767, 19_996_175),
        (21, 51_342_358, 19_999_766),
    ],
)
def test_parameters_are_as_many_as_the_paper_counts(classes, total, frozen):
    def count(how):
        with torch.device("meta"):
            network = ScgptNetwork(Sizes(classes=classes, **PAPER), [0.0])
        kept = keep_from_changing(network, how)
        return len(kept), sum(p.numel() for p in network.parameters() if p.requires_grad)

    assert count("none") == (0, total)
    assert count("paper_pre_decoder") == (9, frozen)
    if classes == 21:
        assert count("transformer_too") == (9 + 12 * 12, 1_063_958)


def test_names_of_weights_are_those_of_the_original():
    shapes = json.loads((GOLDEN / "scgpt_small_keys.json").read_text())
    network = ScgptNetwork(
        Sizes(vocabulary=63, width=64, heads=4, layers=3, hidden=64, classes=7), [0.0]
    )
    assert {n: list(x.shape) for n, x in network.state_dict().items()} == shapes
    first, *others = network.transformer_encoder.layers
    # torch copies its first layer, so all start alike.
    for other in others:
        for one, same in zip(first.parameters(), other.parameters(), strict=True):
            assert torch.equal(one, same)


# ---- attention


def some_tokens(lengths, heads=2, width=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    layout = Layout(tuple(lengths), CPU)
    shape = (sum(lengths), heads, width)
    parts = [torch.randn(shape, generator=generator, dtype=dtype) for _ in range(4)]
    key = torch.randint(-(2**31), 2**31 - 1, (2, len(lengths)), generator=generator)
    return layout, [x.requires_grad_() for x in parts[:3]], parts[3], key.to(torch.int32)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("way", ["cell_by_cell", "in_one_call"])
def test_fused_kernels_give_what_the_definition_gives(way, first):
    layout, (q, k, v), g, _ = some_tokens([5, 1, 33, 12])
    queries = layout.first() if first else layout
    q, g = q[: sum(queries.lengths)], g[: sum(queries.lengths)]
    expected = attention.by_definition(q, k, v, queries, layout, None, 0.0)
    function = getattr(attention, way)
    found = function(q, k, v, queries, layout, *([0.0] if way == "in_one_call" else []))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for one, other in zip(
        torch.autograd.grad(found, (k, v), g), torch.autograd.grad(expected, (k, v), g), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("first", [False, True])
def test_dropped_attention_and_its_gradient_follow_the_definition(first, monkeypatch):
    monkeypatch.setattr(dropped, "WEIGHTS_AT_A_TIME", 100)
    layout, (q, k, v), g, key = some_tokens([5, 1, 33, 12])
    queries = layout.first() if first else layout
    rows = sum(queries.lengths)
    found = dropped.Dropped.apply(q[:rows], k, v, key, queries, layout, 0.3)
    expected = attention.by_definition(q[:rows], k, v, queries, layout, key, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for one, other in zip(
        torch.autograd.grad(found, (q, k, v), g[:rows]),
        torch.autograd.grad(expected, (q, k, v), g[:rows]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)
    # A first row alone draws what it draws among all.
    if not first:
        alone = dropped.Dropped.apply(
            q[layout.offset_B[:-1]], k, v, key, layout.first(), layout, 0.3
        )
        torch.testing.assert_close(alone, found[layout.offset_B[:-1]], atol=1e-12, rtol=0)


def test_dropout_keeps_the_expectation_and_differs_between_weights():
    kept = dropped.drawn(torch.tensor([5, 7], dtype=torch.int32), (2, 200, 300), 0, 0.2)
    assert kept.double().mean().item() == pytest.approx(0.8, abs=0.005)
    assert not torch.equal(kept[0], kept[1]) and not torch.equal(kept[0, 0], kept[0, 1])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_cell_is_trained_alike_whatever_cells_it_comes_with(dropout, pre_norm):
    cells = small_cells(n_genes=60)
    model = adapter(dropout=dropout, attention_dropout=dropout, pre_norm=pre_norm)
    network = model.build(cells).double().train()
    source, rows = model.encode(cells), np.array([3, 44, 20, 9])

    def logits(rows):
        set_cells(network, seed=1, epoch=2, rows=rows)
        return model.logits(network, source.batch(rows, NOW)).detach()

    together = logits(rows)
    for place, row in enumerate(rows):
        torch.testing.assert_close(logits(np.array([row]))[0], together[place])
    if dropout:
        network.eval()
        assert (logits(rows) - together).abs().max() > 1e-3
    assert model.caveats() == []


def test_flash_gets_packed_cells_and_says_what_it_draws(monkeypatch):
    """The kernel itself needs a GPU; a stand-in of the same signature checks what it is given."""
    given = {}

    def kernel(q, k, v, cu_q, cu_k, max_q, max_k, dropout_p=0.0, deterministic=False):
        given.update(dtype=cu_q.dtype, longest=(max_q, max_k), dropout=dropout_p)
        given["deterministic"] = deterministic
        ends = [x.diff().tolist() for x in (cu_q, cu_k)]
        return attention.by_definition(
            q, k, v, Layout(tuple(ends[0]), CPU), Layout(tuple(ends[1]), CPU), None, 0.0
        )

    module = types.ModuleType("flash_attn")
    module.flash_attn_varlen_func = kernel
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    layout, (q, k, v), _, _ = some_tokens([5, 33, 12])
    with determinism(TrainConfig(), CPU):
        found = attention.flash(q[:3], k, v, layout.first(), layout, 0.2)
    torch.testing.assert_close(
        found, attention.by_definition(q[:3], k, v, layout.first(), layout, None, 0.0)
    )
    expected = {"dtype": torch.int32, "longest": (1, 33), "dropout": 0.2, "deterministic": True}
    assert given == expected


def test_flash_is_refused_where_it_cannot_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(UserError, match="got the device cpu; use model.attention=sdpa"):
        attention.require_flash(CPU, torch.bfloat16)
    with pytest.raises(UserError, match=r'no package flash_attn; pip install "leadline\[gpu\]"'):
        attention.require_flash(torch.device("cuda"), torch.bfloat16)
    monkeypatch.setitem(sys.modules, "flash_attn", types.ModuleType("flash_attn"))
    with pytest.raises(UserError, match="got train.amp=none; train with train.amp=bf16"):
        attention.require_flash(torch.device("cuda"), None)
    attention.require_flash(torch.device("cuda"), torch.bfloat16)
    model = adapter(attention="flash")
    cells = small_cells()
    network, source = model.build(cells), model.encode(cells)
    with pytest.raises(UserError, match="model.attention=flash needs a GPU"):
        model.logits(network, source.batch(np.arange(3), NOW))


def test_a_kernel_that_draws_by_place_is_told_of():
    model = adapter()
    network = model.build(small_cells())
    network.transformer_encoder.layers[0].self_attn.drew_by_position = True
    assert "draws its dropout by place" in model.caveats()[0]


@pytest.mark.parametrize("visible", [False, True])
def test_hidden_genes_are_seen_by_none_but_themselves(visible):
    model = adapter(generative=not visible, vocabulary="data", mask_share=0.5)
    cells = small_cells(n_genes=60)
    network = model.build_masked(cells).double().eval()
    batch = model.masked_source(cells).batch(np.array([0, 7]), NOW)
    found = model.hidden_values(network, batch).detach()
    other = dict(batch, gene=batch["gene"].clone())
    changed = batch["hidden"][0]
    other["gene"][changed] = (other["gene"][changed] + 1) % len(batch["ids"])
    moved = (model.hidden_values(network, other).detach() - found).abs() > 1e-12
    assert moved[0] and moved[1:].any().item() is visible


def test_generative_attention_is_the_same_in_every_way_of_computing_it():
    layout, (q, k, v), _, _ = some_tokens([5, 9, 2])
    visible = torch.tensor([True, False, True, False] * 4)
    layout = Layout(layout.lengths, CPU, visible_T=visible)
    expected = attention.by_definition(q, k, v, layout, layout, None, 0.0)
    for found in (
        attention.cell_by_cell(q, k, v, layout, layout),
        attention.in_one_call(q, k, v, layout, layout, 0.0),
    ):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


# ---- weights


def released_folder(folder, genes, rename=in_flash_names, **sizes):
    """Make a folder in the released layout, its attention under flash-attn's names."""
    sizes = SMALL | sizes
    words = (*genes, *vocabulary.SPECIAL)
    network = ScgptNetwork(Sizes(vocabulary=len(words), classes=1, **sizes), [0.0])
    theirs = {"embsize": "width", "nheads": "heads", "nlayers": "layers", "d_hid": "hidden"}
    args = {key: sizes[name] for key, name in theirs.items()}
    folder.mkdir()
    (folder / "args.json").write_text(json.dumps(args | {"dropout": 0.2}))
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    state = dict(rename(network.state_dict()), **{"flag_encoder.weight": torch.zeros(2, 16)})
    torch.save(state, folder / "best_model.pt")
    return network


def genes_of(cells):
    return [*cells.genes[::-1].tolist(), "OTHER1", "OTHER2"]


def start_at(path):
    return Start(path=path, identity="sha256:0")


def test_a_released_folder_fills_the_whole_body(tmp_path):
    cells = small_cells()
    released = released_folder(tmp_path / "scgpt", genes_of(cells))
    model = adapter(start_at(tmp_path / "scgpt"), width=None, heads=None, layers=None, hidden=None)
    network = model.build(cells)
    own = network.state_dict()
    for name, value in released.state_dict().items():
        if not name.startswith("cls_decoder.out"):
            assert torch.equal(own[name], value), name
    facts = model.facts(network)
    assert facts["sizes"] == SMALL
    assert facts["vocabulary"]["genes_known"] == 40 and facts["vocabulary"]["size"] == 45
    weights = facts["weights"]
    assert weights["share_of_parameters"] > 0.9 and weights["unexpected"] == ["flag_encoder.weight"]
    assert weights["fingerprint"].startswith("sha256:")
    # Numbers of genes are the vocabulary's.
    batch = model.encode(cells).batch(np.array([0]), NOW)
    gene = model.vocabulary.names[int(batch["ids"][batch["gene"][1]])]
    assert gene == cells.genes[cells.matrix_CG[[0]].indices[0]]


def test_attention_that_is_not_loaded_is_refused_by_name(tmp_path):
    cells = small_cells()
    strange = "transformer_encoder.layers.1.self_attn.Wqkw.weight"

    def rename(state):
        usual = strange.replace("Wqkw", "Wqkv")
        return {strange if n == usual else n: x for n, x in in_flash_names(state).items()}

    released_folder(tmp_path / "scgpt", genes_of(cells), rename)
    with pytest.raises(UserError) as caught:
        adapter(start_at(tmp_path / "scgpt")).build(cells)
    assert "layers.1.self_attn.in_proj_weight" in str(caught.value)
    assert strange in str(caught.value)
    # Unless the configuration says so by name.
    allowed = ["transformer_encoder.layers.1.self_attn.in_proj_weight", strange]
    model = adapter(start_at(tmp_path / "scgpt"), allow_missing=allowed)
    assert model.facts(model.build(cells))["weights"]["missing"][0] == allowed[0]


def test_a_folder_that_is_not_whole_is_refused(tmp_path):
    cells, folder = small_cells(), tmp_path / "scgpt"
    released_folder(folder, genes_of(cells))
    with pytest.raises(UserError, match="got 32, where args.json says 16; leave model.width out"):
        adapter(start_at(folder), width=32).build(cells)
    (folder / "args.json").write_text('{"embsize": "16"}')
    with pytest.raises(UserError, match="args.json must be .*: got embsize='16'"):
        adapter(start_at(folder)).build(cells)
    (folder / "vocab.json").unlink()
    with pytest.raises(UserError, match="without vocab.json; fetch the whole folder"):
        adapter(start_at(folder)).build(cells)


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_a_folder_whose_weights_would_run_code_is_refused(tmp_path, capsys):
    cells, folder = small_cells(), tmp_path / "scgpt"
    released_folder(folder, genes_of(cells))
    torch.save({"encoder.embedding.weight": Evil()}, folder / "best_model.pt")
    with pytest.raises(UserError, match="nothing but tensors"):
        adapter(start_at(folder)).build(cells)
    assert capsys.readouterr().out == ""


def test_a_vocabulary_by_path_enters_a_runs_name_by_its_content(tmp_path):
    found = []
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text('{"A": 0}')
        config = compose(["model=scgpt", f"model.vocabulary={tmp_path / name}"])
        found.append(
            starting_weights.identities(config, starting_weights.weights_sources(config))[
                "vocabulary"
            ]
        )
    assert found[0] == found[1] and found[0].startswith("sha256:")


def test_weights_of_another_model_are_refused(tmp_path):
    torch.save(
        {"format": 1, "model": "scbert", "genes": [], "network": {"a": torch.ones(1)}},
        tmp_path / "pretrained.pt",
    )
    with pytest.raises(UserError, match="must hold weights of scGPT: got weights of scbert"):
        adapter(start_at(tmp_path / "pretrained.pt")).build(small_cells())


def test_an_attention_under_two_names_is_refused():
    name = "transformer_encoder.layers.0.self_attn."
    with pytest.raises(UserError, match="hold each attention once"):
        in_our_names(
            {f"{name}in_proj_weight": torch.ones(1), f"{name}_impl.Wqkv.weight": torch.ones(1)}
        )


def test_the_vocabulary_and_sizes_may_be_kept_without_the_weights(tmp_path):
    cells = small_cells()
    released_folder(tmp_path / "scgpt", genes_of(cells))
    model = adapter(vocabulary="released", folder=str(tmp_path / "scgpt"))
    network = model.build(cells)
    assert network.encoder.embedding.num_embeddings == 45
    assert model.facts(network)["weights"] is None
    by_path = adapter(vocabulary=str(tmp_path / "scgpt" / "vocab.json"))
    assert by_path.build(cells).encoder.embedding.num_embeddings == 45


def test_genes_outside_the_vocabulary_are_dropped_before_binning(tmp_path):
    cells = small_cells()
    released_folder(tmp_path / "scgpt", cells.genes[:25].tolist())
    model = adapter(vocabulary="released", folder=str(tmp_path / "scgpt"))
    model.build(cells)
    other = adapter()
    other.build(small_cells(n_genes=40).take(np.arange(60)))
    part = cells.matrix_CG[:, :25]
    source = model.encode(cells)
    np.testing.assert_array_equal(source.lengths_C, np.diff(part.tocsr().indptr) + 1)
    strict = adapter(vocabulary="released", folder=str(tmp_path / "scgpt"), min_coverage=0.9)
    with pytest.raises(UserError, match="got 25 of 40 genes"):
        strict.build(cells)


# ---- freezing


@pytest.mark.parametrize("how", list(FROZEN))
def test_what_is_frozen_stays_and_the_rest_moves(how):
    train, test = halves()
    model = adapter(freeze=how)
    learner = classifier(model, epochs=1)
    fit = learner.fit(train, test)
    torch.manual_seed(3)
    before = adapter(freeze=how).build(train).state_dict()
    for name, value in learner.network.state_dict().items():
        still = name.startswith(FROZEN[how]) if FROZEN[how] else False
        unused = name.startswith("decoder.")
        assert torch.equal(value, before[name]) is (still or unused), name
    frozen = fit.facts["frozen"]
    assert frozen["how"] == how
    assert frozen["parameters"] == fit.facts["parameters_total"] - fit.facts["parameters_trainable"]
    if how == "paper_pre_decoder":
        assert frozen["tensors"] == 9


def test_a_way_of_freezing_that_belongs_to_another_model_is_refused():
    with pytest.raises(UserError, match="train.freeze of model=scgpt must be one of none"):
        adapter(freeze="all_but_head")
    with pytest.raises(UserError, match="train.freeze of model=scgpt task=pretrain must be"):
        adapter(freeze="transformer_too").build_masked(small_cells())


# ---- conditions


def batched(**changes):
    cells = small_cells(**changes)
    return small_cells(**changes, batch_C=np.array([f"b{i % 3}" for i in range(len(cells))]))


def test_each_batch_is_normalised_on_its_own():
    cells = batched(n_genes=60)
    model = adapter(domain_norm=True, dropout=0.0)
    network = model.build(cells).train()
    batch = model.encode(cells).batch(np.arange(12), NOW)
    x, layout = model.embed(network, batch)
    of_token = batch["batches"][layout.cell_T]
    for index in range(3):
        own = x[of_token == index].double()
        assert own.mean(0).abs().max() < 1e-4 and (own.std(0) - 1).abs().max() < 0.05
    assert "domain_norm normalises over the cells" in model.caveats()[0]
    plain = adapter()
    assert plain.build(cells).dsbn is None and plain.caveats() == []
    # Judged by what was seen in training, cells no longer see one another.
    network.eval()
    one, other = (
        model.logits(network, model.encode(cells).batch(np.array(rows), NOW))[0]
        for rows in ([0], [0, 3, 7])
    )
    torch.testing.assert_close(one, other)


def test_batch_labels_reach_the_decoder_of_values_and_nothing_else():
    cells = batched(n_genes=60)
    model = adapter(batch_labels=True)
    network = model.build_masked(cells).eval()
    assert network.decoder.fc[0].in_features == 2 * SMALL["width"]
    batch = model.masked_source(cells).batch(np.arange(6), NOW)
    other = dict(batch, batches=(batch["batches"] + 1) % 3)
    assert not torch.allclose(*(model.hidden_values(network, b) for b in (batch, other)))
    network = model.build(cells).eval()
    batch = model.encode(cells).batch(np.arange(6), NOW)
    other = dict(batch, batches=(batch["batches"] + 1) % 3)
    assert torch.equal(*(model.logits(network, b) for b in (batch, other)))


def test_batches_must_be_there_and_known():
    with pytest.raises(UserError, match="name a column of obs with data.batch="):
        adapter(domain_norm=True).build(small_cells())
    model = adapter(domain_norm=True)
    cells = batched()
    model.build(cells.take(np.flatnonzero(cells.batch_C != "b2")))
    with pytest.raises(UserError, match="got cells of other batches: b2"):
        model.encode(cells)


# ---- fitting


def test_a_fit_is_the_same_again_and_in_pieces():
    train, test = halves(n_genes=40)
    found = []
    for changes in ({}, {}, {"micro_batch": "3"}):
        model = adapter(dropout=0.1, attention_dropout=0.1)
        learner = classifier(model, epochs=2, lr=3e-3, **changes)
        fit = learner.fit(train, test)
        found.append(learner.predict_proba(test))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], found[2], atol=1e-4)
    assert not any("depends on how cells are batched" in text for text in fit.warnings)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_fit_learns(pre_norm):
    train, test = halves(sizes=(60, 60), n_genes=30, signal=40.0)
    model = adapter(dropout=0.0, attention_dropout=0.0, pre_norm=pre_norm)
    fit = classifier(model, epochs=8, lr=3e-3, warmup_epochs=2.0, patience=0).fit(train, test)
    losses = [row["train_loss"] for row in fit.epochs]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(("amp", "limit"), [("bf16", 0.05), ("fp16", 0.3)])
def test_mixed_precision_trains(amp, limit):
    train, test = halves(n_genes=40)
    options = {"epochs": 2, "lr": 1e-3, "eps": 1e-4}
    rows = [
        classifier(adapter(dropout=0.1, attention_dropout=0.1), amp=kind, **options)
        .fit(train, test)
        .epochs
        for kind in (amp, "none")
    ]
    # fp16 leaves out the steps in which its scaler finds its scale.
    for row, other in zip(*rows, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=limit)


def test_prediction_in_the_order_of_length_gives_back_the_order_of_cells():
    train, test = halves(n_genes=60)
    learner = classifier(adapter(), epochs=1)
    learner.fit(train, None)
    whole = learner.predict_proba(test)
    source = learner.model.encode(test)
    assert len(set(source.lengths_C.tolist())) > 5
    learner.block = 4
    np.testing.assert_allclose(learner.predict_proba(test), whole, atol=1e-6)
    rows = np.random.default_rng(0).permutation(len(test))
    np.testing.assert_allclose(learner.predict_proba(test.take(rows)), whole[rows], atol=1e-6)


def test_a_compiled_form_is_refused():
    cells, model = small_cells(), adapter()
    # What torch.compile gives holds the network under this name; the compiler itself is slow.
    compiled = torch.nn.Module()
    compiled._orig_mod = model.build(cells)
    batch = model.encode(cells).batch(np.arange(3), NOW)
    with pytest.raises(UserError, match="got train.compile=true; leave train.compile off"):
        model.logits(compiled, batch)


def test_a_cell_is_placed_by_its_cls():
    train, test = halves(n_genes=60)
    learner = classifier(adapter(), epochs=1)
    learner.fit(train, None)
    found = learner.embed(test)
    assert found["embedding"].shape == (len(test), SMALL["width"])
    rows = np.array([7, 2])
    np.testing.assert_allclose(
        learner.embed(test.take(rows))["embedding"], found["embedding"][rows], atol=1e-5
    )


def test_activations_may_be_computed_again():
    train, test = halves(n_genes=60)
    found = []
    for again in (False, True):
        learner = classifier(
            adapter(dropout=0.2, attention_dropout=0.2), epochs=2, activation_checkpointing=again
        )
        learner.fit(train, None)
        found.append(learner.predict_proba(test))
    np.testing.assert_allclose(*found, atol=1e-6)


def test_a_class_without_training_cells_is_never_named():
    train, test = halves(sizes=(40, 40, 40))
    train = train.take(np.flatnonzero(train.labels_C != 1))
    learner = classifier(adapter(), epochs=1)
    fit = learner.fit(train, None)
    proba = learner.predict_proba(test)
    assert proba.shape == (60, 3) and (proba[:, 1] == 0).all()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    # Its output is counted all the same, as in the paper.
    assert fit.facts["trainable_groups"]["cls_decoder.out_layer"] == 3 * 17


def test_a_network_that_learns_nothing_is_flagged_as_collapsed():
    train, test = halves(sizes=(60, 20, 10))
    fit = classifier(adapter(), epochs=1, lr=1e-9).fit(train, test)
    assert any(text.startswith("collapsed: one class is named") for text in fit.warnings)


def test_cells_without_a_known_gene_are_cls_alone():
    cells = small_cells()
    matrix = cells.matrix_CG.copy()
    matrix.data[: matrix.indptr[1]] = 0
    matrix.eliminate_zeros()
    cells = small_cells(matrix_CG=matrix)
    model = adapter()
    network, source = model.build(cells).eval(), model.encode(cells)
    assert source.lengths_C[0] == 1
    assert torch.isfinite(model.logits(network, source.batch(np.array([0]), NOW))).all()


# ---- pretraining


def test_a_share_of_the_genes_hides_its_value():
    cells = small_cells(n_genes=60)
    model = adapter(mask_share=0.4)
    model.build_masked(cells)
    plain = model.encode(cells).batch(np.arange(9), NOW)
    batch = model.masked_source(cells).batch(np.arange(9), NOW)
    hidden = batch["hidden"]
    lengths = batch["lengths"].tolist()
    assert len(hidden) == sum(int((n - 1) * 0.4) for n in lengths)
    assert (batch["level"][hidden] == 0).all() and "labels" not in batch
    torch.testing.assert_close(batch["bins"], plain["level"][hidden].float() - 1)
    shown = torch.ones(len(plain["level"]), dtype=torch.bool)
    shown[hidden] = False
    assert torch.equal(batch["level"][shown], plain["level"][shown])
    starts = np.cumsum([0, *lengths[:-1]])
    assert not set(hidden.tolist()) & set(starts.tolist())  # <cls> hides nothing
    again = model.masked_source(cells).batch(np.arange(9), DrawKey(seed=3, epoch=2))
    assert not torch.equal(again["hidden"], hidden)
    alone = model.masked_source(cells).batch(np.array([0]), NOW)
    assert torch.equal(alone["hidden"], hidden[hidden < lengths[0]])


def test_the_objective_adds_up_and_floors_are_what_they_say():
    train, test = halves(n_genes=60)
    model = adapter()
    network = model.build_masked(train).eval()
    objective = model.masked_objective()
    batch = model.masked_source(test).batch(np.arange(len(test)), DrawKey(seed=3, epoch=0))
    with torch.no_grad():
        loss, weight = objective.loss(network, batch)
        tally = objective.tally(network, batch)
    scores = objective.scores(tally)
    assert scores["loss"] == pytest.approx(float(loss) / weight, rel=1e-5)
    assert objective.tables(tally)["hidden_bins.csv"].startswith("bin,hidden,mean_predicted")
    floors = model.floors(train, test, 3)
    hidden = batch["bins"].numpy()
    names = [model.vocabulary.names[i] for i in batch["ids"][batch["gene"][batch["hidden"]]]]
    source = model.encode(train).batch(np.arange(len(train)), NOW)
    means = {
        name: (source["level"][source["ids"][source["gene"]] == number].double() - 1).mean().item()
        for number, name in enumerate(model.vocabulary.names)
    }
    expected = np.mean([(means[n] - bin) ** 2 for n, bin in zip(names, hidden, strict=True)])
    assert floors["heuristic_loss_gene_mean"] == pytest.approx(expected, rel=1e-5)
    assert set(floors) == {f"heuristic_loss_{n}_mean" for n in ("gene", "cell", "corpus")}
    assert scores["loss"] < floors["heuristic_loss_corpus_mean"] * 2


def test_weights_are_kept_in_our_layout_and_the_released_one(tmp_path):
    cells = small_cells()
    model = adapter()
    network = model.build_masked(cells)
    kept = model.layouts(network, epoch=1)
    assert set(kept) == {"pretrained.pt", "best_model.pt"}
    assert "transformer_encoder.layers.0.self_attn.Wqkv.weight" in kept["best_model.pt"]
    torch.save(kept["pretrained.pt"], tmp_path / "pretrained.pt")
    # Other genes in another order: the weights bring their vocabulary.
    other = small_cells(genes=np.array([*cells.genes[:30][::-1], *(f"N{i}" for i in range(10))]))
    tuned = adapter(start_at(tmp_path / "pretrained.pt"))
    found = tuned.build(other)
    assert tuned.facts(found)["vocabulary"]["genes_known"] == 30
    for name, value in network.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


# ---- settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": "huge"}, "model.size must be one of"),
        ({"width": 30, "heads": 4}, "model.width must be a multiple of model.heads: got 30 and 4"),
        ({"ties": "both"}, "model.ties must be one of auto, middle, random"),
        ({"bins": 2}, r"model.bins must lie in \[3, 255\]"),
        ({"max_length": 1}, "model.max_length must lie in"),
        ({"attention": "fast"}, "model.attention must be one of sdpa, flash, math"),
    ],
)
def test_settings_out_of_range_are_refused(changes, said):
    with pytest.raises(UserError, match=said):
        ScgptConfig(name="scgpt", **changes)


def test_sizes_are_those_of_the_paper_unless_said_otherwise():
    chosen = compose(["model=scgpt"]).model
    assert isinstance(chosen, ScgptConfig) and chosen.size == "paper"
    paper = SCGPT_SIZES["paper"]
    assert {name: getattr(paper, name) for name in SMALL} == {name: PAPER[name] for name in SMALL}
    assert chosen.of_size("max_length") == 3001 and chosen.of_size("dropout") == 0.2
    tiny = compose(["model=scgpt", "model.size=tiny", "model.layers=5"]).model
    assert tiny.of_size("layers") == 5 and tiny.of_size("width") < 512
    # How attention is computed, and where files lie, is no science.
    network = models.build_network(tiny, train=TrainConfig())
    assert isinstance(network, Scgpt)


# ---- whole runs

QUICK = ["model=scgpt", "model.size=tiny", "train.device=cpu", "train.threads=1"]


@pytest.mark.slow
def test_a_tiny_run_beats_the_majority_clearly(tmp_path):
    folder = run(compose([*QUICK, "train=scgpt_tiny", "seed=1", f"runs_dir={tmp_path}"]))
    facts = record.read_facts(folder)
    majority = run(compose(["model=majority", f"runs_dir={tmp_path}"]))
    floor = record.read_facts(majority)["metrics"]["test"]
    said = facts["metrics"]["test"]
    assert said["accuracy"] > floor["accuracy"] + 0.25
    assert said["macro_f1"] > floor["macro_f1"] + 0.25
    assert facts["fit"]["vocabulary"]["share_of_genes"] == 1


@pytest.mark.slow
def test_pretraining_beats_its_floor_and_is_what_fine_tuning_starts_from(tmp_path):
    own = [*QUICK, f"runs_dir={tmp_path}", "protocol.select_by=loss", "train.lr=0.003"]
    folder = run(compose(["task=pretrain", *own, "train.epochs=25"]))
    said = record.read_facts(folder)["metrics"]["test"]
    assert said["masked_loss"] < said["heuristic_loss_gene_mean"]
    tuned = run(compose([*own, f"model.pretrained={folder.name}", "train.epochs=1"]))
    facts = record.read_facts(tuned)
    assert facts["fit"]["weights"]["share_of_parameters"] > 0.8
    assert facts["fit"]["weights"]["missing"][0].startswith("cls_decoder.")


@pytest.mark.slow
def test_the_full_size_takes_a_step_with_1200_tokens():
    ones = np.ones((4, 1199), np.float32) + np.arange(1199, dtype=np.float32)
    cells = small_cells(sizes=(2, 2), n_genes=1199, matrix_CG=sparse.csr_array(ones))
    two = cells.take(np.array([0, int(np.argmax(cells.labels_C != cells.labels_C[0]))]))
    model = Scgpt(ScgptConfig(name="scgpt"))
    fit = classifier(model, epochs=1, batch_size=1).fit(two, None)
    assert np.isfinite(fit.epochs[0]["train_loss"])
    assert model.encode(cells).lengths_C.tolist() == [1200] * 4
