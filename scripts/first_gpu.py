"""What the first GPU at hand shows, in ten minutes: one table for docs/log.md, then JSON.

    python scripts/first_gpu.py [--device cuda] [--sizes 2001x32 16907x32] [--without-tests]

Fine-tuning steps of scBERT at the paper's width in three precisions, beside performer-pytorch's
stack with the same weights where that package is there; steps of scGPT beside the padded original;
peak memory; how often a step waits for the device; and the tests of tests/test_gpu.py (golden
vectors in three precisions, same bits twice, ranks over NCCL where there are two GPUs). On a CPU
the same table is made, at sizes that a CPU can bear: it shows that the script works.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts" / "bench"))

import scbert  # noqa: E402
import scgpt  # noqa: E402

from leadline.config import ScgptConfig, TrainConfig  # noqa: E402
from leadline.models.dropout import set_cells  # noqa: E402
from leadline.models.scbert.model import keep_frozen  # noqa: E402
from leadline.models.scgpt.model import Scgpt  # noqa: E402
from leadline.training import precision  # noqa: E402
from leadline.training.step import moved  # noqa: E402

PRECISIONS = {
    "exact": {"matmul": "exact"},
    "tf32": {"matmul": "tf32"},
    "bf16": {"matmul": "tf32", "amp": "bf16"},
}
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def settled(device):
    """Wait until the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def measured(step, device, turns):
    """Give the shortest time of a step in seconds, and its peak memory in MiB (GPUs alone)."""
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(turns):
        settled(device)
        began = time.perf_counter()
        step()
        settled(device)
        times.append(time.perf_counter() - began)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else None
    return {"seconds": min(times), "peak_mib": peak}


def waits(step, device):
    """Count how often the host waits for the device within a step; None on a CPU."""
    if device.type != "cuda":
        return None
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        step()
    return sum(each.count for each in profile.key_averages() if each.key in WAITS)


def row(what, step, device, turns, **more):
    """Measure a step, or say why it could not be taken."""
    try:
        found = measured(step, device, turns) | {"waits": waits(step, device)}
    except (RuntimeError, torch.OutOfMemoryError) as error:
        found = {"failed": str(error).splitlines()[0][:120]}
    return {"what": what, **more, **found}


def scbert_rows(positions, batch, device, turns, peer):
    """Time fine-tuning steps that train what the paper's scripts train."""
    tokens = torch.from_numpy(scbert.some_tokens(batch, positions).dense(np.arange(batch)))
    tokens, labels = tokens.to(device), (torch.arange(batch) % scbert.CLASSES).to(device)
    size = f"{positions} x {batch}"
    for name, settings in PRECISIONS.items():
        config = TrainConfig(**settings)
        network = scbert.make(positions, True, "classes").to(device)
        sides = {"leadline": network}
        if peer:
            sides["performer-pytorch"] = scbert.Peer(network).eval().to(device)
        keep_frozen(network, "paper")
        for side, module in sides.items():
            if side != "leadline":
                module.freeze()

            def logits(module=module, config=config):
                with precision.autocast(config, device):
                    return module(tokens).float()

            with precision.numerics(config, device):
                step = scbert.training(module, logits, labels)
                yield row(f"scBERT {size}", step, device, turns, side=side, precision=name)


def scgpt_rows(options, cells, batch, device, turns):
    """Time steps of scGPT on cells of unlike length, beside the padded original."""
    drawn = scgpt.some_cells(cells)
    model = Scgpt(ScgptConfig(name="scgpt", **options))
    ours = model.build(drawn).to(device)
    source, rows = model.encode(drawn), np.arange(batch)
    pad = model.vocabulary.number("<pad>")
    theirs = scgpt.Straightforward(model.sizes, pad, ours.cls_decoder).to(device)
    fed = source.batch(rows, scgpt.NOW)
    padded = [x.to(device) for x in scgpt.padded_cells(fed, pad, int(source.lengths_C.max()))]
    labels = torch.from_numpy(drawn.labels_C[rows]).long().to(device)

    def train_ours():
        ours.train()
        ours.zero_grad()
        set_cells(ours, seed=1, epoch=1, rows=rows)
        cross_entropy(model.logits(ours, moved(fed, device)), labels).backward()

    def train_theirs():
        theirs.train()
        theirs.zero_grad()
        cross_entropy(theirs(*padded), labels).backward()

    for side, step in (("leadline", train_ours), ("padded original", train_theirs)):
        for name in ("exact", "bf16"):
            config = TrainConfig(**PRECISIONS[name])
            with precision.numerics(config, device), precision.autocast(config, device):
                yield row(f"scGPT {batch} cells", step, device, turns, side=side, precision=name)


def said_by(*words):
    """Run a command and give the last line that it prints."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return f"exit {done.returncode}: {lines[-1] if lines else 'nothing said'}"


def table(rows):
    """Lay the rows out in Markdown."""
    lines = ["| what | side | precision | seconds | peak MiB | waits |", "|---" * 6 + "|"]
    for each in rows:
        if "failed" in each:
            numbers = f"{each['failed']} | | "
        else:
            told = (each["peak_mib"], each["waits"])
            rest = " | ".join("–" if number is None else f"{number:.0f}" for number in told)
            numbers = f"{each['seconds']:.4f} | {rest}"
        lines.append(f"| {each['what']} | {each['side']} | {each['precision']} | {numbers} |")
    return "\n".join(lines)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", nargs="*", help="positions x cells of scBERT's steps")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--without-tests", action="store_true")
    chosen = parser.parse_args(words)
    device = torch.device(chosen.device)
    on_gpu = device.type == "cuda"
    card = torch.cuda.get_device_name() if on_gpu else "no GPU: a CPU"
    print(f"{card}; torch {torch.__version__}, CUDA {torch.version.cuda}")
    sizes = chosen.sizes or (["2001x32", "16907x32"] if on_gpu else ["201x2"])
    peer = importlib.util.find_spec("performer_pytorch") is not None
    rows = []
    for size in sizes:
        positions, batch = map(int, size.split("x"))
        rows += scbert_rows(positions, batch, device, chosen.turns, peer)
    options = {} if on_gpu else {"size": "tiny"}
    rows += scgpt_rows(options, *((256, 32) if on_gpu else (8, 4)), device, chosen.turns)
    print(table(rows))
    checks = {}
    if not chosen.without_tests:
        checks["doctor"] = said_by(sys.executable, "-m", "leadline.cli", "doctor", "gpu")
        checks["tests"] = said_by(sys.executable, "-m", "pytest", "-q", "tests/test_gpu.py")
        print(*(f"{name}: {said}" for name, said in checks.items()), sep="\n")
    print(json.dumps({"card": card, "torch": torch.__version__, "rows": rows, "checks": checks}))


if __name__ == "__main__":
    main()
