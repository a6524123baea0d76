"""Products of matrices on a CPU by oneDNN, and by torch's own library elsewhere.

On a CPU torch asks MKL, which uses half of the vector unit of processors of another maker than
its own; oneDNN comes with torch too and uses all of it. Both are exact to rounding.

Legend: R matrices beside each other, I rows of the first, K rows of the second, J summed over.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# With fewer multiplications torch's own way is over before ours has begun.
WORTH_IT = 2**22


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Give a_RIJ times b_RKJ's transpose plus bias_RK; gradients do not pass.

    `R` may be left out of all, or of `b` and `bias` alone. A `b` that is a transposed matrix is
    read as it lies.
    """
    if b.dim() < a.dim():
        return product(a.flatten(0, 1), b, bias).unflatten(0, a.shape[:2])
    if a.dim() == 2:
        return two(a, b, bias)
    if len(a) == 1:
        return two(a[0], b[0], None if bias is None else bias[0])[None]
    out_RIK = a @ b.mT
    return out_RIK if bias is None else out_RIK.add_(bias[:, None])


def two(a_IJ: Tensor, b_KJ: Tensor, bias_K: Tensor | None) -> Tensor:
    """Multiply two matrices."""
    if not (dense(a_IJ) and a_IJ.numel() and b_KJ.numel()):
        return functional.linear(a_IJ, b_KJ, bias_K)
    if not (b_KJ.is_contiguous() or b_KJ.T.is_contiguous()):
        # oneDNN takes others too, a thousand times more slowly.
        b_KJ = b_KJ.contiguous()
    of_torch = torch.ops.mkldnn._linear_pointwise
    out_IK: Tensor = of_torch(a_IJ.contiguous(), b_KJ, bias_K, "none", [], "")
    return out_IK


def dense(x: Tensor) -> bool:
    """Say whether oneDNN does better with it; torch's compiler must see plain products."""
    single = x.device.type == "cpu" and x.dtype == torch.float32
    return single and torch.backends.mkldnn.is_available() and not torch.compiler.is_compiling()


class Linear(nn.Linear):
    """torch's linear layer, forwards and backwards in the faster way."""

    def forward(self, x: Tensor) -> Tensor:
        """Map the last dimension."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight_KJ: Tensor, bias_K: Tensor | None = None) -> Tensor:
    """Compute torch's `linear`; gradients pass."""
    work = x.numel() * len(weight_KJ)
    if work < WORTH_IT or not dense(x) or torch.is_autocast_enabled("cpu"):
        return functional.linear(x, weight_KJ, bias_K)
    out: Tensor = LinearMap.apply(x, weight_KJ, bias_K)
    return out


class LinearMap(torch.autograd.Function):
    """The map of a linear layer and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_KJ: Tensor, bias_K: Tensor | None) -> Tensor:
        """Keep what the gradients need."""
        ctx.save_for_backward(x, weight_KJ)
        return two(x.flatten(0, -2), weight_KJ, bias_K).unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients that are asked for."""
        x, weight_KJ = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        given_IK = gradients[0].flatten(0, -2)
        to_x = to_weight = to_bias = None
        if for_x:
            to_x = two(given_IK, weight_KJ.T, None).view(x.shape)
        if for_weight:
            to_weight = two(x.flatten(0, -2).T, given_IK.contiguous().T, None).T
        if for_bias:
            to_bias = given_IK.sum(dim=0)
        return to_x, to_weight, to_bias
