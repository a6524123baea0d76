"""Attention with dropout of its weights that is drawn for each cell, never holding all weights.

Legend: B cells, T tokens of all cells, S queries of all cells, H heads, E width, D width of a head,
L queries of one cell, N keys of one cell, M longest cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from leadline.models.dropout import scramble
from leadline.models.scgpt.layout import Layout, keys_of_rows

# So many attention weights are held at a time; they stay in the processor's cache.
WEIGHTS_AT_A_TIME = 1 << 18


def drawn(key_2: Tensor, shape: Sequence[int], start: int, share: float) -> Tensor:
    """Draw which weights of some queries of a cell stay, the first of them being `start`.

    As in `dropout.keep`, but each word of 32 bits decides on two weights: there are so many.
    """
    heads, n_queries, n_keys = shape
    query_L = torch.arange(start, start + n_queries, device=key_2.device)
    head_H1 = torch.arange(heads, device=key_2.device)[:, None]
    key_2R = keys_of_rows(key_2[:, None], (query_L * heads + head_H1).flatten())
    counter = torch.arange((n_keys + 1) // 2, dtype=torch.int32, device=key_2.device)
    word = (counter * -1640531527)[None, :] + key_2R[0][:, None]
    word = scramble(word, 16, -2048144789)
    word ^= key_2R[1][:, None]
    word = scramble(word, 13, -1028477387)
    word ^= (word >> 16) & 0xFFFF
    kept = word.view(torch.int16)[:, :n_keys] >= round(share * 2**16) - 2**15
    return kept.view(heads, n_queries, n_keys)


class Dropped(torch.autograd.Function):
    """Attention with dropout of its weights, never holding more than a block of them.

    torch's kernels draw dropout by place in the batch, and on a CPU keep all weights for the
    backward pass. Here they are computed again, and the draw is that of `CellDropout`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q_SHD: Tensor,
        k_THD: Tensor,
        v_THD: Tensor,
        key_2B: Tensor,
        queries: Layout,
        layout: Layout,
        share: float,
    ) -> Tensor:
        """Compute block by block of queries."""
        out_SHD = torch.empty_like(q_SHD)
        parts = cells_of(q_SHD, k_THD, v_THD, queries, layout)
        for cell, (q_HLD, k_HND, v_HND) in enumerate(parts):
            out_HLD = split_cells(out_SHD, queries)[cell].transpose(0, 1)
            for block in blocks(q_HLD, k_HND):
                weight_HLN, kept_HLN = weigh(q_HLD[:, block], k_HND, key_2B[:, cell], block, share)
                weight_HLN.mul_(kept_HLN)
                out_HLD[:, block] = weight_HLN.to(v_HND.dtype) @ v_HND
        ctx.save_for_backward(q_SHD, k_THD, v_THD, key_2B, out_SHD)
        ctx.layouts, ctx.share = (queries, layout), share
        return out_SHD

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the weights again and differentiate through them."""
        q_SHD, k_THD, v_THD, key_2B, out_SHD = ctx.saved_tensors
        queries, layout = ctx.layouts
        gq_SHD, gk_THD, gv_THD = (torch.zeros_like(x) for x in (q_SHD, k_THD, v_THD))
        along_SH1 = (grads[0] * out_SHD).sum(2, keepdim=True)
        grad_cells = split_cells(grads[0], queries)
        along_cells = split_cells(along_SH1, queries)
        targets = cells_of(gq_SHD, gk_THD, gv_THD, queries, layout)
        parts = cells_of(q_SHD, k_THD, v_THD, queries, layout)
        for cell, ((q, k, v), (gq, gk, gv)) in enumerate(zip(parts, targets, strict=True)):
            scale = 1 / math.sqrt(q.shape[2])
            for block in blocks(q, k):
                weight, kept = weigh(q[:, block], k, key_2B[:, cell], block, ctx.share)
                g_HLD = grad_cells[cell].transpose(0, 1)[:, block]
                along = along_cells[cell].transpose(0, 1)[:, block]
                dropped = (weight * kept).to(v.dtype)
                gv += dropped.transpose(1, 2) @ g_HLD
                g_score = (g_HLD @ v.transpose(1, 2)).to(weight.dtype)
                g_score.mul_(kept).sub_(along).mul_(weight).mul_(scale)
                g_score = g_score.to(q.dtype)
                gq[:, block] = g_score @ k
                gk += g_score.transpose(1, 2) @ q[:, block]
        return gq_SHD, gk_THD, gv_THD, None, None, None, None


def split_cells(x: Tensor, layout: Layout) -> tuple[Tensor, ...]:
    """Cut rows into cells."""
    return x.split(list(layout.lengths))


def blocks(q_HLD: Tensor, k_HND: Tensor) -> Iterator[slice]:
    """Cut the queries of a cell so that a block's weights stay in the cache."""
    heads, n_queries, _ = q_HLD.shape
    step = max(1, WEIGHTS_AT_A_TIME // (heads * k_HND.shape[1]))
    for start in range(0, n_queries, step):
        yield slice(start, min(start + step, n_queries))


def weigh(
    q_HLD: Tensor, k_HND: Tensor, key_2: Tensor, block: slice, share: float
) -> tuple[Tensor, Tensor]:
    """Give attention weights of a block, and 0 or 1 / (1 - share) for each of them."""
    score_HLN = (q_HLD * (1 / math.sqrt(q_HLD.shape[2]))) @ k_HND.transpose(1, 2)
    weight_HLN = score_HLN.float().softmax(2) if half(score_HLN) else score_HLN.softmax(2)
    kept_HLN = drawn(key_2, weight_HLN.shape, block.start, share)
    return weight_HLN, kept_HLN.to(weight_HLN.dtype).div_(1 - share)


def half(x: Tensor) -> bool:
    """Say whether numbers have 16 bits."""
    return x.dtype in (torch.float16, torch.bfloat16)


def cells_of(
    q_SHD: Tensor, k_THD: Tensor, v_THD: Tensor, queries: Layout, layout: Layout
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Give each cell's queries, keys and values, the heads first."""
    parts = zip(
        q_SHD.split(list(queries.lengths)),
        k_THD.split(list(layout.lengths)),
        v_THD.split(list(layout.lengths)),
        layout.keys,
        strict=True,
    )
    for q, k, v, n in parts:
        yield q.transpose(0, 1), k[:n].transpose(0, 1), v[:n].transpose(0, 1)
