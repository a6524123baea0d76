"""Ways to compute attention over packed cells, which give the same beyond rounding.

Legend: B cells, T tokens of all cells, S queries of all cells, H heads, E width, D width of a head,
L queries of one cell, N keys of one cell, M longest cell.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from leadline.models.scgpt.attention import cells_of, drawn, half
from leadline.models.scgpt.layout import Layout


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
    )
    return out_SHD
