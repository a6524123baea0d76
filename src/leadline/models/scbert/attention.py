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
from subprocess import CalledProcessError
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from leadline.errors import UserError
from leadline.models.scbert.attention_exact import EPSILON, exact
from leadline.progress import say

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
    """Compute it by a kernel that torch makes for this device, or cell by cell if it cannot."""
    vectors, kind = (q_BNHE, k_BNHE, v_BNHE), q_BNHE.device.type
    if torch.compiler.is_compiling():
        return plain(*vectors, projection_ME, stabiliser)
    if kind in not_compiled:
        return cell_by_cell(*vectors, projection_ME, stabiliser)
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in vectors)
    half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    kernel = kernel_of_torch(
        *(stabiliser, learns, torch.is_inference_mode_enabled(), q_BNHE.shape[1:]),
        *(len(q_BNHE) == 1, q_BNHE.dtype, half, kind),
    )
    if len(q_BNHE) > 1:
        for x in vectors:
            torch._dynamo.mark_dynamic(x, 0)
    try:
        with torch.set_grad_enabled(learns):
            out_BNHE: Tensor = kernel(*vectors, projection_ME, stabiliser)
        return out_BNHE
    except Exception as error:
        if not no_compiler(error):
            raise
        not_compiled[kind] = " ".join(str(error).split("\n")[:2])
    say(f"model.backend=compiled goes without a compiler, slowly: {not_compiled[kind]}")
    return cell_by_cell(*vectors, projection_ME, stabiliser)


# Kinds of devices for which torch could compile nothing here, and why.
not_compiled: dict[str, str] = {}


@cache
def kernel_of_torch(*variant: object) -> Any:
    """Compile the formula for one variant of its inputs, whatever the number of cells.

    torch compiles a function anew for other inputs, after eight times no more: from then on it
    would run uncompiled without a word. So each variant is a function of its own, of which one
    compiled form does; should that ever change, the last argument makes it an error.
    """
    # torch's own types do not know this argument yet.
    apart: dict[str, Any] = {"isolate_recompiles": True}
    return torch.compile(plain, fullgraph=True, **apart)


def no_compiler(error: Exception) -> bool:
    """Say whether torch failed to compile, for want of a compiler or of Triton."""
    from torch._dynamo.exc import ShortenTraceback

    if "out of memory" in str(error):
        return False
    failed = isinstance(error, ShortenTraceback | CalledProcessError)
    return failed or "C compiler" in str(error)


def cell_by_cell(
    q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, stabiliser: str
) -> Tensor:
    """Compute the formula holding the features of one cell, where cells do not see another."""
    if stabiliser == "batch":
        return plain(q_BNHE, k_BNHE, v_BNHE, projection_ME, stabiliser)
    found = [
        checkpoint(plain, *parts, projection_ME, stabiliser, use_reentrant=False)
        for parts in zip(q_BNHE.split(1), k_BNHE.split(1), v_BNHE.split(1), strict=True)
    ]
    return torch.cat(found)


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
