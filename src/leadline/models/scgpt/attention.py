"""Attention with dropout of its weights that is drawn for each cell, never holding all weights.

Legend: B cells, T tokens of all cells, S queries of all cells, H heads, E width, D width of a head,
L queries of one cell, N keys of one cell, M longest cell.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from leadline.errors import UserError
from leadline.models.dropout import scramble
from leadline.models.linear import Linear, linear
from leadline.models.scgpt.layout import Layout, PackedDropout, keys_of_rows

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


def by_definition(
    q_SHD: Tensor,
    k_THD: Tensor,
    v_THD: Tensor,
    queries: Layout,
    layout: Layout,
    key_2B: Tensor | None,
    share: float,
) -> Tensor:
    """Compute softmax(QKᵀ/√D)V step by step: the reference for the others."""
    found = []
    for cell, (q_HLD, k_HND, v_HND) in enumerate(cells_of(q_SHD, k_THD, v_THD, queries, layout)):
        score_HLN = q_HLD @ k_HND.transpose(1, 2) / math.sqrt(q_HLD.shape[2])
        allowed_LN = allowed(layout, cell)
        if allowed_LN is not None:
            score_HLN = score_HLN.masked_fill(~allowed_LN[: q_HLD.shape[1]], -torch.inf)
        weight_HLN = score_HLN.float().softmax(2) if half(score_HLN) else score_HLN.softmax(2)
        if key_2B is not None:
            kept_HLN = drawn(key_2B[:, cell], weight_HLN.shape, 0, share)
            weight_HLN = weight_HLN * kept_HLN / (1 - share)
        found.append((weight_HLN.to(v_HND.dtype) @ v_HND).transpose(0, 1))
    return torch.cat(found)


def allowed(layout: Layout, cell: int) -> Tensor | None:
    """Say which tokens of a cell may look at which: at visible ones, and at themselves."""
    if layout.visible_T is None:
        return None
    start = sum(layout.lengths[:cell])
    visible_N = layout.visible_T[start : start + layout.lengths[cell]]
    itself_NN = torch.eye(len(visible_N), dtype=torch.bool, device=visible_N.device)
    return visible_N[None, : layout.keys[cell]] | itself_NN[:, : layout.keys[cell]]


def cell_by_cell(
    q_SHD: Tensor, k_THD: Tensor, v_THD: Tensor, queries: Layout, layout: Layout
) -> Tensor:
    """Call torch's fused kernel for each cell: nothing is padded."""
    found = []
    for cell, (q_HLD, k_HND, v_HND) in enumerate(cells_of(q_SHD, k_THD, v_THD, queries, layout)):
        mask_LN = allowed(layout, cell)
        mask_LN = mask_LN if mask_LN is None else mask_LN[: q_HLD.shape[1]]
        out_HLD = scaled_dot_product_attention(q_HLD[None], k_HND[None], v_HND[None], mask_LN)[0]
        found.append(out_HLD.transpose(0, 1))
    return torch.cat(found)


def in_one_call(
    q_SHD: Tensor, k_THD: Tensor, v_THD: Tensor, queries: Layout, layout: Layout, share: float
) -> Tensor:
    """Pad, and call torch's fused kernel once."""
    q_BHMD, k_BHMD, v_BHMD = (
        padded(part, which) for part, which in ((q_SHD, queries), (k_THD, layout), (v_THD, layout))
    )
    longest = k_BHMD.shape[2]
    mask: Tensor | None = None
    if min(layout.keys) < longest or layout.visible_T is not None:
        key_B = torch.tensor(layout.keys, device=q_SHD.device)
        place_M = torch.arange(longest, device=q_SHD.device)
        mask = (place_M < key_B[:, None])[:, None, None, :]
        if layout.visible_T is not None:
            visible_BM = mask.new_zeros(len(layout.lengths), longest)
            visible_BM[layout.cell_T, layout.place_T] = layout.visible_T
            itself_MM = torch.eye(longest, dtype=torch.bool, device=q_SHD.device)
            # Padded rows see their cell, for a row that sees nothing gives no number.
            seen_BMM = visible_BM[:, None, :] | itself_MM
            mask = (seen_BMM[:, : q_BHMD.shape[2]] & mask[:, 0]) | itself_MM[: q_BHMD.shape[2]]
            mask = mask[:, None]
    out_BHMD = scaled_dot_product_attention(q_BHMD, k_BHMD, v_BHMD, mask, dropout_p=share)
    return out_BHMD.transpose(1, 2)[queries.cell_T, queries.place_T]


def padded(part_THD: Tensor, layout: Layout) -> Tensor:
    """Give rows as (B, H, M, D), zeros behind the shorter cells."""
    longest = max(layout.lengths)
    if min(layout.lengths) == longest:
        return part_THD.unflatten(0, (-1, longest)).transpose(1, 2)
    shape = (len(layout.lengths), longest, *part_THD.shape[1:])
    whole_BMHD = part_THD.new_zeros(shape)
    return whole_BMHD.index_put((layout.cell_T, layout.place_T), part_THD).transpose(1, 2)


def flash(
    q_SHD: Tensor, k_THD: Tensor, v_THD: Tensor, queries: Layout, layout: Layout, share: float
) -> Tensor:
    """Run flash-attn's kernel for cells of different lengths."""
    from flash_attn import flash_attn_varlen_func  # type: ignore[import-not-found]

    out_SHD: Tensor = flash_attn_varlen_func(
        q_SHD.contiguous(),
        k_THD.contiguous(),
        v_THD.contiguous(),
        queries.offset_B.to(torch.int32),
        layout.offset_B.to(torch.int32),
        max(queries.lengths),
        max(layout.lengths),
        dropout_p=share,
        deterministic=torch.are_deterministic_algorithms_enabled(),
    )
    return out_SHD


class TokenAttention(nn.Module):
    """Self-attention with the names and the mathematics of torch's MultiheadAttention."""

    def __init__(
        self, width: int, heads: int, dropout: float, backend: str, start: str = "xavier"
    ) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)
        self.dropout = PackedDropout(dropout)
        # Whether a kernel drew its own dropout, which depends on how cells are batched.
        self.drew_by_position = False
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)
        if start == "linear":
            self.start_as_linear_layers()

    def start_as_linear_layers(self) -> None:
        """Draw as flash-attn's FlashMHA: two plain linear layers, narrower and with biases."""
        bound = self.in_proj_weight.shape[1] ** -0.5
        nn.init.uniform_(self.in_proj_weight, -bound, bound)
        nn.init.uniform_(self.in_proj_bias, -bound, bound)
        self.out_proj.reset_parameters()

    def forward(self, x_TE: Tensor, layout: Layout, first_B: Tensor | None = None) -> Tensor:
        """Attend from every row, or from the rows `first_B` alone."""
        width = x_TE.shape[1]
        if first_B is None:
            q_SE, k_TE, v_TE = self.project(x_TE, 0, 3).split(width, dim=1)
        else:
            q_SE = self.project(x_TE[first_B], 0, 1)
            k_TE, v_TE = self.project(x_TE, 1, 3).split(width, dim=1)
        queries = layout if first_B is None else layout.first()
        shape = (-1, self.heads, width // self.heads)
        q_SHD, k_THD, v_THD = (part.unflatten(1, shape[1:]) for part in (q_SE, k_TE, v_TE))
        out_SHD = self.attend(q_SHD, k_THD, v_THD, queries, layout)
        said: Tensor = self.out_proj(out_SHD.flatten(1))
        return said

    def project(self, x_TE: Tensor, start: int, stop: int) -> Tensor:
        """Make queries, keys and values: the thirds `start` to `stop` of the projection."""
        part = slice(start * x_TE.shape[1], stop * x_TE.shape[1])
        return linear(x_TE, self.in_proj_weight[part], self.in_proj_bias[part])

    def attend(
        self, q_SHD: Tensor, k_THD: Tensor, v_THD: Tensor, queries: Layout, layout: Layout
    ) -> Tensor:
        """Choose how to compute it."""
        share = self.dropout.share_now
        key_2B = self.dropout.keys() if share else None
        plain = not layout.padded and layout.visible_T is None
        if self.backend == "flash" and plain:
            self.drew_by_position |= share > 0
            return flash(q_SHD, k_THD, v_THD, queries, layout, share)
        fused_dropout = share > 0 and q_SHD.is_cuda
        if share and plain and not fused_dropout and self.backend != "math":
            out: Tensor = Dropped.apply(q_SHD, k_THD, v_THD, key_2B, queries, layout, share)
            return out
        if self.backend == "math" or (share and not fused_dropout):
            return by_definition(q_SHD, k_THD, v_THD, queries, layout, key_2B, share)
        self.drew_by_position |= fused_dropout
        # On a CPU what is not padded is what counts, and calls cost little.
        if q_SHD.is_cuda or max(queries.lengths) == 1:
            return in_one_call(q_SHD, k_THD, v_THD, queries, layout, share)
        return cell_by_cell(q_SHD, k_THD, v_THD, queries, layout)


def require_flash(device: torch.device, dtype: torch.dtype | None) -> None:
    """Refuse model.attention=flash where it cannot run."""
    rule = "model.attention=flash needs a GPU, the package flash-attn and half precision"
    remedy = "use model.attention=sdpa, which needs neither"
    if device.type != "cuda":
        raise UserError(rule, got=f"the device {device.type}", remedy=remedy)
    try:
        import flash_attn  # noqa: F401
    except ImportError as error:
        remedy = f'pip install "leadline[gpu]", or {remedy}'
        raise UserError(rule, got="no package flash_attn", remedy=remedy) from error
    if dtype is None:
        remedy = f"train with train.amp=bf16 or fp16, or {remedy}"
        raise UserError(rule, got="train.amp=none", remedy=remedy)
