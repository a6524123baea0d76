"""scBERT as the trainer sees it: from cells to tokens, network, first weights and what may change.

Legend: B cells of a micro-batch, L positions (genes and the closing CLS), T distinct tokens, N
positions that hold a token other than zero, D width, G genes, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.config import ScbertConfig
from leadline.data.cells import Cells
from leadline.data.cells.genes import match_keys
from leadline.errors import UserError
from leadline.models import gene2vec, weights
from leadline.models.network import Batch, BatchSource, DrawKey, Start, as_tensor, require_freeze
from leadline.models.scbert import attention
from leadline.models.scbert.network import N_TOKENS, AttentionOptions, Head, ScbertNetwork, Shape
from leadline.models.scbert.pretraining import MaskedBins, published_layout
from leadline.models.scbert.tokens import (
    READABLE,
    Tokens,
    read_genes,
    require_same_genes,
    scbert_tokens,
)
from leadline.models.scbert.trunk import StoredTrunk


class ScbertBatches:
    """Cells as sparse tokens, from which batches are cut."""

    def __init__(
        self, tokens: Tokens, labels_C: NDArray[np.int32] | None, *, collapsed: bool
    ) -> None:
        self.tokens, self.labels_C, self.collapsed = tokens, labels_C, collapsed

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, rows: NDArray[np.int64], moment: DrawKey) -> Batch:
        """Give uint8 tokens, or counts of them and where those other than zero stand."""
        if self.collapsed:
            cell_N, gene_N, token_N = self.tokens.stored(rows)
            batch = {
                "counts": torch.from_numpy(self.tokens.histograms(rows)),
                "cell": torch.from_numpy(cell_N),
                "gene": torch.from_numpy(gene_N.astype(np.int64)),
                "token": torch.from_numpy(token_N.astype(np.int64)),
            }
        else:
            batch = {"tokens": torch.from_numpy(self.tokens.dense(rows))}
        if self.labels_C is not None:
            batch["labels"] = as_tensor(self.labels_C[rows])
        return batch


FREEZES = ("none", "paper", "original", "all_but_head")
POSITIONS = "pos_emb.emb.weight"


class Scbert(MaskedBins):
    """A Performer over genes whose tokens are bins of expression."""

    accepts = READABLE

    def __init__(
        self, config: ScbertConfig, *, freeze: str = "none", start: Start | None = None
    ) -> None:
        """Take the settings; paths have taken the place of words such as `published`."""
        self.config, self.freeze = config, freeze
        require_freeze(freeze, FREEZES, config.name)
        if freeze == "original" and config.depth == 1:
            raise UserError(
                "train.freeze=original trains the last block but one",
                got="model.depth=1",
                remedy="use train.freeze=paper, or more blocks",
            )
        # A run's protocol has said it already.
        self.stabiliser = "head" if config.stabiliser == "auto" else config.stabiliser
        self.redraw_every = 1000 if config.redraw_every is None else config.redraw_every
        self.reference = None if config.genes == "own" else read_genes(Path(config.genes))
        self.start = None if start is None else read_start(start)
        if self.start is not None and self.start.genes is not None:
            if self.reference is not None:
                require_same_genes(self.reference.tolist(), self.start.genes.tolist())
            self.reference = self.start.genes
        self.account: dict[str, Any] = {}

    @property
    def collapsed(self) -> bool:
        """Without gene2vec a cell is a histogram of tokens, and is computed as one."""
        return self.config.gene2vec == "false"

    def tokens(self, cells: Cells) -> Tokens:
        """Turn cells into tokens over the genes of the reference, or their own."""
        return scbert_tokens(
            self.cache,
            cells,
            self.reference,
            least_overlap=self.config.least_overlap,
            total=self.config.total,
        )

    def build(self, train: Cells) -> nn.Module:
        """Make the network with its fine-tuning head, load its first weights, freeze the rest."""
        assert train.labels_C is not None and self.config.hidden is not None
        tokens, classes = self.tokens(train), len(train.classes)
        self.silent_K = torch.from_numpy(~self.nameable(train))
        head = Head(len(tokens.genes) + 1, width_of(self.config), self.config.hidden, classes)
        network = self._network(tokens, head)
        if self.start is not None:
            audit = weights.load(
                network,
                self.start.state,
                body=in_body,
                allow=self.config.allow_missing,
                heads=False,
            )
            self.account["start"] = {"identity": self.start.identity, **audit.facts()}
        keep_frozen(network, self.freeze)
        if self.cache is not None and self.config.trunk_gib:
            budget = int(self.config.trunk_gib * 2**30)
            network.stored_trunk = StoredTrunk(self.cache.with_name("trunk"), budget)
        return network

    def build_masked(self, train: Cells) -> nn.Module:
        """Make the network with its pretraining head."""
        return self._network(self.tokens(train), nn.Linear(width_of(self.config), N_TOKENS))

    def _network(self, tokens: Tokens, head: nn.Module) -> ScbertNetwork:
        config = self.config
        shape = Shape(
            positions=len(tokens.genes) + 1,
            depth=config.depth or 0,
            width=width_of(config),
            heads=config.heads or 0,
            head_width=config.head_width or 0,
        )
        self.genes = tokens.genes
        self.account = {"freeze": self.freeze, "collapsed": self.collapsed}
        if tokens.alignment is not None:
            self.account["genes"] = tokens.alignment.report()
        table_LD = None if self.collapsed else self._positions(tokens)
        network = ScbertNetwork(
            shape,
            AttentionOptions(stabiliser=self.stabiliser, backend=config.backend),
            positions_ND=table_LD,
            head=head,
        )
        # Redrawn projections follow from the seed and the step, whatever was drawn in between.
        self.redraw_seed = int(torch.randint(2**62, ()))
        return network

    def _positions(self, tokens: Tokens) -> Tensor:
        """Give a vector for each gene and zeros for the CLS; in a checkpoint they come along."""
        config, n_genes, width = self.config, len(tokens.genes), width_of(self.config)
        seed = int(torch.randint(2**62, ()))
        told: dict[str, Any] = {"from": config.gene2vec}
        if self.start is not None:
            told["from"] = "the checkpoint"
            table_GD = np.zeros((n_genes, width), np.float32)
            require_rows(self.start.state, n_genes + 1)
        elif config.gene2vec == "built":
            built = gene2vec.build(tokens, width)
            table_GD = built.table_GW
            told |= {"association_kept": built.energy, "genes_expressed": built.expressed}
        elif config.gene2vec == "random":
            table_GD = gene2vec.random(n_genes, width, np.random.default_rng(seed))
        else:
            told["from"] = Path(config.gene2vec).name
            table_GD = gene2vec.read(Path(config.gene2vec), tokens.genes, width)
        self.account["gene2vec"] = told
        return torch.from_numpy(np.vstack([table_GD, np.zeros((1, width), np.float32)]))

    def encode(self, cells: Cells) -> BatchSource:
        """Keep tokens sparse; a batch is made of them, or of their counts."""
        return ScbertBatches(self.tokens(cells), cells.labels_C, collapsed=self.collapsed)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Run the network on tokens or on their counts."""
        body = body_of(network)
        logits_BK: Tensor
        if self.collapsed:
            x_BTD = body.encode_distinct(batch["counts"])
            head = cast(Head, body.to_out)
            logits_BK = head.of_distinct(x_BTD, batch["cell"], batch["gene"], batch["token"])
        else:
            logits_BK = network(batch["tokens"])
        if not self.silent_K.any():
            return logits_BK
        return logits_BK.masked_fill(self.silent_K.to(logits_BK.device), -torch.inf)

    def masked_logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Name the bins at the places that were hidden."""
        body = body_of(network)
        if self.collapsed:
            x_BLD = body.encode_distinct(batch["counts"])
        else:
            x_BLD = body.encode(batch["tokens"])
        logits_NT: Tensor = cast(nn.Linear, body.to_out)(x_BLD.flatten(0, 1)[batch["where"]])
        return logits_NT

    def layouts(self, network: nn.Module, epoch: int) -> dict[str, dict[str, Any]]:
        """Give the body in our layout, with the genes' names, and in the published one."""
        state = {name: value.detach().cpu() for name, value in network.state_dict().items()}
        ours = {"format": 1, "model": "scbert", "genes": self.genes.tolist(), "network": state}
        return {
            "pretrained.pt": ours,
            "pretrained_published.pth": published_layout(state, epoch),
        }

    def before_step(self, network: nn.Module, step: int) -> None:
        """Draw the projections anew when their time is over, and count the steps."""
        body, every = body_of(network), self.redraw_every
        calls = body.performer.calls_since_last_redraw
        if every and int(calls) >= every:
            body.redraw(torch.Generator().manual_seed(self.redraw_seed ^ step))
            calls.zero_()
        else:
            calls += 1

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """Give the blocks."""
        return list(body_of(network).blocks)

    def multiplications(self, network: nn.Module) -> int:
        """Count those of the largest product: threads meet after each, of which there are many."""
        shape = body_of(network).shape
        inner = shape.heads * shape.head_width
        features = attention.features_of(shape.head_width)
        each = max(4 * shape.width**2, shape.width * inner, inner * features)
        return (N_TOKENS if self.collapsed else shape.positions) * each

    def caveats(self) -> Sequence[str]:
        """Warn of the published stabiliser."""
        if self.stabiliser == "head":
            return ()
        return (
            "model.stabiliser=batch takes one number from all cells that are computed together",
        )

    def warnings(self, network: nn.Module) -> Sequence[str]:
        """Warn where attention could not be compiled."""
        device = next(network.parameters()).device
        reason = attention.not_compiled.get(device.type)
        if reason is None or attention.chosen(self.config.backend, device) != "compiled":
            return ()
        return (f"attention was computed cell by cell, slowly, for want of a compiler: {reason}",)

    def facts(self, network: nn.Module) -> Mapping[str, Any]:
        """Give where weights and gene vectors come from, what is frozen, how genes overlap."""
        del network
        return self.account

    def position_names(self) -> Sequence[str]:
        """Give the genes, and the CLS."""
        return [*self.genes.tolist(), "<cls>"]

    def embeddings(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Give the mean encoding of each cell, and the sum over these cells for each position."""
        body = body_of(network)
        if not self.collapsed:
            x_BLD = body.encode(batch["tokens"])
            return {"cells": x_BLD.mean(dim=1), "positions": x_BLD.sum(dim=0)}
        counts_BT, x_BTD = batch["counts"], body.encode_distinct(batch["counts"])
        counts_BT = counts_BT.to(x_BTD.dtype)
        share_BT = counts_BT / counts_BT.sum(dim=1, keepdim=True)
        silent_BD = x_BTD[:, 0]
        change_ND = x_BTD[batch["cell"], batch["token"]] - silent_BD[batch["cell"]]
        every_LD = silent_BD.sum(dim=0).repeat(body.shape.positions, 1)
        return {
            "cells": torch.einsum("bt,btd->bd", share_BT, x_BTD),
            "positions": every_LD.index_add(0, batch["gene"], change_ND),
        }

    def gene_vectors(self, network: nn.Module, cells: Cells) -> Tensor:
        """Give the position vector of each gene: its gene2vec."""
        if self.collapsed:
            raise UserError(
                "task_settings.vectors=bag_of_genes needs vectors of genes",
                got="model.gene2vec=false",
                remedy="leave this arm out, or give the model gene vectors",
            )
        place = {gene: at for at, gene in enumerate(match_keys(self.genes).tolist())}
        at_G = [place.get(gene, len(place)) for gene in match_keys(cells.genes).tolist()]
        # The row behind the genes is that of the closing CLS; unknown genes get zeros.
        table_LD = body_of(network).pos_emb.emb.weight
        known_G = torch.tensor([at < len(place) for at in at_G])
        rows_GD = table_LD[torch.tensor(at_G, device=table_LD.device)]
        return rows_GD * known_G.to(rows_GD)[:, None]

    def gene_table(self, network: nn.Module) -> tuple[Sequence[str], Tensor]:
        """Give the position vector of each gene: its gene2vec."""
        if self.collapsed:
            raise UserError(
                "task_settings.vectors=table needs vectors of genes",
                got="model.gene2vec=false",
                remedy="give the model gene vectors, or use task_settings.vectors=outputs",
            )
        return self.genes.tolist(), body_of(network).pos_emb.emb.weight[:-1]

    def gene_outputs(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum the encodings of each position; every cell has all of them."""
        sum_LD = self.embeddings(network, batch)["positions"].float()
        cells = len(batch["counts"] if self.collapsed else batch["tokens"])
        return sum_LD, torch.full((len(sum_LD),), cells, device=sum_LD.device)


class FirstWeights:
    """What a file holds to start from."""

    def __init__(self, identity: str, state: weights.State, genes: Any) -> None:
        self.identity, self.state = identity, state
        self.genes = None if genes is None else np.array(genes, dtype=np.str_)


def read_start(start: Start) -> FirstWeights:
    """Read weights, and the names of the genes that they were learnt for if the file has them."""
    held = weights.unpack(start.path)
    genes = held.get("genes") if isinstance(held, dict) else None
    return FirstWeights(start.identity, weights.state_of(held, start.path), genes)


def require_rows(state: weights.State, wanted: int) -> None:
    """Refuse weights that were learnt for another number of genes."""
    rows = len(state[POSITIONS]) if POSITIONS in state else wanted
    if rows != wanted:
        raise UserError(
            "pretrained weights and cells must have the same genes",
            got=f"{rows - 1:,} genes in the checkpoint, {wanted - 1:,} here",
            remedy="align the cells with model.genes=published, or with the list of those genes",
        )


def in_body(name: str) -> bool:
    """Say whether a weight belongs to the body; the head is another in each task."""
    return not name.startswith("to_out.")


def keep_frozen(network: ScbertNetwork, freeze: str) -> None:
    """Let only some parts change: final norm, one block and head, as the two codes do, or less."""
    if freeze == "none":
        return
    network.requires_grad_(False)
    network.to_out.requires_grad_(True)
    if freeze == "all_but_head":
        return
    network.norm.requires_grad_(True)
    blocks = list(network.blocks)
    blocks[-1 if freeze == "paper" else -2].requires_grad_(True)


def body_of(network: nn.Module) -> ScbertNetwork:
    """Give the network itself where a compiled form of it runs."""
    found = getattr(network, "_orig_mod", network)
    assert isinstance(found, ScbertNetwork)
    return found


def width_of(config: ScbertConfig) -> int:
    """Give the width that the configuration, once checked, always has."""
    assert config.width is not None
    return config.width
