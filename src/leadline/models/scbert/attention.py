"""FAVOR+ attention as scBERT has it, and who may compute it.

softmax(q·k) is estimated by the product of positive random features, so that cost grows with the
number of tokens instead of its square. A feature is exp(projection - half the squared length -
stabiliser) + EPSILON; the common factor of the published code cancels and is left out.

The stabiliser of queries is each token's largest projection. That of keys is either

`batch`: one number for all that is computed together, as published; gradients flow through it; or
`head`: one for each cell and head, without a gradient, as performer-pytorch 1.1.4 has it.

Legend: B cells, N tokens, H heads, E width of a head, M features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from leadline.errors import UserError
from leadline.models.scbert.attention_exact import EPSILON, exact

Attend = Callable[[Tensor, Tensor, Tensor, Tensor, str], Tensor]


def attention(backend: str, device: torch.device) -> Attend:
    """Find the function that computes attention.

    It takes q_BNHE, k_BNHE, v_BNHE, projection_ME and the stabiliser, and gives out_BNHE. All of
    them compute the same; `auto` is `exact` on a CPU, `compiled` on a GPU.
    """
    known = {"exact": exact, "compiled": compiled, "performer": performer}
    return known[chosen(backend, device)]


def chosen(backend: str, device: torch.device) -> str:
    """Say which backend stands for `auto` on a device."""
    if backend != "auto":
        return backend
    return "exact" if device.type == "cpu" else "compiled"


def features_of(width: int) -> int:
    """Count the random features for a width of a head."""
    return int(width * math.log(width))


def draw_projection(width: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw projection_ME: orthogonal blocks whose rows are as long as independent normal ones."""
    features = features_of(width)
    blocks = []
    for _ in range(-(-features // width)):
        block = torch.randn(width, width, generator=generator)
        blocks.append(torch.linalg.qr(block).Q.T)
    lengths_M = torch.randn(features, width, generator=generator).norm(dim=1)
    return torch.cat(blocks)[:features] * lengths_M[:, None]


def plain(
    q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, stabiliser: str
) -> Tensor:
    """Compute it as the formula is written; torch finds the gradients."""
    detached = stabiliser == "head"
    q_BHNM, half_q = exponents(q_BNHE, projection_ME)
    k_BHNM, half_k = exponents(k_BNHE, projection_ME)
    top_q = q_BHNM.amax(dim=-1, keepdim=True)
    top_k = k_BHNM.amax(dim=(2, 3), keepdim=True) if detached else k_BHNM.amax()
    if detached:
        top_q, top_k = top_q.detach(), top_k.detach()
    q_BHNM = (q_BHNM - half_q - top_q).exp() + EPSILON
    k_BHNM = (k_BHNM - half_k - top_k).exp() + EPSILON
    v_BHNE = v_BNHE.transpose(1, 2)
    weight_BHN = (q_BHNM @ k_BHNM.sum(dim=2)[..., None]).squeeze(-1)
    out_BHNE = q_BHNM @ (k_BHNM.transpose(2, 3) @ v_BHNE) / weight_BHN[..., None]
    return out_BHNE.transpose(1, 2)


def exponents(x_BNHE: Tensor, projection_ME: Tensor) -> tuple[Tensor, Tensor]:
    """Project vectors, and give half their squared lengths; both with heads before tokens."""
    x_BHNE = x_BNHE.transpose(1, 2) * x_BNHE.shape[-1] ** -0.25
    return x_BHNE @ projection_ME.T.to(x_BHNE.dtype), x_BHNE.square().sum(-1, keepdim=True) / 2


def compiled(
    q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, stabiliser: str
) -> Tensor:
    """Compute it by a kernel that torch makes for this device."""
    out_BNHE: Tensor = kernel_of_torch()(q_BNHE, k_BNHE, v_BNHE, projection_ME, stabiliser)
    return out_BNHE


@cache
def kernel_of_torch() -> Any:
    """Compile the formula once; the compiler takes seconds to load."""
    return torch.compile(plain)


def performer(
    q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, stabiliser: str
) -> Tensor:
    """Compute it by the package performer-pytorch, which knows only `head`."""
    if stabiliser != "head":
        raise UserError(
            "performer-pytorch knows the stabiliser of each cell and head only",
            got=f"model.stabiliser={stabiliser}",
            remedy="use model.backend=exact, or model.stabiliser=head",
        )
    fast = fast_attention(*projection_ME.shape)
    fast.projection_matrix = projection_ME
    out_BHNE: Tensor = fast(*(x.transpose(1, 2) for x in (q_BNHE, k_BNHE, v_BNHE)))
    return out_BHNE.transpose(1, 2)


@cache
def fast_attention(features: int, width: int) -> Any:
    """Make the package's attention for one shape."""
    try:
        with warnings.catch_warnings():
            # The package compares versions in a way that Python is about to drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            from performer_pytorch import FastAttention
    except ImportError as error:
        raise UserError(
            "model.backend=performer needs the package performer-pytorch",
            got="an environment without it",
            remedy='pip install "leadline[performer]"',
        ) from error
    return FastAttention(dim_heads=width, nb_features=features)
