"""What it saves scBERT to store what its frozen blocks give; prints one JSON object.

Seeds that start from the same weights are fitted one after the other, epoch by epoch, on the same
cells at the published sizes, on one thread: once plainly, once with a folder that is empty at
first. Seconds are those of the process, of the fastest step and selection pass: when all is stored.
Logits and weights must be equal bit by bit.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

from leadline.models.scbert.model import keep_frozen
from leadline.models.scbert.network import AttentionOptions, Head, ScbertNetwork, Shape
from leadline.models.scbert.trunk import StoredTrunk

CLASSES, BATCH = 11, 8
TARGETS = {"step": {"paper": 2.1, "all_but_head": 30.0}, "selection": {"paper": 5.5}}


def network_of(positions, seed, freeze, folder):
    """Make a network whose body is the same for all seeds, and whose head is not."""
    torch.manual_seed(0)
    network = ScbertNetwork(
        Shape(positions=positions, depth=6, width=200, heads=10, head_width=64),
        AttentionOptions(),
        positions_ND=torch.randn(positions, 200),
        head=Head(positions, 200, (512, 128), CLASSES),
    )
    torch.manual_seed(seed)
    network.to_out = Head(positions, 200, (512, 128), CLASSES)
    keep_frozen(network, freeze)
    if folder is not None:
        network.stored_trunk = StoredTrunk(folder, 64 * 2**30)
    return network


def fitted(chosen, seed, freeze, folder):
    """Fit one seed; give seconds of each step and each selection pass, logits and weights."""
    network = network_of(chosen.positions, seed, freeze, folder)
    draw = torch.Generator().manual_seed(1)
    tokens = (torch.rand(chosen.cells, chosen.positions, generator=draw) < 0.07).byte() * 2
    labels = torch.randint(CLASSES, (chosen.cells,), generator=draw)
    optimiser = torch.optim.Adam(
        [p for p in network.parameters() if p.requires_grad], lr=1e-4, fused=True
    )
    steps, passes = [], []
    for _ in range(chosen.epochs):
        network.train()
        for rows in torch.randperm(chosen.cells).split(BATCH):
            began = time.process_time()
            optimiser.zero_grad(set_to_none=True)
            cross_entropy(network(tokens[rows]), labels[rows]).backward()
            optimiser.step()
            steps.append(time.process_time() - began)
        network.eval()
        began = time.process_time()
        with torch.inference_mode():
            logits = torch.cat([network(part) for part in tokens.split(BATCH)])
        passes.append(time.process_time() - began)
    return steps, passes, logits, network.state_dict()


def main():
    """Fit with and without; print seconds and ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--positions", type=int, default=2001)
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--freeze", nargs="+", default=["paper", "all_but_head"])
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    told = vars(chosen) | {"targets": TARGETS, "found": {}}
    for freeze in chosen.freeze:
        with tempfile.TemporaryDirectory() as folder:
            plain, stored, same = ([], []), ([], []), True
            whole = [0.0, 0.0]
            for seed in range(chosen.seeds):
                found = [fitted(chosen, seed, freeze, place) for place in (None, Path(folder))]
                same &= torch.equal(found[0][2], found[1][2])
                same &= all(torch.equal(x, found[1][3][name]) for name, x in found[0][3].items())
                for kept, (steps, passes, *_) in zip((plain, stored), found, strict=True):
                    kept[0].append(min(steps))
                    kept[1].append(min(passes))
                whole = [w + sum(f[0]) + sum(f[1]) for w, f in zip(whole, found, strict=True)]
            told["found"][freeze] = {
                "step_seconds": [min(plain[0]), min(stored[0])],
                "selection_seconds": [min(plain[1]), min(stored[1])],
                "step": min(plain[0]) / min(stored[0]),
                "selection": min(plain[1]) / min(stored[1]),
                "everything": whole[0] / whole[1],
                "same_bits": same,
            }
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
