"""Every command of README.md, and of the pages it leads to, is run as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from small import saved, small_cells

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/released_weights.md"]
# Commands that take minutes: they, and what builds on them, are run by `make nightly`.
SLOW = ("leadline ablate", "leadline report quickstart", "leadline reproduce", "make demo")
# These would run this very test.
TARGETS = ("make test", "make nightly", "make lint", "make bench")


def commands(page):
    """Give the lines of a page's `sh` blocks; a backslash joins lines."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [said for line in lines if (said := re.sub(r"(^|\s+)#.*", "", line))]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give a folder with the files that a page may speak of as the reader's own."""
    cells = small_cells((60, 60, 60))
    saved(cells, tmp_path / "cells.h5ad", label="cell_type", batch=np.repeat(["a", "b"], 90))
    # New cells of the embedded set's kind, without labels.
    shutil.copy(ROOT / "src/leadline/embedded/pbmc68k_reduced.h5ad", tmp_path / "new.h5ad")
    text = (ROOT / "docs/own_model.md").read_text()
    (tmp_path / "my_model.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    scripts = tmp_path / "bin"
    scripts.mkdir()
    (scripts / "leadline").write_text(f'#!/bin/sh\nexec {sys.executable} -m leadline.cli "$@"\n')
    (scripts / "leadline").chmod(0o755)
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


def do(line, place):
    """Run a line of a page in the reader's folder."""
    if line.startswith(TARGETS):
        done = subprocess.run(["make", "-n", *line.split()[1:]], cwd=ROOT, capture_output=True)
    else:
        folder = ROOT if line.startswith("make ") else place
        done = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES)
def test_quick_commands_work_as_they_stand(page, place):
    lines = commands(page)
    assert lines, f"{page} has no command"
    for line in lines:
        if not line.startswith(SLOW):
            do(line, place)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_all_commands_work_as_they_stand(page, place):
    for line in commands(page):
        do(line, place)


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")
)])  # fmt: skip
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#\s]+)\)", text):
        if not re.match(r"\w+:", target):
            assert ((ROOT / page).parent / target).exists(), target


def test_studies_that_a_page_names_exist():
    named = set()
    for page in PAGES:
        named |= set(re.findall(r"leadline (?:ablate|plan) ([a-z]\w+)", (ROOT / page).read_text()))
    assert named and all((ROOT / "ablations" / f"{name}.yaml").is_file() for name in named)
