"""`leadline doctor` on weights: released ones, ours, and files that are none."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from leadline import cli
from leadline.models.scbert.network import AttentionOptions, ScbertNetwork, Shape
from leadline.models.scgpt import weights
from leadline.models.scgpt.network import ScgptNetwork as ScgptNetwork
from leadline.models.scgpt.network import Sizes
from leadline.runs import starting_weights

SMALL = Shape(positions=11, depth=2, width=8, heads=2, head_width=4)


def scbert(shape=SMALL, positions=True, head=7):
    torch.manual_seed(0)
    table = torch.zeros(shape.positions, shape.width) if positions else None
    network = ScbertNetwork(
        shape, AttentionOptions(), positions_ND=table, head=nn.Linear(shape.width, head)
    )
    return network.state_dict()


def scgpt():
    torch.manual_seed(0)
    sizes = Sizes(vocabulary=12, width=8, heads=2, layers=2, hidden=8, classes=3)
    return ScgptNetwork(sizes, levels=[0.0, 1.0]).state_dict()


def doctor(capsys, *names, expect):
    assert cli.main(["doctor", *map(str, names)]) == expect
    return capsys.readouterr().out


@pytest.mark.parametrize("positions", [True, False])
def test_scberts_weights_are_recognised_as_published(positions, tmp_path, capsys):
    state = {f"module.{name}": value for name, value in scbert(positions=positions).items()}
    torch.save({"epoch": 3, "model_state_dict": state, "losses": [0.1]}, tmp_path / "a.pth")
    shown = doctor(capsys, tmp_path / "a.pth", expect=cli.GOOD)
    assert "scBERT, 2 blocks of width 8, 2 heads, " in shown
    assert ("10 genes with gene2vec" if positions else "no gene2vec") in shown
    assert "; not the released size" in shown and "100.0% of the network's parameters" in shown
    assert "; the body is whole" in shown and starting_weights.digest(tmp_path / "a.pth") in shown


def test_another_head_is_no_fault_and_a_missing_weight_is(tmp_path, capsys):
    torch.save(scbert(head=3), tmp_path / "head.pth")
    assert "the body is whole" in doctor(capsys, tmp_path / "head.pth", expect=cli.GOOD)
    state = scbert()
    del state["norm.weight"]
    state["performer.net.layers.1.0.norm.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "cut.pth")
    shown = doctor(capsys, tmp_path / "cut.pth", expect=cli.FAILED)
    assert "1 missing (norm.weight)" in shown
    assert "performer.net.layers.1.0.norm.bias [3] in the file, [8] here" in shown
    del state["performer.net.layers.0.0.fn.to_q.weight"]
    torch.save(state, tmp_path / "cut.pth")
    shown = doctor(capsys, tmp_path / "cut.pth", expect=cli.FAILED)
    assert "scBERT's first block is not whole" in shown


def test_scgpts_weights_are_recognised_under_flash_names(tmp_path, capsys):
    torch.save(weights.in_flash_names(scgpt()), tmp_path / "best_model.pt")
    shown = doctor(capsys, tmp_path / "best_model.pt", expect=cli.GOOD)
    assert "scGPT, vocabulary 12, width 8, layers 2, hidden 8" in shown
    assert "the body is whole" in shown


def released_folder(folder):
    folder.mkdir(parents=True)
    torch.save(weights.in_flash_names(scgpt()), folder / "best_model.pt")
    args = {"embsize": 8, "nheads": 2, "nlayers": 2, "d_hid": 8}
    (folder / "args.json").write_text(json.dumps(args))
    genes = [f"G{i}" for i in range(9)] + ["<pad>", "<cls>", "<eoc>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(genes)}))
    return folder


def test_a_released_folder_of_scgpt(tmp_path, capsys, monkeypatch):
    folder = released_folder(tmp_path / "data" / "checkpoints" / "scgpt")
    shown = doctor(capsys, folder, expect=cli.GOOD)
    assert "vocabulary 12, width 8, heads 2, layers 2, hidden 8" in shown
    assert "not the whole-human model of the paper, which has vocabulary 60,697" in shown
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path / "data"))
    assert doctor(capsys, "scgpt", expect=cli.GOOD) == shown
    (folder / "vocab.json").unlink()
    shown = doctor(capsys, "scgpt", expect=cli.FAILED)
    assert "model.pretrained=published: a released folder of scGPT holds" in shown
    assert "without vocab.json" in shown


def test_what_is_not_there_is_said_with_its_source(capsys):
    for name, count in (("scbert", 3), ("scgpt", 1)):
        lines = doctor(capsys, name, expect=cli.FAILED).splitlines()
        assert len(lines) == count
        assert all(line.startswith("WRONG") and " is missing: get " in line for line in lines)


def test_released_files_of_scbert(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path))
    folder = tmp_path / "checkpoints" / "scbert"
    folder.mkdir(parents=True)
    torch.save(scbert(), folder / "panglao_pretrain.pth")
    np.save(folder / "gene2vec_16906.npy", np.zeros((16_906, 200), np.float32))
    (folder / "genes.txt").write_text("".join(f"G{i}\n" for i in range(16_906)))
    shown = doctor(capsys, "scbert", expect=cli.GOOD)
    assert "genes.txt: 16,906 genes" in shown and "16,906 genes x 200, sha256:" in shown
    (folder / "genes.txt").write_text("A\nB\n")
    np.save(folder / "gene2vec_16906.npy", np.zeros((2, 7), np.float32))
    shown = doctor(capsys, "scbert", expect=cli.FAILED)
    assert "2 genes, where the released model has 16,906" in shown
    assert "gene2vec must have a row for each gene and the width of the model" in shown


def test_files_that_are_no_weights(tmp_path, capsys):
    (tmp_path / "text.pth").write_text("no weights")
    assert "WRONG" in doctor(capsys, tmp_path / "text.pth", expect=cli.FAILED)
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    shown = doctor(capsys, tmp_path / "other.pt", expect=cli.FAILED)
    assert "neither scBERT's nor scGPT's weights; the first are fc.weight" in shown


def test_a_checkup_leaves_torchs_generator_alone(tmp_path, capsys):
    torch.save(scbert(), tmp_path / "a.pth")
    before = torch.get_rng_state()
    doctor(capsys, tmp_path / "a.pth", expect=cli.GOOD)
    assert torch.equal(torch.get_rng_state(), before)
