"""Without gene2vec a cell is a histogram: attention and head over its distinct tokens alone.

All positions with the same token have the same embedding, so every block gives them the same
vector. Sums over keys weigh each distinct token by its count, and the largest projection is taken
over those that occur. Gene identity enters only in the first layer of the head. Nothing is
approximated, forwards or backwards.

Legend: B cells, T distinct tokens, H heads, E width of a head, M features, G positions, F outputs
of the first layer, N positions with a token that is not zero.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from leadline.models.scbert.attention import exponents
from leadline.models.scbert.attention_exact import EPSILON


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


def spread(
    numbers_BT: Tensor, positions: int, cell_N: Tensor, gene_N: Tensor, token_N: Tensor
) -> Tensor:
    """Give each position the number of its token; token 0 unless listed."""
    silent_BG = numbers_BT[:, :1].expand(-1, positions)
    return silent_BG.index_put((cell_N, gene_N), numbers_BT[cell_N, token_N])


def by_differences(
    numbers_BT: Tensor, columns: GeneWeights, cell_N: Tensor, gene_N: Tensor, token_N: Tensor
) -> Tensor:
    """Give weight · spread(numbers) as the silent cell plus what differs from it.

    Positions must come cell by cell. Only for evaluation: no gradient comes from the weights.
    """
    numbers_BT = numbers_BT.to(columns.by_gene_GF.dtype)
    silent_B = numbers_BT[:, 0]
    starts_B = torch.searchsorted(cell_N, torch.arange(len(silent_B), device=cell_N.device))
    differences_BF = embedding_bag(
        gene_N,
        columns.by_gene_GF,
        starts_B,
        mode="sum",
        per_sample_weights=numbers_BT[cell_N, token_N] - silent_B[cell_N],
    )
    return torch.addr(differences_BF, silent_B, columns.total_F)


class GeneWeights:
    """The weights of a layer with those of a gene side by side, and their sum over genes."""

    def __init__(self, weight_FG: Tensor) -> None:
        self.of = GeneWeights.mark(weight_FG)
        self.by_gene_GF = weight_FG.detach().T.contiguous()
        self.total_F = self.by_gene_GF.sum(dim=0)

    @staticmethod
    def mark(weight_FG: Tensor) -> tuple[object, ...]:
        """Tell weights from others, save after a fused optimiser's step, which leaves no trace."""
        return weight_FG.data_ptr(), weight_FG._version, weight_FG.dtype, weight_FG.device
