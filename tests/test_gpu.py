"""What only a GPU can show; docs/gpu.md lists it. Everything here is skipped without one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from leadline.config import TrainConfig
from leadline.config.compose import compose
from leadline.distributed import World
from leadline.models.scbert import attention
from leadline.processes import StopRequest
from leadline.runs import record
from leadline.runs.run import run
from leadline.training import precision
from leadline.training import ranks as launch
from networks import CompiledScbert, TinyScbert, classifier, fit_and_predict, halves, tiny_scgpt
from scbert_networks import golden, golden_network
from test_ddp import LOOSE, fit_all

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
two_gpus = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
CUDA = torch.device("cuda", 0)
COMPILER = "ignore:.*torch.jit:DeprecationWarning", "ignore:The .grad attribute"


@pytest.mark.parametrize(("matmul", "limit"), [("exact", 1e-5), ("tf32", 1e-3), ("bf16", 5e-3)])
@pytest.mark.filterwarnings(*COMPILER)
@torch.no_grad()
def test_golden_vectors_in_three_precisions(matmul, limit):
    config, expected = TrainConfig(matmul=matmul), golden("g2v_outputs")["encodings"]
    network = golden_network(gene2vec=True, backend="auto").to(CUDA)
    with precision.numerics(config, CUDA), precision.autocast(config, CUDA):
        found = network.encode(golden("inputs")["tokens"].to(CUDA)).float().cpu()
    error = float((found - expected).abs().max() / expected.abs().max())
    assert error <= limit
    assert matmul == "exact" or error > 1e-5  # it is in effect


@pytest.mark.filterwarnings(*COMPILER)
@pytest.mark.parametrize("model", [None, TinyScbert, CompiledScbert, tiny_scgpt])
def test_the_same_bits_twice_or_the_operation_is_named(model):
    options = {"model": model, "device": CUDA}
    (rows, proba, facts), (again, proba_again, _) = (fit_and_predict(options=options) for _ in "ab")
    if not facts["not_deterministic"]:
        assert rows == again
        np.testing.assert_array_equal(proba, proba_again)


@pytest.mark.filterwarnings(*COMPILER)
def test_a_warm_process_compiles_at_most_three_kernels_a_run():
    attention.kernel_of_torch.cache_clear()
    for width in (4, 8, 12):
        before = attention.kernel_of_torch.cache_info().currsize
        fit_and_predict(options={"model": lambda w=width: CompiledScbert(w), "device": CUDA})
        assert attention.kernel_of_torch.cache_info().currsize - before <= 3
    assert not attention.not_compiled


def test_running_out_of_memory_halves_the_micro_batch():
    class Wide(TinyScbert):
        def logits(self, network, batch):
            cells = len(batch["labels"])
            if cells > 5:
                torch.empty(2**40 * cells, device=CUDA)
            return super().logits(network, batch)

    train, test = halves()
    learner = classifier(Wide(), device=CUDA, epochs=1)
    assert learner.fit(train, test).facts["execution"]["cells_at_a_time"] == 4


@two_gpus
def test_two_ranks_over_nccl_give_what_one_gives():
    single = fit_all(World(), StopRequest(), "cuda")
    found = launch.ranks(2, "cuda", fit_all, "cuda")
    for name, (rows, proba, _) in found.items():
        limit = max(LOOSE.get(name, 1e-5), 1e-5)
        for row, expected in zip(rows, single[name][0], strict=True):
            assert row["train_loss"] == pytest.approx(expected["train_loss"], rel=limit), name
        np.testing.assert_allclose(proba, single[name][1], atol=10 * limit, err_msg=name)


WORDS = ["model=mlp", "model.hidden=[32]", "seed=3", "train.epochs=4", "train.device=cuda"]


@two_gpus
def test_a_run_on_two_gpus_is_the_run_on_one(tmp_path):
    folders = [
        run(compose([*WORDS, f"runs_dir={tmp_path / str(n)}", f"train.devices={n}"]))
        for n in (1, 2)
    ]
    one, two = (record.read_predictions(folder)[0]["test"] for folder in folders)
    np.testing.assert_allclose(one.proba_CK, two.proba_CK, atol=1e-3)
    assert record.read_facts(folders[1])["provenance"]["world_size"] == 2


@two_gpus
def test_two_tasks_that_see_one_gpu_each_take_both(tmp_path):
    """As `srun --gpus-per-task=1` shows them."""
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NODELIST": "127.0.0.1"}
    job |= {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    words = [sys.executable, "-m", "leadline.cli", "run", *WORDS, f"runs_dir={tmp_path}"]
    tasks = [
        subprocess.Popen(
            words,
            env=os.environ
            | job
            | {"SLURM_PROCID": str(r), "SLURM_LOCALID": str(r), "CUDA_VISIBLE_DEVICES": str(r)},
        )
        for r in range(2)
    ]
    assert [task.wait(timeout=300) for task in tasks] == [0, 0]
    (folder,) = tmp_path.glob("mlp*")
    facts = json.loads((folder / "record.json").read_text())
    assert facts["provenance"]["world_size"] == 2
