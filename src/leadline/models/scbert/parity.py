"""Anyone's scBERT weights and tokens → what this port makes of them, to compare with the original.

Legend: B cells, N positions (genes and the closing CLS), T distinct tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from leadline.errors import UserError
from leadline.models import weights as checkpoints
from leadline.models.scbert.model import in_body
from leadline.models.scbert.network import N_TOKENS, AttentionOptions, Head, ScbertNetwork, Shape

STATE, HEAD = "sd::", "head::"
BACKENDS = ("auto", "exact", "compiled", "performer", "collapse")
STABILISERS = ("batch", "head")


def outputs(
    weights: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, NDArray[Any]],
    *,
    backend: str = "auto",
    stabiliser: str = "batch",
) -> dict[str, NDArray[Any]]:
    """Compute what the original gives for the same weights and tokens, in float32.

    `mlm_logits` come with the pretraining head, `cls_logits` with the fine-tuning head, if given.

    Parameters
    ----------
    weights
        `sd::<published key>` of the body with its pretraining head, `sd::head::to_out.*`.
    inputs
        `tokens` of shape (B, N), the closing CLS included.
    backend
        Who computes attention; `collapse` goes by way of distinct tokens.
    """
    stored = {
        name.removeprefix(STATE): torch.from_numpy(np.asarray(value))
        for name, value in weights.items()
        if name.startswith(STATE)
    }
    found = forward(stored, tokens_of(inputs), backend=backend, stabiliser=stabiliser)
    return {name: value.numpy() for name, value in found.items()}


def tokens_of(inputs: Mapping[str, NDArray[Any]]) -> Tensor:
    """Take tokens_BN out of the inputs."""
    tokens = inputs.get("tokens", np.zeros(0))
    whole = tokens.ndim == 2 and tokens.size > 0 and np.issubdtype(tokens.dtype, np.integer)
    if not whole or tokens.min() < 0 or tokens.max() >= N_TOKENS:
        raise UserError(
            "the inputs must hold tokens: whole numbers from 0 to 6, cells x positions",
            got=f"{tokens.dtype} of shape {tokens.shape}" if "tokens" in inputs else "no tokens",
            remedy="write numpy.savez(path, tokens=…), with a closing 0 for the CLS",
        )
    return torch.from_numpy(tokens.astype(np.int64))


@torch.inference_mode()
def forward(
    stored: Mapping[str, Tensor], tokens_BN: Tensor, *, backend: str, stabiliser: str
) -> dict[str, Tensor]:
    """Run the network with every head that is there."""
    plain = {name.removeprefix(checkpoints.WRAPPER): value for name, value in stored.items()}
    fine_tuned = {n.removeprefix(HEAD): x for n, x in plain.items() if n.startswith(HEAD)}
    body = {name: value for name, value in plain.items() if not name.startswith(HEAD)}
    heads = {}
    if "to_out.weight" in body:
        heads["mlm_logits"] = {n: x for n, x in body.items() if not in_body(n)}
    if fine_tuned:
        heads["cls_logits"] = fine_tuned
    body = {name: value for name, value in body.items() if in_body(name)}
    network = network_of(body, tokens_BN.shape[1], backend, stabiliser)
    x_BND = encodings(network, tokens_BN, collapsed=backend == "collapse")
    found = {"encodings": x_BND}
    for name, state in heads.items():
        head = head_of(state, x_BND)
        found[name] = head(x_BND)
    return found


def encodings(network: ScbertNetwork, tokens_BN: Tensor, *, collapsed: bool) -> Tensor:
    """Give encodings_BND, by way of distinct tokens if asked for."""
    if not collapsed:
        return network.encode(tokens_BN)
    if network.positional:
        raise UserError(
            "the collapse needs a network without gene2vec",
            got="weights with pos_emb.emb.weight",
            remedy="choose another backend",
        )
    counts_BT = torch.stack([torch.bincount(row, minlength=N_TOKENS) for row in tokens_BN])
    x_BTD = network.encode_distinct(counts_BT)
    return x_BTD.gather(1, tokens_BN[..., None].expand(-1, -1, x_BTD.shape[2]))


def network_of(
    body: dict[str, Tensor], positions: int, backend: str, stabiliser: str
) -> ScbertNetwork:
    """Make the network whose sizes the shapes of its weights tell, and fill it."""
    blocks = "performer.net.layers."
    depth = 1 + max((int(n.split(".")[3]) for n in body if n.startswith(blocks)), default=-1)
    needed = ("token_emb.weight", f"{blocks}0.0.fn.to_q.weight")
    projection = f"{blocks}0.0.fn.fast_attention.projection_matrix"
    missing = [name for name in (*needed, projection) if name not in body]
    if missing:
        raise UserError(
            "the weights must be scBERT's, as sd::<published key>",
            got=f"no {', '.join(missing)}",
            remedy="write them with numpy.savez from the model's state_dict()",
        )
    table_ND = body.get("pos_emb.emb.weight")
    if table_ND is not None and len(table_ND) != positions:
        raise UserError(
            "tokens must have a position for each row of pos_emb.emb.weight",
            got=f"{positions:,} positions and {len(table_ND):,} rows",
            remedy="append the CLS, 0, to the tokens of each cell",
        )
    head_width = body[projection].shape[1]
    shape = Shape(
        positions=positions,
        depth=depth,
        width=body["token_emb.weight"].shape[1],
        heads=body[needed[1]].shape[0] // head_width,
        head_width=head_width,
    )
    way = AttentionOptions(
        stabiliser=stabiliser, backend="auto" if backend == "collapse" else backend
    )
    table_ND = None if table_ND is None else table_ND.float()
    network = ScbertNetwork(shape, way, positions_ND=table_ND, head=nn.Identity())
    checkpoints.load(network, body, body=in_body)
    return network.eval()


def head_of(state: dict[str, Tensor], x_BND: Tensor) -> nn.Module:
    """Make the head that a state dict describes, and fill it."""
    width, positions = x_BND.shape[2], x_BND.shape[1]
    inner = {name.removeprefix("to_out."): value for name, value in state.items()}
    if "weight" in inner:
        head: nn.Module = nn.Linear(width, len(inner["weight"]))
    else:
        sizes = [len(inner[f"fc{k}.weight"]) for k in (1, 2, 3) if f"fc{k}.weight" in inner]
        if len(sizes) != 3:
            raise UserError(
                "the fine-tuning head must have conv1, fc1, fc2 and fc3",
                got=", ".join(sorted(state)),
                remedy="write sd::head::to_out.<layer>.weight and .bias of all four",
            )
        head = Head(positions, width, sizes[:2], sizes[2])
    checkpoints.load(head, inner, body=lambda name: True)
    return head.eval()
