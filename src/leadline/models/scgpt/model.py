"""scGPT as the trainer sees it; `docs/scgpt.md` tells what it does and where it departs.

Legend: B cells of a batch, K classes, G genes that the vocabulary knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn

from leadline.config import ScgptConfig
from leadline.data.cells import Cells, Scale
from leadline.data.cells.stored_rows import StoredRows
from leadline.errors import UserError
from leadline.models import weights
from leadline.models.base import EXPRESSION
from leadline.models.network import Batch, Start, require_freeze
from leadline.models.scgpt import vocabulary
from leadline.models.scgpt.attention import require_flash
from leadline.models.scgpt.batches import Rules, ScgptBatches, levels
from leadline.models.scgpt.layout import Layout
from leadline.models.scgpt.network import FROZEN, Layer, ScgptNetwork, Sizes, keep_from_changing
from leadline.models.scgpt.pretraining import MaskedValues
from leadline.models.scgpt.tie_stream import TieStream
from leadline.models.scgpt.tokens import require_stored_bins
from leadline.models.scgpt.vocabulary import CLS, Coverage, Vocabulary, cover, require_coverage
from leadline.models.scgpt.weights import (
    NAME,
    Beginning,
    begin,
    in_flash_names,
    is_body,
)

SIZES = ("width", "heads", "layers", "hidden")
# Of the files that a pretraining run keeps.
FORMAT = 1
# Of a layer: four projections, attention, sums and norms.
OPERATIONS = 10


class Scgpt(MaskedValues):
    """A transformer over the genes that a cell expresses, with their ranks as values."""

    # Any numbers above zero can be ranked within a cell; `bin_ranges` refuses negative ones.
    accepts = EXPRESSION | {Scale.OTHER, Scale.SCGPT_BINS}
    # With what the script of the paper settles equal edges; None: with a draw for each cell.
    tie_stream: TieStream | None = None

    def __init__(
        self, config: ScgptConfig, freeze: str = "none", start: Start | None = None
    ) -> None:
        require_freeze(freeze, tuple(FROZEN), NAME)
        self.config, self.how_frozen, self.start = config, freeze, start
        self.network: ScgptNetwork | None = None
        self.frozen: list[str] = []

    def build(self, train: Cells) -> nn.Module:
        """Make the network for the classes of these cells, from weights where there are any."""
        assert train.labels_C is not None
        network = self.body(train, len(train.classes))
        network.present_K = torch.from_numpy(self.nameable(train))
        self.frozen = keep_from_changing(network, self.how_frozen)
        return network

    def build_masked(self, train: Cells) -> nn.Module:
        """Make the network with the decoder of values alone."""
        require_freeze(self.how_frozen, ("none",), f"{NAME} task=pretrain")
        network = self.body(train, 0)
        if self.start is None:
            # Bins lie around their middle; from 0 it takes epochs to get there.
            network.decoder.start_at(self.config.bins / 2)
        return network

    def body(self, train: Cells, n_classes: int) -> ScgptNetwork:
        """Make the network and remember what it was made for."""
        beginning = None if self.start is None else begin(self.start.path)
        self.vocabulary = self.find_vocabulary(beginning, train)
        self.coverage = self.covered(train)
        self.batches = batch_names(train) if self.reads_batches else ()
        self.sizes = self.find_sizes(beginning, n_classes)
        self.rows_of_a_cell = float(np.diff(train.matrix_CG.indptr).mean()) + 1
        network = ScgptNetwork(self.sizes, levels(self.config.bins))
        self.audit = None
        if beginning is not None:
            self.audit = weights.load(
                network, beginning.state, body=is_body, allow=self.config.allow_missing
            )
        self.network = network
        return network

    @property
    def reads_batches(self) -> bool:
        """Say whether the network is told which batch a cell is from."""
        return self.config.batch_labels or self.config.domain_norm

    def find_vocabulary(self, beginning: Beginning | None, train: Cells) -> Vocabulary:
        """Take the vocabulary of the weights, else the one that is asked for."""
        if beginning is not None and beginning.vocabulary is not None:
            return beginning.vocabulary
        return vocabulary.chosen(self.config, train)

    def find_sizes(self, beginning: Beginning | None, n_classes: int) -> Sizes:
        """Take the sizes of a released folder, else those of the configuration."""
        told = {} if beginning is None else beginning.sizes
        sizes = {name: told.get(name, int(self.config.of_size(name))) for name in SIZES}
        for name, value in sizes.items():
            own = getattr(self.config, name)
            if own is not None and own != value:
                raise UserError(
                    f"model.{name} must be that of the weights",
                    got=f"{own}, where args.json says {value}",
                    remedy=f"leave model.{name} out",
                )
        return Sizes(
            vocabulary=len(self.vocabulary),
            classes=n_classes,
            classifier_layers=self.config.classifier_layers,
            dropout=self.config.of_size("dropout"),
            attention_dropout=self.config.of_size("attention_dropout"),
            pre_norm=self.config.pre_norm,
            attention=self.config.attention,
            attention_start=self.config.attention_start,
            batches=len(self.batches),
            batch_labels=self.config.batch_labels,
            domain_norm=self.config.domain_norm,
            **sizes,
        )

    def covered(self, cells: Cells) -> Coverage:
        """Look genes up, and refuse cells that the vocabulary hardly knows."""
        coverage = cover(self.vocabulary, cells)
        require_coverage(coverage, self.vocabulary, cells, self.config.min_coverage)
        return coverage

    def encode(self, cells: Cells) -> ScgptBatches:
        """Bin the values of known genes."""
        matrix_CG, id_G, rules = self.known_part(cells)
        uniform_N = None
        if self.tie_stream is not None:
            uniform_N = self.tie_stream.numbers(cells.ids, np.diff(matrix_CG.indptr))
        return ScgptBatches(
            matrix_CG,
            id_G,
            rules,
            labels_C=cells.labels_C,
            batch_C=self.codes(cells),
            cache=self.cache,
            uniform_N=uniform_N,
        )

    def known_part(self, cells: Cells) -> tuple[sparse.csr_array, NDArray[np.int64], Rules]:
        """Give the columns of known genes, their numbers, and the rules for tokens."""
        number_G = self.covered(cells).number_G
        known_G = np.flatnonzero(number_G >= 0)
        matrix_CG = cells.matrix_CG
        if isinstance(matrix_CG, StoredRows):
            ties = "random" if self.config.ties == "random" else "middle"
            unknown = len(number_G) - len(known_G)
            require_stored_bins(matrix_CG, self.config.bins, ties, unknown)
        elif len(known_G) < len(number_G):
            matrix_CG = sparse.csr_array(matrix_CG[:, known_G])
        rules = Rules(
            bins=self.config.bins,
            ties="random" if self.config.ties == "random" else "middle",
            all_genes=self.config.tokens == "all",
            max_length=int(self.config.of_size("max_length")),
            cls_id=self.vocabulary.number(CLS),
        )
        return matrix_CG, number_G[known_G], rules

    def codes(self, cells: Cells) -> NDArray[np.int64] | None:
        """Give the batch of each cell as the network numbers it."""
        if not self.reads_batches:
            return None
        names_C = batch_column(cells)
        unknown = sorted(set(names_C.tolist()) - set(self.batches))
        if unknown:
            raise UserError(
                "model.batch_labels and model.domain_norm know the batches of the training cells",
                got=f"cells of other batches: {', '.join(unknown[:3])}",
                remedy="switch both off for a split by batch",
            )
        return np.searchsorted(np.array(self.batches), names_C).astype(np.int64)

    def logits(self, network: nn.Module, batch: Batch) -> Tensor:
        """Classify cells by `<cls>`."""
        body = body_of(network)
        return body.classes(body.cells(*self.embed(body, batch)))

    def embeddings(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Give `<cls>` after the last layer."""
        body = body_of(network)
        return {"cells": body.cells(*self.embed(body, batch))}

    def gene_vectors(self, network: nn.Module, cells: Cells) -> Tensor:
        """Give what the first layer reads of each gene, without its value."""
        number_G = torch.from_numpy(self.covered(cells).number_G)
        encoder = body_of(network).encoder
        known_G = number_G >= 0
        vectors_GE = encoder(number_G.clamp(min=0).to(encoder.embedding.weight.device))
        return vectors_GE * known_G.to(vectors_GE)[:, None]

    def gene_table(self, network: nn.Module) -> tuple[Sequence[str], Tensor]:
        """Give what the first layer reads of every name of the vocabulary."""
        encoder = body_of(network).encoder
        ids = torch.arange(len(self.vocabulary), device=encoder.embedding.weight.device)
        return self.vocabulary.names, encoder(ids)

    def gene_outputs(self, network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Sum the tokens of each gene after the last layer."""
        body = body_of(network)
        x_TE = body.tokens(*self.embed(body, batch)).float()
        at_T = batch["ids"][batch["gene"].long()]
        sum_VE = x_TE.new_zeros(len(self.vocabulary), x_TE.shape[1]).index_add(0, at_T, x_TE)
        return sum_VE, torch.bincount(at_T, minlength=len(self.vocabulary))

    def output_names(self) -> Sequence[str]:
        """Give the vocabulary."""
        return self.vocabulary.names

    def embed(self, network: ScgptNetwork, batch: Batch) -> tuple[Tensor, Layout]:
        """Embed a batch's tokens; say which belong to which cell."""
        device = batch["level"].device
        if self.config.attention == "flash":
            on = torch.is_autocast_enabled(device.type)
            require_flash(device, torch.get_autocast_dtype(device.type) if on else None)
        layout = Layout(tuple(batch["lengths"].tolist()), device, visible_T=batch.get("visible"))
        tokens = batch["ids"], batch["gene"], batch["level"]
        return network.embed(*tokens, layout, batch.get("batches")), layout

    @property
    def masking(self) -> tuple[float, bool, int]:
        """Say how values are hidden."""
        return self.config.mask_share, self.config.generative, self.config.bins

    def hidden_values(self, network: nn.Module, batch: Batch) -> Tensor:
        """Decode values from the tokens that hide them."""
        body = body_of(network)
        x_TE, layout = self.embed(body, batch)
        x_TE = body.tokens(x_TE, layout)
        return body.values(x_TE, layout, batch["hidden"], batch.get("batches"))

    def layouts(self, network: nn.Module, epoch: int) -> dict[str, dict[str, Any]]:
        """Give our layout, and the released one, in which attention has flash-attn's names."""
        state = {name: value.cpu() for name, value in network.state_dict().items()}
        ours = {"format": FORMAT, "model": NAME, "genes": list(self.vocabulary.names)}
        return {
            "pretrained.pt": ours | {"network": state},
            "best_model.pt": in_flash_names(state),
        }

    def blocks(self, network: nn.Module) -> Sequence[Layer]:
        """Give the transformer's layers."""
        return [module for module in network.modules() if isinstance(module, Layer)]

    def multiplications(self, network: nn.Module) -> int:
        """Estimate those of a cell between two points where threads must meet."""
        sizes, rows = self.sizes, min(self.rows_of_a_cell, self.config.of_size("max_length"))
        linear = 4 * sizes.width**2 + 2 * sizes.width * sizes.hidden
        return int(rows * (linear + 2 * rows * sizes.width) / OPERATIONS)

    def caveats(self) -> Sequence[str]:
        """Name what sees other cells, or is drawn by place in the batch."""
        said = []
        if self.config.domain_norm:
            said.append("model.domain_norm normalises over the cells of a micro-batch")
        blocks = [] if self.network is None else self.blocks(self.network)
        if any(block.self_attn.drew_by_position for block in blocks):
            said.append("the fused attention kernel draws its dropout by place in the batch")
        return said

    def facts(self, network: nn.Module) -> Mapping[str, Any]:
        """Tell vocabulary, weights and freezing."""
        frozen = [network.get_parameter(name) for name in self.frozen]
        return {
            "vocabulary": self.coverage.facts() | {"fingerprint": self.vocabulary.fingerprint()},
            "weights": None if self.audit is None else self.audit.facts(),
            "frozen": {
                "how": self.how_frozen,
                "tensors": len(frozen),
                "parameters": sum(parameter.numel() for parameter in frozen),
            },
            "sizes": {name: getattr(self.sizes, name) for name in SIZES},
        }


def body_of(network: nn.Module) -> ScgptNetwork:
    """Give the network, which must not be a compiled form of it."""
    if hasattr(network, "_orig_mod"):
        raise UserError(
            "scGPT cannot be compiled: torch's compiler fails on its packed cells",
            got="train.compile=true",
            remedy="leave train.compile off",
        )
    assert isinstance(network, ScgptNetwork)
    return network


def batch_names(train: Cells) -> tuple[str, ...]:
    """List the batches of the training cells in order."""
    return tuple(sorted(set(batch_column(train).tolist())))


def batch_column(cells: Cells) -> NDArray[np.str_]:
    """Give the batch of each cell."""
    if cells.batch_C is None:
        raise UserError(
            "model.batch_labels and model.domain_norm need to know the batch of each cell",
            got="cells without one",
            remedy="name a column of obs with data.batch=",
        )
    return cells.batch_C
