"""scGPT's network: genes and values, a transformer, a classifier, and a decoder of values.

Names of parameters are those of the published model. What is computed once for many tokens (the
embedding of each gene and of each bin) or not at all (the last layer beyond `<cls>`) changes no
result.

Legend: B cells, T tokens of all cells, U genes of a batch, V levels of values, E width, K classes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from leadline import distributed
from leadline.models.linear import Linear
from leadline.models.scgpt.attention import TokenAttention
from leadline.models.scgpt.layout import Layout, PackedDropout

# That of the original's batch norm, which is not torch's default.
NORM_EPS = 6.1e-5


class BatchEncoder(nn.Module):
    """Which batch a cell is from; only the value decoder reads it, as in the original."""

    def __init__(self, batches: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(batches, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, batch_B: Tensor) -> Tensor:
        """Embed batches."""
        found_BE: Tensor = self.enc_norm(self.embedding(batch_B))
        return found_BE


class DomainNorm(nn.Module):
    """Batch norm of each batch of cells on its own, over tokens."""

    def __init__(self, batches: int, width: int) -> None:
        super().__init__()
        self.bns = nn.ModuleList(nn.BatchNorm1d(width, eps=NORM_EPS) for _ in range(batches))

    def forward(self, x_TE: Tensor, batch_T: Tensor) -> Tensor:
        """Normalise each token by its batch."""
        out_TE = torch.zeros_like(x_TE)
        for index in batch_T.unique().tolist():
            rows = (batch_T == index).nonzero().squeeze(1)
            out_TE = out_TE.index_copy(0, rows, self.bns[index](x_TE[rows]).to(x_TE.dtype))
        return out_TE

    def train(self, mode: bool = True) -> DomainNorm:
        """When judging begins, let all ranks go by what the first one has seen."""
        if self.training and not mode:
            distributed.broadcast(list(self.buffers()))
        super().train(mode)
        return self


# The value encoder sees nothing above this.
LARGEST_VALUE = 512.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How large a network is, and how it is regularised."""

    vocabulary: int
    width: int
    heads: int
    layers: int
    hidden: int
    classes: int
    classifier_layers: int = 3
    dropout: float = 0.2
    attention_dropout: float = 0.2
    pre_norm: bool = False
    attention: str = "sdpa"
    attention_start: str = "xavier"
    batches: int = 0
    batch_labels: bool = False
    domain_norm: bool = False


class GeneEncoder(nn.Module):
    """Embedding of gene ids, then layer norm."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.enc_norm = nn.LayerNorm(width)

    def forward(self, ids_U: Tensor) -> Tensor:
        """Embed ids."""
        found_UE: Tensor = self.enc_norm(self.embedding(ids_U))
        return found_UE


class ValueEncoder(nn.Module):
    """How much of it there is; numbers, not classes."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(1, width)
        self.linear2 = Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = PackedDropout(dropout)

    def forward(self, value_V: Tensor) -> Tensor:
        """Embed values, dropout aside."""
        hidden_VE = torch.relu(self.linear1(value_V[:, None].clamp(max=LARGEST_VALUE)))
        found_VE: Tensor = self.norm(self.linear2(hidden_VE))
        return found_VE


class Layer(nn.Module):
    """A transformer layer, normalised after each part or, with `pre_norm`, before it."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width = sizes.width
        self.self_attn = TokenAttention(
            width,
            sizes.heads,
            sizes.attention_dropout,
            sizes.attention,
            sizes.attention_start,
        )
        self.linear1 = Linear(width, sizes.hidden)
        self.linear2 = Linear(sizes.hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout, self.dropout1, self.dropout2 = (PackedDropout(sizes.dropout) for _ in "abc")
        self.pre_norm = sizes.pre_norm

    def forward(self, x_TE: Tensor, layout: Layout, first_B: Tensor | None = None) -> Tensor:
        """Change all tokens, or give the rows `first_B` alone."""
        rows = layout if first_B is None else layout.first()
        own_SE = x_TE if first_B is None else x_TE[first_B]
        if self.pre_norm:
            said_SE = self.self_attn(self.norm1(x_TE), layout, first_B)
            own_SE = own_SE + self.dropout1(said_SE, rows)
            return own_SE + self.dropout2(self.feed(self.norm2(own_SE), rows), rows)
        said_SE = self.self_attn(x_TE, layout, first_B)
        own_SE = self.norm1(own_SE + self.dropout1(said_SE, rows))
        found_SE: Tensor = self.norm2(own_SE + self.dropout2(self.feed(own_SE, rows), rows))
        return found_SE

    def feed(self, x_SE: Tensor, rows: Layout) -> Tensor:
        """Run the two linear layers."""
        fed_SE: Tensor = self.linear2(self.dropout(torch.relu(self.linear1(x_SE)), rows))
        return fed_SE


class Transformer(nn.Module):
    """The layers, one after another."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        first = Layer(sizes)
        # As torch copies layers, and so the original: all start with the same weights.
        self.layers = nn.ModuleList(copy.deepcopy(first) for _ in range(sizes.layers))


class ValueDecoder(nn.Module):
    """Tells a value from what the transformer made of a token."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            Linear(width_in, width),
            nn.LeakyReLU(),
            Linear(width, width),
            nn.LeakyReLU(),
            nn.Linear(width, 1),
        )

    def start_at(self, value: float) -> None:
        """Let a network that knows nothing say this value."""
        nn.init.constant_(self.get_parameter("fc.4.bias"), value)

    def forward(self, x_TE: Tensor) -> Tensor:
        """Give one number for each token."""
        value_T: Tensor = self.fc(x_TE).squeeze(1)
        return value_T


class ClassDecoder(nn.Module):
    """Tells the class from `<cls>`."""

    def __init__(self, width: int, classes: int, layers: int) -> None:
        super().__init__()
        self._decoder = nn.ModuleList()
        for _ in range(layers - 1):
            self._decoder += [nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width)]
        self.out_layer = nn.Linear(width, classes)

    def forward(self, cell_BE: Tensor) -> Tensor:
        """Give logits."""
        for layer in self._decoder:
            cell_BE = layer(cell_BE)
        logits_BK: Tensor = self.out_layer(cell_BE)
        return logits_BK


class ScgptNetwork(nn.Module):
    """The whole network."""

    levels_V: Tensor
    present_K: Tensor

    def __init__(self, sizes: Sizes, levels: Sequence[float]) -> None:
        """Make it for values that are among `levels`."""
        super().__init__()
        width = sizes.width
        self.encoder = GeneEncoder(sizes.vocabulary, width)
        self.value_encoder = ValueEncoder(width, sizes.dropout)
        self.transformer_encoder = Transformer(sizes)
        decoded = 2 * width if sizes.batch_labels else width
        self.decoder = ValueDecoder(decoded, width)
        # Without classes there is nothing to decode: a network that is being pretrained.
        self.cls_decoder = (
            ClassDecoder(width, sizes.classes, sizes.classifier_layers) if sizes.classes else None
        )
        self.batch_encoder = BatchEncoder(sizes.batches, width) if sizes.batch_labels else None
        self.dsbn = DomainNorm(sizes.batches, width) if sizes.domain_norm else None
        levels_V = torch.tensor(levels, dtype=torch.float32)
        self.register_buffer("levels_V", levels_V, persistent=False)
        # Classes without training cells cannot be named.
        present_K = torch.ones(sizes.classes, dtype=torch.bool)
        self.register_buffer("present_K", present_K, persistent=False)
        # As published; torch's own would be ten times as wide.
        nn.init.uniform_(self.encoder.embedding.weight, -0.1, 0.1)

    def embed(
        self,
        ids_U: Tensor,
        gene_T: Tensor,
        level_T: Tensor,
        layout: Layout,
        batch_B: Tensor | None = None,
    ) -> Tensor:
        """Embed tokens: the gene's place among `ids_U`, the value's place among the levels."""
        gene_TE = nn.functional.embedding(gene_T, self.encoder(ids_U))
        value_TE = nn.functional.embedding(level_T, self.value_encoder(self.levels_V))
        x_TE = gene_TE + self.value_encoder.dropout(value_TE, layout)
        if self.dsbn is None:
            return x_TE
        assert batch_B is not None
        normed_TE: Tensor = self.dsbn(x_TE, batch_B[layout.cell_T])
        return normed_TE

    def cells(self, x_TE: Tensor, layout: Layout) -> Tensor:
        """Give the embedding of each cell: its `<cls>` after the last layer."""
        *layers, last = self.transformer_encoder.layers
        for layer in layers:
            x_TE = layer(x_TE, layout)
        cell_BE: Tensor = last(x_TE, layout, layout.offset_B[:-1])
        return cell_BE

    def classes(self, cell_BE: Tensor) -> Tensor:
        """Give logits from what `cells` gave."""
        assert self.cls_decoder is not None
        logits_BK: Tensor = self.cls_decoder(cell_BE)
        return logits_BK.masked_fill(~self.present_K, -torch.inf)

    def tokens(self, x_TE: Tensor, layout: Layout) -> Tensor:
        """Give the embedding of every token after the last layer."""
        for layer in self.transformer_encoder.layers:
            x_TE = layer(x_TE, layout)
        return x_TE

    def values(
        self, x_TE: Tensor, layout: Layout, at_N: Tensor, batch_B: Tensor | None = None
    ) -> Tensor:
        """Decode the values of some tokens from what `tokens` gave."""
        x_NE = x_TE[at_N]
        if self.batch_encoder is not None:
            assert batch_B is not None
            x_NE = torch.cat([x_NE, self.batch_encoder(batch_B)[layout.cell_T[at_N]]], dim=1)
        value_N: Tensor = self.decoder(x_NE)
        return value_N


# What stays as it is → beginnings of its names. The paper's scripts do what the first says, and
# leave the transformer trainable; its text describes the second.
FROZEN: dict[str, tuple[str, ...]] = {
    "none": (),
    "paper_pre_decoder": ("encoder.", "value_encoder."),
    "transformer_too": ("encoder.", "value_encoder.", "transformer_encoder.", "dsbn."),
}


def keep_from_changing(network: ScgptNetwork, how: str) -> list[str]:
    """Keep parts of a network from changing; give the names of what is kept."""
    parts = FROZEN[how]
    frozen = [name for name, _ in network.named_parameters() if parts and name.startswith(parts)]
    for name in frozen:
        network.get_parameter(name).requires_grad_(False)
    return frozen
