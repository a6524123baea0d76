"""scGPT's attention: the published weights, and the choice of how to compute it.

Legend: B cells, T tokens of all cells, S queries of all cells, H heads, E width, D width of a head,
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from leadline.errors import UserError
from leadline.models.linear import Linear, linear
from leadline.models.scgpt.attention import Dropped
from leadline.models.scgpt.attention__models_scgpt_ways import (
    by_definition,
    cell_by_cell,
    flash,
    in_one_call,
)
from leadline.models.scgpt.layout import Layout, PackedDropout


class Attention(nn.Module):
    """Self-attention with the names and the mathematics of torch's MultiheadAttention."""

    def __init__(self, width: int, heads: int, dropout: float, backend: str) -> None:
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
        import flash_attn  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        remedy = f'pip install "leadline[gpu]", or {remedy}'
        raise UserError(rule, got="no package flash_attn", remedy=remedy) from error
    if dtype is None:
        remedy = f"train with train.amp=bf16 or fp16, or {remedy}"
        raise UserError(rule, got="train.amp=none", remedy=remedy)
