"""What needs a package that is not installed says so in one line, with the command that helps."""

import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from leadline import cli
from leadline.errors import UserError
from leadline.models.scbert.attention import fast_attention
from leadline.models.scgpt.attention import require_flash
from small import saved, small_cells

ROOT = Path(__file__).resolve().parents[1]
STUDY = """
question: Does it start?
base: {data: pbmc68k_reduced}
arms: {reference: {model: majority}}
grid: {seed: [1]}
"""
# Extra → the packages that it brings, and a command that needs them.
NEEDED = {
    "ray": (["ray"], ["ablate", "study.yaml", "hydra/launcher=ray"]),
    "slurm": (["submitit"], ["ablate", "study.yaml", "hydra/launcher=submitit_slurm"]),
    "harmony": (
        ["harmonypy"],
        [
            "run",
            "task=zero_shot",
            "model=harmony",
            "data=h5ad",
            "data.path=cells.h5ad",
            "data.label=celltype",
            "data.batch=protocol",
        ],
    ),
    "tensorboard": (["tensorboard"], ["run", "model=majority", "tracker=tensorboard"]),
}


@pytest.mark.parametrize("extra", sorted(NEEDED))
def test_a_missing_package_is_one_line(extra, monkeypatch, tmp_path, capsys):
    packages, words = NEEDED[extra]
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.yaml").write_text(STUDY)
    cells = small_cells((20, 20))
    saved(cells, tmp_path / "cells.h5ad", batch=np.array(["a", "b"])[np.arange(40) % 2])
    assert cli.main(words) == cli.MISTAKE
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("leadline: ")]
    assert len(said) == 1 and f'pip install "leadline[{extra}]"' in said[0]


def test_flash_attention_names_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    with pytest.raises(UserError, match=r'pip install "leadline\[gpu\]"'):
        require_flash(torch.device("cuda"), torch.float16)


def test_the_performer_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "performer_pytorch", None)
    fast_attention.cache_clear()
    with pytest.raises(UserError, match=r'pip install "leadline\[performer\]"'):
        fast_attention(266, 64)


def test_every_extra_that_a_message_names_exists():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {
        extra
        for path in (ROOT / "src").rglob("*.py")
        for extra in re.findall(r"leadline\[(\w+)\]", path.read_text())
    }
    assert named and named <= set(extras["optional-dependencies"])
