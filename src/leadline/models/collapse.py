"""Without gene2vec a cell is a histogram: attention and head over its distinct tokens alone.

All positions with the same token have the same embedding, so every block gives them the same
vector. Sums over keys weigh each distinct token by its count, and the largest projection is taken
over those that occur. Gene identity enters only in the first layer of the head, as differences
from the cell whose genes are all silent. Nothing is approximated, forwards or backwards.

Legend: B cells, T distinct tokens, H heads, E width of a head, M features, G positions, F outputs
of the first layer, N positions with a token that is not zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leadline.models.favor import EPSILON, exponents


def attend(
    q_BTHE: Tensor,
    k_BTHE: Tensor,
    v_BTHE: Tensor,
    projection_ME: Tensor,
    stabiliser: str,
    counts_BT: Tensor,
) -> Tensor:
    """Compute `favor.plain` for cells that hold each token so many times; gives out_BTHE."""
    detached = stabiliser == "head"
    q_BHTM, half_q = exponents(q_BTHE, projection_ME)
    k_BHTM, half_k = exponents(k_BTHE, projection_ME)
    absent_B1T1 = (counts_BT == 0)[:, None, :, None]
    k_BHTM = k_BHTM.masked_fill(absent_B1T1, -torch.inf)
    top_q = q_BHTM.amax(dim=-1, keepdim=True)
    top_k = k_BHTM.amax(dim=(2, 3), keepdim=True) if detached else k_BHTM.amax()
    if detached:
        top_q, top_k = top_q.detach(), top_k.detach()
    q_BHTM = (q_BHTM - half_q - top_q).exp() + EPSILON
    k_BHTM = (k_BHTM - half_k - top_k).exp() + EPSILON
    k_BHTM = k_BHTM * counts_BT[:, None, :, None].to(k_BHTM.dtype)
    # Few tokens: cheaper than sums over keys is the weight of each key for each query.
    weights_BHTT = q_BHTM @ k_BHTM.transpose(2, 3)
    weights_BHTT = weights_BHTT / weights_BHTT.sum(dim=-1, keepdim=True)
    return (weights_BHTT @ v_BTHE.transpose(1, 2)).transpose(1, 2)


def first_layer(
    numbers_BT: Tensor,
    weight_FG: Tensor,
    bias_F: Tensor,
    cell_N: Tensor,
    gene_N: Tensor,
    token_N: Tensor,
) -> Tensor:
    """Give weight · numbers + bias of cells whose positions hold token 0 unless listed."""
    silent_B = numbers_BT[:, 0]
    difference_N = numbers_BT[cell_N, token_N] - silent_B[cell_N]
    out_BF: Tensor = Differences.apply(silent_B, difference_N, weight_FG, cell_N, gene_N)
    return out_BF + bias_F


class Differences(torch.autograd.Function):
    """The product of weights with a constant and a few differences for each cell."""

    @staticmethod
    def forward(
        ctx: Any,
        silent_B: Tensor,
        difference_N: Tensor,
        weight_FG: Tensor,
        cell_N: Tensor,
        gene_N: Tensor,
    ) -> Tensor:
        """Add the columns that differ to the sum of all columns."""
        total_F = weight_FG.sum(dim=1)
        sparse_BG = matrix(difference_N, cell_N, gene_N, (len(silent_B), weight_FG.shape[1]))
        ctx.save_for_backward(silent_B, difference_N, weight_FG, cell_N, gene_N, total_F)
        return torch.addr(sparse_BG @ weight_FG.T, silent_B, total_F)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Give the gradients of constants, differences and weights."""
        (gradient_BF,) = gradients
        silent_B, difference_N, weight_FG, cell_N, gene_N, total_F = ctx.saved_tensors
        to_silent_B = gradient_BF @ total_F
        to_all_BG = gradient_BF @ weight_FG
        shape = (len(silent_B), weight_FG.shape[1])
        to_weight_FG = None
        if ctx.needs_input_grad[2]:
            dense_BG = silent_B[:, None].repeat(1, shape[1])
            dense_BG[cell_N, gene_N] += difference_N
            to_weight_FG = gradient_BF.T @ dense_BG
        return to_silent_B, to_all_BG[cell_N, gene_N], to_weight_FG, None, None


def matrix(value_N: Tensor, cell_N: Tensor, gene_N: Tensor, shape: tuple[int, int]) -> Tensor:
    """Make a sparse matrix of values that come cell by cell."""
    places_2N = torch.stack([cell_N, gene_N.to(cell_N.dtype)])
    return torch.sparse_coo_tensor(
        places_2N, value_N, shape, is_coalesced=True, check_invariants=False
    )
