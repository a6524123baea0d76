"""scGPT's outputs for given weights and tokens, to be held against those of another code.

Legend: B cells, L padded length, T tokens (B · L), E width, K classes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from leadline.errors import UserError
from leadline.models import weights as checkpoints
from leadline.models.scgpt.layout import Layout
from leadline.models.scgpt.network import ScgptNetwork, Sizes
from leadline.models.scgpt.weights import BODY, in_our_names

PREFIX = "sd::"
INPUTS = ("src", "values", "key_padding_mask", "nheads")
LAYER = re.compile(r"transformer_encoder\.layers\.(\d+)\.")
CLASSIFIER = re.compile(r"cls_decoder\._decoder\.\d+\.")
# A norm has a weight and a bias, as the linear layer before it.
WEIGHTS_OF_A_LAYER = 4


def outputs(
    weights: Mapping[str, NDArray[Any]], inputs: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Compute what the original gives for the same weights and tokens, padding included.

    Parameters
    ----------
    weights
        `sd::<key>`: a state dict in any of the three layouts.
    inputs
        `src` and `values` of shape (B, L), `key_padding_mask` (true where there is padding) and
        `nheads`.
    """
    lacking = [name for name in INPUTS if name not in inputs]
    if lacking:
        raise UserError(
            f"the inputs are {', '.join(INPUTS)}",
            got=f"none named {', '.join(lacking)}",
            remedy="save them with numpy.savez",
        )
    state = in_our_names(
        {
            name.removeprefix(PREFIX): torch.from_numpy(np.asarray(value))
            for name, value in weights.items()
            if name.startswith(PREFIX)
        }
    )
    levels, level_BL = np.unique(inputs["values"], return_inverse=True)
    network = network_for(state, int(inputs["nheads"]), levels.tolist())
    padding_BL = np.asarray(inputs["key_padding_mask"]).astype(bool)
    # Tokens that may be looked at come first; their order is of no account.
    order_BL = np.argsort(padding_BL, axis=1, kind="stable")
    ids_BL = np.take_along_axis(np.asarray(inputs["src"]).astype(np.int64), order_BL, 1)
    level_BL = np.take_along_axis(level_BL.reshape(padding_BL.shape), order_BL, 1)
    with torch.no_grad():
        found = forward(network, ids_BL, level_BL, (~padding_BL).sum(axis=1))
    back_BL = np.argsort(order_BL, axis=1)
    for name in ("transformer_output", "mlm_output"):
        if name in found:
            where = back_BL[:, :, None] if found[name].ndim == 3 else back_BL
            found[name] = np.take_along_axis(found[name], where, 1)
    if "transformer_output" in found:
        found["cell_emb"] = found["transformer_output"][:, 0]
    return found


def forward(
    network: ScgptNetwork, ids_BL: NDArray[Any], level_BL: NDArray[Any], keys_B: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Run every token through every layer, and `<cls>` through the short way of a classifier."""
    n_cells, length = ids_BL.shape
    layout = Layout((length,) * n_cells, torch.device("cpu"), keys=tuple(keys_B.tolist()))
    ids_U, gene_T = np.unique(ids_BL, return_inverse=True)
    ids, gene, level = (torch.from_numpy(x).reshape(-1) for x in (ids_U, gene_T, level_BL))
    x_TE = network.embed(ids, gene, level, layout)
    out_TE = network.tokens(x_TE, layout)
    found = {"transformer_output": out_TE.unflatten(0, (n_cells, length)).numpy()}
    every_T = torch.arange(len(out_TE))
    found["mlm_output"] = network.values(out_TE, layout, every_T).view(n_cells, length).numpy()
    if network.cls_decoder is not None:
        found["cls_output"] = network.classes(network.cells(x_TE, layout)).numpy()
    return found


def network_for(state: Mapping[str, Tensor], heads: int, levels: list[float]) -> ScgptNetwork:
    """Make the network that a state dict is of, in its precision."""
    try:
        vocabulary, width = state["encoder.embedding.weight"].shape
        hidden = len(state["transformer_encoder.layers.0.linear1.bias"])
    except KeyError as error:
        raise UserError(
            "the weights are arrays sd::<key> of scGPT's state dict",
            got=f"none named sd::{error.args[0]}",
            remedy="save every entry of model.state_dict() under sd:: and its name",
        ) from error
    layers = {found[1] for name in state if (found := LAYER.match(name))}
    classes = state.get("cls_decoder.out_layer.bias", torch.empty(0))
    before = sum(bool(CLASSIFIER.match(name)) for name in state)
    sizes = Sizes(
        vocabulary=vocabulary,
        width=width,
        heads=heads,
        layers=len(layers),
        hidden=hidden,
        classes=len(classes),
        classifier_layers=before // WEIGHTS_OF_A_LAYER + 1,
    )
    network = ScgptNetwork(sizes, levels).to(state["encoder.embedding.weight"].dtype)
    everything = (*BODY, "decoder.", "cls_decoder.")
    checkpoints.load(network, state, body=lambda name: name.startswith(everything))
    return network.eval()
