"""scBERT against performer-pytorch's own stack with the same weights; prints one JSON object.

Both sides share embedding, final norm, head and optimiser, and take the stabiliser of each cell and
head, the only one that the package knows. They run in turns in one process, on as many threads as
--threads says. Time is the shortest of a few turns, as wall and as CPU seconds; memory is the
largest resident size during a turn above that before it. Without gene2vec ours is the collapse.

A fine-tuning step trains what the paper's scripts train; a masked step trains everything.
"""

import argparse
import gc
import json
import re
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import nn
from torch.nn.functional import cross_entropy

from leadline.models.network import DrawKey
from leadline.models.scbert.model import ScbertBatches, keep_frozen
from leadline.models.scbert.network import N_TOKENS, AttentionOptions, Head, ScbertNetwork, Shape
from leadline.models.scbert.pretraining import ScbertMaskedBatches
from leadline.models.scbert.tokens import Tokens

CLASSES = 11
SHORT, REPEATS = 1.0, 12
SIZES = ["2001x1", "2001x8", "16907x1", "16907x8"]
TARGETS = {
    "forward": 2.5,
    "fine_tuning_step": 2.0,
    "share_of_memory": 0.5,
    "collapse": 500,
    "microseconds_per_cell": 10,
}


class Peer(nn.Module):
    """The package's blocks between our embedding, norm and head."""

    def __init__(self, network):
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            from performer_pytorch import Performer
        shape = network.shape
        sizes = {"dim": shape.width, "depth": shape.depth, "heads": shape.heads}
        self.blocks = Performer(dim_head=shape.head_width, qkv_bias=False, **sizes)
        state = network.performer.net.state_dict()
        self.blocks.net.load_state_dict(state)
        self.network = network

    def forward(self, tokens_BN):
        """Give what the head says."""
        network = self.network
        return network.to_out(network.norm(self.blocks(network.embed(tokens_BN))))

    def freeze(self):
        """Train what the paper's scripts train."""
        self.requires_grad_(False)
        for part in (self.network.norm, self.network.to_out, self.blocks.net.layers[-1]):
            part.requires_grad_(True)


def make(positions, gene2vec, head):
    torch.manual_seed(1)
    shape = Shape(positions=positions, depth=6, width=200, heads=10, head_width=64)
    table = torch.randn(positions, 200) if gene2vec else None
    heads = {
        "classes": lambda: Head(positions, 200, (512, 128), CLASSES),
        "bins": lambda: nn.Linear(200, N_TOKENS),
    }
    network = ScbertNetwork(
        shape, AttentionOptions(stabiliser="head"), positions_ND=table, head=heads[head]()
    )
    if head == "classes":
        # Else chance may leave the head's first layer silent, and nothing would be compared.
        nn.init.ones_(network.to_out.conv1.bias)
    return network.eval()


def some_tokens(n_cells, positions, density=0.07):
    """Draw cells with about as many expressed genes as Zheng68K has, as sparse tokens."""
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((n_cells, positions), density=density, rng=rng, format="csr")
    share = [0.03, 0.5, 0.3, 0.12, 0.05]
    matrix.data = rng.choice(np.arange(1, 6), len(matrix.data), p=share)
    matrix = sparse.csr_array(matrix.astype(np.uint8))
    matrix.indices = matrix.indices.astype(np.int32)
    names = np.array([f"G{g}" for g in range(positions - 1)])
    matrix = matrix[:, : positions - 1]
    matrix.resize((n_cells, positions))
    return Tokens(matrix_CL=matrix, genes=names)


def resident():
    """Give the resident size and its peak, in MiB."""
    text = Path("/proc/self/status").read_text()
    return [int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1024 for key in ("VmRSS", "VmHWM")]


def turn(function):
    """Give wall and CPU seconds, peak memory in MiB, and what came out."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before, _ = resident()
    wall, cpu = time.perf_counter(), time.process_time()
    found = function()
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    return (*seconds, resident()[1] - before), found


def against(ours, peers, turns):
    """Run both in turns, and give the shortest times, the peaks and the largest difference."""
    taken = {"ours": [], "peer": []}
    for _ in range(turns):
        numbers, expected = turn(peers)
        taken["peer"].append(numbers)
        numbers, found = turn(ours)
        taken["ours"].append(numbers)
        difference = float((found - expected).abs().max())
    # What takes milliseconds is not judged by its first time, which fills caches.
    while min(wall for wall, *_ in taken["ours"]) < SHORT and len(taken["ours"]) < REPEATS:
        taken["ours"].append(turn(ours)[0])
    report = {}
    for name, rows in taken.items():
        wall, cpu, memory = np.array(rows).T
        report |= {
            f"{name}_wall_s": round(float(wall.min()), 4),
            f"{name}_cpu_s": round(float(cpu.min()), 4),
            f"{name}_peak_mib": round(float(memory.max())),
        }
    return report | {
        "ratio_wall": round(report["peer_wall_s"] / report["ours_wall_s"], 2),
        "ratio_cpu": round(report["peer_cpu_s"] / max(report["ours_cpu_s"], 1e-3), 2),
        "share_of_memory": round(report["ours_peak_mib"] / max(report["peer_peak_mib"], 1), 3),
        "largest_difference": difference,
    }


def training(network, logits, labels, weights=None):
    """Give a function that takes one step and returns the logits before it."""
    changing = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(changing, lr=1e-6, fused=True)

    def step():
        optimiser.zero_grad(set_to_none=True)
        out = logits()
        loss = cross_entropy(out, labels, reduction="none")
        (loss.mean() if weights is None else (loss * weights).sum() / weights.sum()).backward()
        optimiser.step()
        return out.detach()

    return step


def with_gene2vec(positions, batch, turns):
    tokens = some_tokens(batch, positions)
    dense = torch.from_numpy(tokens.dense(np.arange(batch)))
    labels = torch.arange(batch) % CLASSES
    network, other = (make(positions, True, "classes") for _ in range(2))
    peer = Peer(other).eval()
    with torch.no_grad():
        report = {"forward": against(lambda: network(dense), lambda: peer(dense), turns)}
    keep_frozen(network, "paper")
    peer.freeze()
    report["fine_tuning_step"] = against(
        training(network, lambda: network(dense), labels),
        training(peer, lambda: peer(dense), labels),
        turns,
    )
    return report


def collapsed(positions, batch, turns):
    tokens = some_tokens(batch, positions)
    rows, moment = np.arange(batch), DrawKey(seed=1, epoch=1)
    source = ScbertBatches(tokens, rows.astype(np.int32) % CLASSES, collapsed=True)
    few = source.batch(rows, moment)
    dense = torch.from_numpy(tokens.dense(rows))
    network, other = (make(positions, False, "classes") for _ in range(2))
    peer = Peer(other).eval()

    def ours():
        x = network.encode_distinct(few["counts"])
        return network.to_out.of_distinct(x, few["cell"], few["gene"], few["token"])

    with torch.no_grad():
        report = {"forward": against(ours, lambda: peer(dense), turns)}
    keep_frozen(network, "paper")
    peer.freeze()
    report["fine_tuning_step"] = against(
        training(network, ours, few["labels"]),
        training(peer, lambda: peer(dense), few["labels"]),
        turns,
    )
    return report | {"masked_step": masked_step(tokens, positions, rows, moment, turns)}


def masked_step(tokens, positions, rows, moment, turns):
    """Set a step of pretraining on kinds of positions against one on all chosen positions."""
    few, many = (
        ScbertMaskedBatches(tokens, collapsed=how).batch(rows, moment) for how in (True, False)
    )
    network, other = (make(positions, False, "bins") for _ in range(2))
    peer = Peer(other).eval()

    def ours():
        return network.to_out(network.encode_distinct(few["counts"]).flatten(0, 1)[few["where"]])

    def theirs():
        return peer(many["tokens"]).flatten(0, 1)[many["where"]]

    one = training(network, ours, few["label"], few["weight"])
    other_step = training(peer, theirs, many["label"], many["weight"])
    # The two give logits of different places: each kind is shown at its first position.
    kind_of = {}
    for place, pair in enumerate(zip(many["cell"], many["shown"], many["label"], strict=True)):
        kind_of.setdefault(tuple(map(int, pair)), place)
    keys = zip(few["cell"], few["shown"], few["label"], strict=True)
    first = torch.tensor([kind_of[tuple(map(int, key))] for key in keys])
    return against(one, lambda: other_step()[first], turns)


def data_path(positions, n_cells=2000, batch=32):
    """Give microseconds per cell from sparse tokens to a batch."""
    tokens = some_tokens(n_cells, positions)
    sources = {
        "tokens": ScbertBatches(tokens, None, collapsed=False),
        "counts": ScbertBatches(tokens, None, collapsed=True),
        "masked_tokens": ScbertMaskedBatches(tokens, collapsed=False),
        "masked_counts": ScbertMaskedBatches(tokens, collapsed=True),
    }
    order = np.random.default_rng(0).permutation(n_cells)
    report = {"expressed_genes": int(tokens.matrix_CL.nnz / n_cells)}
    for name, source in sources.items():
        times = []
        for start in range(0, n_cells - batch, batch):
            began = time.process_time()
            source.batch(order[start : start + batch], DrawKey(seed=1, epoch=1))
            times.append((time.process_time() - began) / batch * 1e6)
        report[name] = round(float(np.median(times)), 2)
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="2,001 positions, one cell, one turn")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--sizes", nargs="*", default=SIZES, help="positions x cells of a batch")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    turns = 1 if chosen.quick else chosen.turns
    wanted = SIZES[:1] if chosen.quick else chosen.sizes
    sizes = [tuple(map(int, size.split("x"))) for size in wanted]
    report = {"targets": TARGETS, "threads": chosen.threads, "data_path_us": data_path(16_907)}
    for positions, batch in sizes:
        name = f"{positions} positions, batch {batch}"
        report[name] = {"gene2vec": with_gene2vec(positions, batch, turns)}
        # Larger batches without gene2vec only repeat, for hours, what one cell shows.
        if batch == 1:
            report[name]["collapse"] = collapsed(positions, batch, turns)
        print(name, json.dumps(report[name]), flush=True)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
