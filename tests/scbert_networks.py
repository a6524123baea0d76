"""scBERT's golden vectors, and small networks of any size, for tests."""

import resource
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn

from leadline import training
from leadline.config import ScbertConfig, TrainConfig
from leadline.data.cells import Cells, Scale
from leadline.models.scbert.model import Scbert
from leadline.models.scbert.network import AttentionOptions, Head, ScbertNetwork, Shape
from leadline.training.step import Stepper

# Outputs of the original code on a small model: shared/golden/ of the project's founding material
# (its README.md describes them); numbers only.
FOLDER = Path(__file__).parent / "golden"
SMALL = Shape(positions=65, depth=2, width=200, heads=2, head_width=64)


def golden(name):
    with np.load(FOLDER / f"scbert_small_{name}.npz") as stored:
        return {key: torch.from_numpy(stored[key]) for key in stored.files}


def published(*, gene2vec):
    """Give the golden state dict: body with its pretraining head, and the fine-tuning head."""
    stored = {key.removeprefix("sd::"): value for key, value in golden("weights").items()}
    head = {k.removeprefix("head::"): v for k, v in stored.items() if k.startswith("head::")}
    body = {k: v for k, v in stored.items() if not k.startswith("head::")}
    if not gene2vec:
        del body["pos_emb.emb.weight"]
    return body, head


def golden_network(*, gene2vec, classifies=False, dtype=torch.float32, **way):
    body, head = published(gene2vec=gene2vec)
    network = ScbertNetwork(
        SMALL,
        AttentionOptions(**({"stabiliser": "batch", "backend": "exact"} | way)),
        positions_ND=body.get("pos_emb.emb.weight"),
        head=Head(65, 200, (512, 128), 5) if classifies else nn.Linear(200, 7),
    )
    if classifies:
        body = {k: v for k, v in body.items() if not k.startswith("to_out.")} | head
    network.load_state_dict(body)
    return network.to(dtype)


def some_network(seed, *, classifies, positional=False, positions=30, depth=2, **way):
    """Give a small random network in float64, with weights large enough to matter."""
    torch.manual_seed(seed)
    shape = Shape(positions=positions, depth=depth, width=12, heads=2, head_width=6)
    network = ScbertNetwork(
        shape,
        AttentionOptions(**({"stabiliser": "batch", "backend": "exact"} | way)),
        positions_ND=torch.randn(positions, 12) if positional else None,
        head=Head(positions, 12, (9, 5), 4) if classifies else nn.Linear(12, 7),
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    return network.double()


def tokens_and_counts(seed, cells, positions, silent=0.6, highest=6):
    """Give tokens_BN with the closing CLS, their counts, and where the non-zero ones are."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, highest + 1, (cells, positions)) * (
        rng.random((cells, positions)) > silent
    )
    tokens[:, -1] = 0
    tokens_BN = torch.from_numpy(tokens)
    cell_N, gene_N = tokens_BN.nonzero().T
    counts_BT = torch.stack([torch.bincount(row, minlength=7) for row in tokens_BN])
    return tokens_BN, counts_BT, (cell_N, gene_N, tokens_BN[cell_N, gene_N])


def full_size_step(freeze, cells=2, genes=16_906):
    """Take one fine-tuning step at the paper's size, a cell at a time.

    Gives the trainable parameters, the gradient's norm, and the process's peak memory in MiB.
    """
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((cells, genes), density=0.07, rng=rng, format="csr")
    counts = sparse.csr_array((matrix * 5).ceil().astype(np.float32))
    fields = {"genes": np.array([f"G{g}" for g in range(genes)]), "classes": tuple("abcdefghijk")}
    fields |= {"matrix_CG": counts, "library_C": np.asarray(counts.sum(axis=1), float).ravel()}
    fields |= {"ids": np.arange(cells).astype(str), "labels_C": np.arange(cells, dtype=np.int32)}
    train = Cells(name="full", scale=Scale.COUNTS, **fields)
    model = Scbert(ScbertConfig(name="scbert", gene2vec="random"), freeze=freeze)
    network = model.build(train).train()
    setting = training.FitSettings(train=TrainConfig(batch_size=cells, micro_batch="1"), seed=1)
    objective = training.Classification(model, np.ones(11), labels="truth")
    stepper = Stepper(objective, network, model.encode(train), setting)
    taken = stepper.take(np.arange(cells), 1, 1e-4)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trainable, taken.norm, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
