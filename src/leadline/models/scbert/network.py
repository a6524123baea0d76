"""scBERT's network: a Performer over genes, with the names of the published state dicts.

Legend: B cells of a micro-batch, N positions (genes and the closing CLS), T distinct tokens or
tokens of a piece, D width, H heads, E width of a head, K classes, F features of the first layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, linear

from leadline.models.linear import Linear, product
from leadline.models.scbert import attention as favor
from leadline.models.scbert import attention_exact, histogram
from leadline.models.scbert.trunk import StoredTrunk

N_TOKENS = 7
# From so many positions on a cell is computed in pieces where no gradient is asked for.
POSITIONS_FOR_PIECES = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The sizes of a network; `positions` counts the CLS too."""

    positions: int
    depth: int
    width: int
    heads: int
    head_width: int


@dataclass(slots=True, kw_only=True)
class AttentionOptions:
    """How attention is computed: the same for all blocks of a network."""

    stabiliser: str = "head"
    backend: str = "auto"


class Projection(nn.Module):
    """The random projection of one block; redrawn, never learnt."""

    projection_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("projection_matrix", favor.draw_projection(width))


class Attention(nn.Module):
    """Heads without biases, and a linear map of what they found."""

    def __init__(self, shape: Shape, way: AttentionOptions) -> None:
        super().__init__()
        inner = shape.heads * shape.head_width
        self.heads, self.way = shape.heads, way
        self.fast_attention = Projection(shape.head_width)
        self.to_q = Linear(shape.width, inner, bias=False)
        self.to_k = Linear(shape.width, inner, bias=False)
        self.to_v = Linear(shape.width, inner, bias=False)
        self.to_out = Linear(inner, shape.width)

    @property
    def projection_ME(self) -> Tensor:
        """Give the random projection."""
        return self.fast_attention.projection_matrix

    def rows_of(self, cell: int) -> list[slice]:
        """Give the rows of sums over keys that belong to the heads of a cell."""
        first = cell * self.heads
        return [slice(row, row + 1) for row in range(first, first + self.heads)]

    def by_head(self, x_ND: Tensor) -> Tensor:
        """Split the last dimension into heads."""
        return x_ND.unflatten(-1, (self.heads, -1))

    def forward(self, x_BND: Tensor, counts_BT: Tensor | None = None) -> Tensor:
        """Attend to all tokens, or to distinct ones that stand for so many each."""
        q_BNHE, k_BNHE, v_BNHE = (
            self.by_head(to(x_BND)) for to in (self.to_q, self.to_k, self.to_v)
        )
        if counts_BT is not None:
            out_BNHE = histogram.attend(
                q_BNHE, k_BNHE, v_BNHE, self.projection_ME, self.way.stabiliser, counts_BT
            )
        else:
            attend = favor.attention(self.way.backend, x_BND.device)
            out_BNHE = attend(q_BNHE, k_BNHE, v_BNHE, self.projection_ME, self.way.stabiliser)
        said_BND: Tensor = self.to_out(out_BNHE.flatten(2).to(x_BND.dtype))
        return said_BND


class FeedForward(nn.Module):
    """Two layers with the exact GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1, self.w2 = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x_BND: Tensor) -> Tensor:
        """Widen, bend, narrow."""
        fed_BND: Tensor = self.w2(gelu(self.w1(x_BND)))
        return fed_BND


class FnWrapper(nn.Module):
    """A module under the name `fn`, as the published code nests them."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x_BND: Tensor) -> Tensor:
        """Pass everything on."""
        out_BND: Tensor = self.fn(x_BND)
        return out_BND


class PreNorm(nn.Module):
    """A module after a layer norm."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(width), fn

    def forward(self, x_BND: Tensor, *others: Tensor | None) -> Tensor:
        """Norm, then the module."""
        out_BND: Tensor = self.fn(self.norm(x_BND), *others)
        return out_BND


class Block(nn.ModuleList):
    """Attention and feed-forward, each after a norm and beside a residual."""

    def __init__(self, shape: Shape, way: AttentionOptions) -> None:
        attention = Attention(shape, way)
        feed = FnWrapper(FeedForward(shape.width))
        super().__init__([PreNorm(shape.width, attention), PreNorm(shape.width, feed)])

    def forward(self, x_BND: Tensor, counts_BT: Tensor | None = None) -> Tensor:
        """Compute a block in a way that gradients can go through."""
        x_BND = x_BND + self[0](x_BND, counts_BT)
        return x_BND + self[1](x_BND)

    @property
    def attention(self) -> Attention:
        """Give the attention."""
        return cast(Attention, self[0].fn)

    @property
    def feed(self) -> FeedForward:
        """Give the feed-forward."""
        return cast(FeedForward, cast(FnWrapper, self[1].fn).fn)

    @property
    def before_attention(self) -> nn.LayerNorm:
        """Give the norm before the attention."""
        return cast(nn.LayerNorm, self[0].norm)

    @property
    def before_feed(self) -> nn.LayerNorm:
        """Give the norm before the feed-forward."""
        return cast(nn.LayerNorm, self[1].norm)

    def learns(self, x_BND: Tensor) -> bool:
        """Say whether gradients will be asked for."""
        own = any(parameter.requires_grad for parameter in self.parameters())
        return torch.is_grad_enabled() and (own or x_BND.requires_grad)

    def change(self, x_BND: Tensor) -> None:
        """Compute a block in place, piece by piece, where no gradient is asked for."""
        attention, feed = self.attention, self.feed
        features = attention_exact.Features(attention.projection_ME, attention_exact.PIECE, x_BND)
        cells, tokens = x_BND.shape[:2]
        keys = attention_exact.Keys(features, cells * attention.heads, x_BND)
        places = [
            (cell, slice(start, start + features.tokens))
            for cell in range(cells)
            for start in range(0, tokens, features.tokens)
        ]
        for cell, piece in places:
            y_TD = normed(self.before_attention, x_BND[cell, piece])
            k_HTE, v_HTE = (
                attention.by_head(product(y_TD, to.weight)).transpose(0, 1)
                for to in (attention.to_k, attention.to_v)
            )
            for head, row in enumerate(attention.rows_of(cell)):
                keys.add(row, k_HTE[head, None], v_HTE[head, None])
        keys.settle(attention.way.stabiliser)
        for cell, piece in places:
            x_TD = x_BND[cell, piece]
            y_TD = normed(self.before_attention, x_TD)
            q_HTE = attention.by_head(product(y_TD, attention.to_q.weight)).transpose(0, 1)
            for head, row in enumerate(attention.rows_of(cell)):
                # A query's place is free once it has asked.
                q_HTE[head] = keys.answer(row, q_HTE[head, None])[0][0]
            found_TI = q_HTE.transpose(0, 1).flatten(1)
            x_TD.add_(product(found_TI, attention.to_out.weight, attention.to_out.bias))
            hidden_TF = gelu(product(normed(self.before_feed, x_TD), feed.w1.weight, feed.w1.bias))
            x_TD.add_(product(hidden_TF, feed.w2.weight, feed.w2.bias))


def normed(norm: nn.LayerNorm, x_TD: Tensor) -> Tensor:
    """Norm a piece."""
    return layer_norm(x_TD, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def frozen(module: nn.Module) -> bool:
    """Say whether nothing of a module learns."""
    return not any(parameter.requires_grad for parameter in module.parameters())


class Layers(nn.Module):
    """The blocks, under the name `layers`."""

    def __init__(self, shape: Shape, way: AttentionOptions) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(shape, way) for _ in range(shape.depth))


class Performer(nn.Module):
    """The blocks and the count of forward passes since projections were drawn."""

    calls_since_last_redraw: Tensor

    def __init__(self, shape: Shape, way: AttentionOptions) -> None:
        super().__init__()
        self.register_buffer("calls_since_last_redraw", torch.tensor(0))
        self.net = Layers(shape, way)


class Positions(nn.Module):
    """One frozen vector for each gene, and zeros for the CLS; gene2vec in the paper."""

    def __init__(self, table_ND: Tensor) -> None:
        super().__init__()
        self.emb = nn.Embedding.from_pretrained(table_ND, freeze=True)


class ScbertNetwork(nn.Module):
    """The body with the head that stands under `to_out`: of pretraining, or of fine-tuning."""

    def __init__(
        self,
        shape: Shape,
        way: AttentionOptions,
        *,
        positions_ND: Tensor | None = None,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.shape, self.way = shape, way
        self.token_emb = nn.Embedding(N_TOKENS, shape.width)
        if positions_ND is not None:
            self.pos_emb = Positions(positions_ND)
        self.performer = Performer(shape, way)
        self.norm = nn.LayerNorm(shape.width)
        self.to_out = head
        # Where what frozen blocks give is kept; None: nowhere.
        self.stored_trunk: StoredTrunk | None = None

    @property
    def blocks(self) -> Iterator[Block]:
        """Give the blocks in order."""
        for block in self.performer.net.layers:
            assert isinstance(block, Block)
            yield block

    @property
    def positional(self) -> bool:
        """Say whether tokens know their gene; without, the network can be collapsed."""
        return hasattr(self, "pos_emb")

    def embed(self, tokens_BN: Tensor) -> Tensor:
        """Give the first layer's input; whether it may be written to is up to `encode`."""
        x_BND = self.token_emb(tokens_BN.int())
        return x_BND + self.pos_emb.emb.weight if self.positional else x_BND

    def encode(self, tokens_BN: Tensor) -> Tensor:
        """Give encodings_BND of all positions."""
        # Smaller cells go faster together.
        plainly = (
            favor.chosen(self.way.backend, tokens_BN.device) != "exact"
            or self.shape.positions < POSITIONS_FOR_PIECES
        )
        rest = list(self.blocks)
        trunk = [] if plainly or self.stored_trunk is None else self.frozen_blocks()
        if not trunk:
            x_BND = self.embed(tokens_BN)
        else:
            x_BND = self.through_stored(tokens_BN, trunk)
            rest = rest[len(trunk) :]
        for block in rest:
            if plainly or block.learns(x_BND):
                x_BND = block(x_BND)
            else:
                with torch.no_grad(), torch.autocast(x_BND.device.type, enabled=False):
                    block.change(x_BND)
        return self.norm(x_BND)

    def frozen_blocks(self) -> list[Block]:
        """Give the blocks at the beginning that never learn, if what enters them does not either.

        None where the cells of a micro-batch see one another, or torch's compiler looks.
        """
        alone = self.way.stabiliser == "head" and not torch.compiler.is_compiling()
        if not alone or not all(map(frozen, self.entry)):
            return []
        return list(takewhile(frozen, self.blocks))

    @property
    def entry(self) -> list[nn.Module]:
        """Give what makes the first block's input."""
        return [self.token_emb, *([self.pos_emb] if self.positional else [])]

    def through_stored(self, tokens_BN: Tensor, trunk: Sequence[Block]) -> Tensor:
        """Give the encodings after frozen blocks, read from disk where they are there."""
        assert self.stored_trunk is not None

        def compute(tokens_BN: Tensor) -> Tensor:
            x_BND = self.embed(tokens_BN)
            for block in trunk:
                block.change(x_BND)
            return x_BND

        made_of = [
            x for part in (*self.entry, *trunk) for x in (*part.parameters(), *part.buffers())
        ]
        shape = f"{len(trunk)} blocks of {self.shape.heads} heads"
        with torch.no_grad(), torch.autocast(tokens_BN.device.type, enabled=False):
            return self.stored_trunk.encodings(tokens_BN, made_of, shape, compute)

    def encode_distinct(self, counts_BT: Tensor) -> Tensor:
        """Give encodings_BTD of the distinct tokens of cells that hold so many of each.

        Where a cell holds none of a token, what is given for it means nothing.
        """
        x_BTD = self.token_emb.weight.expand(len(counts_BT), -1, -1)
        for block in self.blocks:
            x_BTD = block(x_BTD, counts_BT)
        return self.norm(x_BTD)

    def forward(self, tokens_BN: Tensor) -> Tensor:
        """Give logits_BK, or logits_BNT of each position's token in pretraining."""
        logits: Tensor = self.to_out(self.encode(tokens_BN))
        return logits

    def redraw(self, generator: torch.Generator) -> None:
        """Draw the projection of every block anew."""
        for block in self.blocks:
            projection_ME = block.attention.projection_ME
            drawn = favor.draw_projection(projection_ME.shape[1], generator)
            projection_ME.copy_(drawn)


class Head(nn.Module):
    """The fine-tuning head: one number for each token, then three layers over all positions."""

    def __init__(self, positions: int, width: int, hidden: Sequence[int], classes: int) -> None:
        super().__init__()
        first, second = hidden
        self.conv1 = nn.Conv2d(1, 1, (1, width))
        self.fc1 = nn.Linear(positions, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, classes)
        self.columns: histogram.GeneWeights | None = None

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; the weights may change, or have changed."""
        self.columns = None
        return super().train(mode)

    def numbers(self, x_BND: Tensor) -> Tensor:
        """Give the one number of each token."""
        weight_D = self.conv1.weight.flatten()
        return linear(x_BND, weight_D[None], self.conv1.bias).squeeze(-1).relu()

    def forward(self, x_BND: Tensor) -> Tensor:
        """Give logits_BK from all encodings."""
        return self.rest(self.fc1(self.numbers(x_BND)))

    def of_distinct(self, x_BTD: Tensor, cell_N: Tensor, gene_N: Tensor, token_N: Tensor) -> Tensor:
        """Give logits_BK from the encodings of distinct tokens and where the non-zero ones are.

        A step reads all weights and writes all gradients anyway. Without gradients it is far
        faster to add up the genes that are not silent, from weights laid out by gene.
        """
        numbers_BT, places = self.numbers(x_BTD), (cell_N, gene_N, token_N)
        weight_FG = self.fc1.weight
        if self.training or torch.is_grad_enabled():
            numbers_BG = histogram.spread(numbers_BT, weight_FG.shape[1], *places)
            return self.rest(self.fc1(numbers_BG))
        if self.columns is None or self.columns.of != histogram.GeneWeights.mark(weight_FG):
            self.columns = histogram.GeneWeights(weight_FG)
        first_BF = histogram.by_differences(numbers_BT, self.columns, *places)
        return self.rest(first_BF + self.fc1.bias)

    def rest(self, first_BF: Tensor) -> Tensor:
        """Go through the layers after the first."""
        return self.fc3(self.fc2(first_BF.relu()).relu())
