"""The recipes of CONTRIBUTING.md, followed to the letter in a copy of the repository."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recipes import Edit, sections, steps
from small import saved, small_cells

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sections((ROOT / "CONTRIBUTING.md").read_text())
COPIED = ("src", "conf", "ablations", "pyproject.toml", "README.md")
TESTS = ("conftest.py", "small.py")


def test_there_is_a_recipe_for_each():
    assert list(RECIPES) == [
        *("A model", "A dataset", "A study", "A task", "A metric", "A statistic")
    ]
    for text in RECIPES.values():
        assert any(isinstance(step, str) for step in steps(text))


@pytest.fixture
def copy(tmp_path):
    """Copy what a recipe may change; nothing else of this checkout is seen by its commands."""
    root = tmp_path / "copy"
    root.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "*.h5ad")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name, ignore=ignored)
        else:
            shutil.copy(source, root / name)
    embedded = "src/leadline/data/datasets/embedded/pbmc68k_reduced.h5ad"
    shutil.copy(ROOT / embedded, root / embedded)
    (root / "tests").mkdir()
    for name in TESTS:
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    return root


def do(command, root):
    """Run a command in the copy as a person would in a shell with the environment at hand."""
    words = shlex.split(command)
    program = {
        "leadline": [sys.executable, "-m", "leadline.cli"],
        "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
    }[words[0]]
    paths = [str(root / "src"), str(root / "tests")]
    data = {"LEADLINE_DATA": str(root / "data"), "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*program, *words[1:]], cwd=root, env={**os.environ, **data}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def edits(recipe):
    return [step for step in steps(RECIPES[recipe]) if isinstance(step, Edit)]


def follow(recipe, root):
    said = []
    for step in steps(RECIPES[recipe]):
        if isinstance(step, Edit):
            step.make(root)
        else:
            said.append(do(step, root))
    return said


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_edit_can_be_made_and_is_clean(recipe, copy):
    for edit in edits(recipe):
        edit.make(copy)
    names = sorted({edit.file for edit in edits(recipe) if edit.file.startswith("src/")})
    for check in (["check"], ["format", "--check"]) if names else ():
        words = [sys.executable, "-m", "ruff", *check, "--no-cache", *names]
        done = subprocess.run(words, cwd=copy, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_a_model(copy):
    said = follow("A model", copy)
    record = copy / said[0].splitlines()[-1]
    assert record.name.startswith("cosine-pbmc68k_reduced-f1-s1-") and (record / "DONE").exists()


@pytest.mark.slow
def test_a_dataset(copy):
    cells = small_cells((40, 40, 40))
    path = copy / "data" / "mixology" / "cells.h5ad"
    path.parent.mkdir(parents=True)
    saved(cells, path, label="cell_line", batch=np.array(["p1", "p2", "p3"])[np.arange(120) % 3])
    said = follow("A dataset", copy)
    assert "120 cells x 40 genes" in said[0]
    records = [copy / text.splitlines()[-1] for text in said[1:]]
    assert len(set(records)) == 2 and all((record / "DONE").exists() for record in records)


@pytest.mark.slow
def test_a_study(copy):
    plan, ablated, report = follow("A study", copy)
    assert "scaling" in plan or "mlp-" in plan
    assert len(list((copy / "runs").glob("*-*/DONE"))) == 6, ablated
    assert (copy / report.splitlines()[-1]).is_file()


@pytest.mark.slow
def test_a_task(copy):
    run, listed, report, said = follow("A task", copy)
    record = copy / run.splitlines()[-1]
    assert record.name.startswith("majority-profiles-pbmc68k_reduced-f1-s1-")
    assert record.name in listed and "2 passed" in said
    assert "distance of profiles" in (copy / report.splitlines()[-1]).read_text()


@pytest.mark.slow
def test_a_metric(copy):
    said, run = follow("A metric", copy)
    assert "1 passed" in said
    facts = json.loads((copy / run.splitlines()[-1] / "record.json").read_text())
    assert 0.5 < facts["metrics"]["test"]["kappa"] < 1


@pytest.mark.slow
def test_a_statistic(copy):
    (said,) = follow("A statistic", copy)
    assert "2 passed" in said
    assert (copy / "src/leadline/stats/signs.py").is_file()
