"""The exact computation of FAVOR+, in pieces that stay near the processor.

Features of a piece of tokens are made, used, and forgotten; the backward pass makes them a second
time. Exponentials are powers of 2, and what EPSILON adds to all features is added to their sums
instead.

Legend: B cells, N tokens, H heads, E width of a head, M features; R rows, one for each cell and
head, and T tokens of a piece; F is E and a closing 1, whose sum is the total weight.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from leadline.models.linear import product

EPSILON = 1e-4
LOG2_E = math.log2(math.e)
# So many features are made at a time: larger pieces leave the cache, smaller ones are all overhead.
# Backwards there are two sets.
PIECE, PIECE_BACKWARDS = 2048 * 266, 512 * 266
# 2 to this power is nothing beside EPSILON, and its products are still ordinary numbers: those
# below 2 ** -126 make processors a hundred times slower.
LOWEST_POWER = -60.0


def exact(
    q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, stabiliser: str
) -> Tensor:
    """Compute it piece by piece, forwards and backwards, keeping nothing of the features."""
    out_BNHE: Tensor = Exact.apply(q_BNHE, k_BNHE, v_BNHE, projection_ME, stabiliser)
    return out_BNHE


class Features:
    """Makes features of pieces, as powers of 2 (exp2 outruns exp)."""

    def __init__(self, projection_ME: Tensor, size: int, like: Tensor) -> None:
        self.count, width = projection_ME.shape
        self.scale = width**-0.25
        self.back_EM = (projection_ME.to(like.dtype) * self.scale).T.contiguous()
        self.map_ME = self.back_EM.T.contiguous() * LOG2_E
        self.half = -0.5 * LOG2_E * self.scale**2
        self.tokens = max(1, size // self.count)

    def project(self, x_RTE: Tensor) -> tuple[Tensor, Tensor]:
        """Give powers of 2 before any stabiliser, and minus the half squared lengths."""
        return product(x_RTE, self.map_ME), torch.linalg.vecdot(x_RTE, x_RTE).mul_(self.half)

    def of_queries(self, q_RTE: Tensor, *, place: bool = False) -> tuple[Tensor, Tensor | None]:
        """Give features without EPSILON, and which one was the largest if asked for."""
        powers_RTM, shift_RT = self.project(q_RTE)
        where_RT = None
        if place:
            top_RT, where_RT = powers_RTM.max(dim=2)
        else:
            top_RT = powers_RTM.amax(dim=2)
        return raised(powers_RTM, shift_RT - top_RT), where_RT


def raised(powers_RTM: Tensor, shift_RT: Tensor) -> Tensor:
    """Shift powers and raise 2 to them, in place."""
    return powers_RTM.add_(shift_RT[..., None]).clamp_min_(LOWEST_POWER).exp2_()


def closed(x_RTE: Tensor, last_RT1: Tensor | None = None) -> Tensor:
    """Append a number to each vector, 1 unless given."""
    last_RT1 = torch.ones_like(x_RTE[..., :1]) if last_RT1 is None else last_RT1
    return torch.cat((x_RTE, last_RT1), dim=2)


class Keys:
    """What queries ask: sums over the keys of each cell and head, gathered piece by piece.

    Until `settle`, sums refer to the largest projection seen so far.
    """

    def __init__(self, features: Features, rows: int, like: Tensor) -> None:
        self.features = features
        size = len(features.back_EM) + 1
        self.sums_RFM = like.new_zeros(rows, size, features.count)
        self.values_RF = like.new_zeros(rows, size)
        self.tops_R = like.new_full((rows,), -torch.inf)

    def add(self, rows: slice, k_RTE: Tensor, v_RTE: Tensor) -> None:
        """Take in some tokens of some cells and heads."""
        powers_RTM, shift_RT = self.features.project(k_RTE)
        before_R = self.tops_R[rows].clone()
        top_R = torch.maximum(before_R, powers_RTM.amax(dim=(1, 2)), out=self.tops_R[rows])
        ratio_R = torch.exp2(before_R - top_R)
        found_RTM = raised(powers_RTM, shift_RT - top_R[:, None])
        v_RTF = closed(v_RTE)
        sums_RFM = self.sums_RFM[rows].mul_(ratio_R[:, None, None])
        sums_RFM.add_(product(v_RTF.mT, found_RTM.mT))
        self.values_RF[rows].add_(v_RTF.sum(dim=1))

    def settle(self, stabiliser: str) -> None:
        """Bring all sums to the stabiliser that is asked for, and add what EPSILON adds."""
        if stabiliser == "batch":
            self.sums_RFM.mul_(torch.exp2(self.tops_R - self.tops_R.max())[:, None, None])
        self.sums_RFM.add_(self.values_RF[..., None], alpha=EPSILON)
        self.added_RF = self.sums_RFM.sum(dim=2).mul_(EPSILON)

    def answer(self, rows: slice, q_RTE: Tensor) -> tuple[Tensor, Tensor]:
        """Give what some queries find, found_RTE, and their total weights_RT."""
        found_RTM, _ = self.features.of_queries(q_RTE)
        sums_RTF = product(found_RTM, self.sums_RFM[rows], self.added_RF[rows])
        weights_RT1 = sums_RTF[..., -1:]
        return sums_RTF[..., :-1] / weights_RT1, weights_RT1.squeeze(2)


class Rows:
    """Vectors of each cell and head, cut into pieces of so many features.

    Small cells are laid side by side, so that a piece holds several of them; of a large one a
    piece is a part, which is read where it lies.
    """

    def __init__(self, x_BNHE: Tensor, features: Features) -> None:
        batch, self.tokens, self.heads, width = x_BNHE.shape
        self.rows = batch * self.heads
        self.some = max(1, features.tokens // self.tokens)
        self.step = features.tokens
        self.x = x_BNHE
        if self.some > 1:
            side_by_side = x_BNHE.transpose(1, 2).reshape(self.rows, self.tokens, width)
            self.x = side_by_side.contiguous()

    def like(self) -> Rows:
        """Make room for as many vectors, cut alike."""
        other = copy.copy(self)
        other.x = torch.empty_like(self.x, memory_format=torch.contiguous_format)
        return other

    def whole(self) -> Tensor:
        """Give x_BNHE."""
        return self.x.unflatten(0, (-1, self.heads)).transpose(1, 2) if self.some > 1 else self.x

    def pieces(self) -> Iterator[tuple[slice, slice]]:
        """Go through rows and tokens."""
        for row in range(0, self.rows, self.some):
            for token in range(0, self.tokens, self.step):
                yield slice(row, row + self.some), slice(token, token + self.step)

    def __getitem__(self, piece: tuple[slice, slice]) -> Tensor:
        rows, tokens = piece
        if self.some > 1:
            return self.x[rows, tokens]
        cell, head = divmod(rows.start, self.heads)
        return self.x[cell, tokens, head][None]


class Exact(torch.autograd.Function):
    """The exact computation and its own gradient, which computes features a second time."""

    @staticmethod
    def forward(
        ctx: Any, q_BNHE: Tensor, k_BNHE: Tensor, v_BNHE: Tensor, projection_ME: Tensor, how: str
    ) -> Tensor:
        """Gather the keys, then let the queries ask."""
        with torch.autocast(q_BNHE.device.type, enabled=False):
            features = Features(projection_ME, PIECE, full(q_BNHE))
            q, k, v = (Rows(full(x), features) for x in (q_BNHE, k_BNHE, v_BNHE))
            keys = Keys(features, q.rows, q.x)
            for piece in k.pieces():
                keys.add(piece[0], k[piece], v[piece])
            keys.settle(how)
            out = q.like()
            weights_RN = q.x.new_empty(q.rows, q.tokens)
            for piece in q.pieces():
                found_RTE, weights_RN[piece] = keys.answer(piece[0], q[piece])
                out[piece].copy_(found_RTE)
        ctx.save_for_backward(
            q_BNHE,
            k_BNHE,
            v_BNHE,
            projection_ME,
            out.whole(),
            weights_RN,
            keys.sums_RFM,
            keys.tops_R,
        )
        ctx.how = how
        return out.whole()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """Go through the queries, then through the keys."""
        (gradient_BNHE,) = gradients
        with torch.autocast(gradient_BNHE.device.type, enabled=False):
            return (*Backwards(ctx, gradient_BNHE).run(), None, None)


class Backwards:
    """The gradient of `Exact`.

    With e the features without EPSILON: de = gradient of a feature, and a projection's gradient
    is e·de, from which the half squared length and the stabiliser take the sum over features.
    """

    def __init__(self, ctx: Any, gradient_BNHE: Tensor) -> None:
        # Unpacked once: torch's checkpoint computes a block again for one reading, not for two.
        q_BNHE, k_BNHE, v_BNHE, projection_ME, out_BNHE, *kept = ctx.saved_tensors
        self.weights_RN, self.sums_RFM, self.tops_R = kept
        self.published = ctx.how == "batch"
        self.features = Features(projection_ME, PIECE_BACKWARDS, out_BNHE)
        self.q, self.k, self.v, self.out, self.given = (
            Rows(full(x), self.features) for x in (q_BNHE, k_BNHE, v_BNHE, out_BNHE, gradient_BNHE)
        )
        self.to_sums_RFM = torch.zeros_like(self.sums_RFM)

    def run(self) -> tuple[Tensor, Tensor, Tensor]:
        """Give the gradients of queries, keys and values."""
        dq, dk, dv = self.q.like(), self.k.like(), self.v.like()
        for piece in self.q.pieces():
            dq[piece].copy_(self.queries(piece))
        self.largest, self.owed = -math.inf, self.tops_R.new_zeros(())
        self.where = (slice(0, 1), slice(0, 1)), 0, 0, 0
        for piece in self.k.pieces():
            dk_RTE, dv_RTE = self.keys(piece)
            dk[piece].copy_(dk_RTE)
            dv[piece].copy_(dv_RTE)
        if self.published:
            place, row, token, feature = self.where
            dk[place][row, token] -= self.owed * self.features.back_EM[:, feature]
        return dq.whole(), dk.whole(), dv.whole()

    def queries(self, piece: tuple[slice, slice]) -> Tensor:
        """Give the gradient of some queries, and add up what they ask of the sums."""
        rows = piece[0]
        found_RTM, where_RT = self.features.of_queries(self.q[piece], place=self.published)
        given_RTE = self.given[piece] / self.weights_RN[piece][..., None]
        owed_RT1 = -torch.linalg.vecdot(given_RTE, self.out[piece])[..., None]
        given_RTF = closed(given_RTE, owed_RT1)
        to_sums_RFM = self.to_sums_RFM[rows].add_(product(given_RTF.mT, found_RTM.mT))
        to_sums_RFM.add_(given_RTF.sum(dim=1)[..., None], alpha=EPSILON)
        d_RTM = product(given_RTF, self.sums_RFM[rows].mT).mul_(found_RTM)
        total_RT1 = d_RTM.sum(dim=2, keepdim=True)
        if where_RT is not None:
            d_RTM.scatter_add_(2, where_RT[..., None], -total_RT1)
        return self.through(d_RTM, total_RT1, self.q[piece])

    def keys(self, piece: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
        """Give the gradients of some keys and their values, and note what the stabiliser owes."""
        rows = piece[0]
        powers_RTM, shift_RT = self.features.project(self.k[piece])
        top_R = self.tops_R[rows]
        if self.published:
            top_R = self.tops_R.max().expand_as(top_R)
            self.look_for_largest(piece, powers_RTM)
        found_RTM = raised(powers_RTM, shift_RT - top_R[:, None])
        to_sums_REM, to_sums_RM = self.to_sums_RFM[rows, :-1], self.to_sums_RFM[rows, -1]
        dv_RTE = product(found_RTM, to_sums_REM, to_sums_REM.sum(dim=2) * EPSILON)
        d_RTM = product(self.v[piece], to_sums_REM.mT, to_sums_RM).mul_(found_RTM)
        total_RT1 = d_RTM.sum(dim=2, keepdim=True)
        self.owed += total_RT1.sum()
        return self.through(d_RTM, total_RT1, self.k[piece]), dv_RTE

    def look_for_largest(self, piece: tuple[slice, slice], powers_RTM: Tensor) -> None:
        """Remember where the projection is that the published stabiliser takes."""
        value, index = powers_RTM.flatten().max(dim=0)
        if float(value) > self.largest:
            row_token, feature = divmod(int(index), powers_RTM.shape[2])
            row, token = divmod(row_token, powers_RTM.shape[1])
            self.largest, self.where = float(value), (piece, row, token, feature)

    def through(self, d_RTM: Tensor, total_RT1: Tensor, x_RTE: Tensor) -> Tensor:
        """Bring the gradient of projections and half squared lengths back to the vectors."""
        lengths_RTE = x_RTE * (total_RT1 * -(self.features.scale**2))
        return lengths_RTE.add_(product(d_RTM, self.features.back_EM))


def full(x: Tensor) -> Tensor:
    """Leave half precision; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
