"""Every command of README.md, and of the pages it leads to, is run as it stands there.

Its tables are held against what those commands compute.
"""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from leadline import __version__, cli
from small import saved, small_cells

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", "docs/released_weights.md"]
# Commands that take minutes: they, and what builds on them, are run by `make nightly`.
SLOW = ("leadline ablate", "leadline report", "leadline reproduce", "make demo")
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
    shutil.copy(
        ROOT / "src/leadline/data/datasets/embedded/pbmc68k_reduced.h5ad", tmp_path / "new.h5ad"
    )
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
    """Run a line of a page in the reader's folder; give exit code, stdout and stderr."""
    # Run by `make nightly`, a make inside would say which folder it enters.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    if line.startswith(TARGETS):
        words, folder = ["make", "-n", *line.split()[1:]], ROOT
    else:
        words, folder = ["sh", "-c", line], ROOT if line.startswith("make ") else place
    done = subprocess.run(words, cwd=folder, env=outside, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def made_by(line, said, place):
    """List what a command promised to leave: its --out, a run's record, the demo's page."""
    made = [place / name for name in re.findall(r"--out (\S+)", line)]
    if line.startswith(("leadline run", "make demo")):
        made.append(place / said.splitlines()[-1].removeprefix("The page: "))
    return made


@pytest.mark.parametrize("page", PAGES)
def test_quick_commands_work_as_they_stand(page, place):
    lines = commands(page)
    assert lines, f"{page} has no command"
    for line in lines:
        if not line.startswith(SLOW):
            code, said, errors = do(line, place)
            assert code == 0, f"{line}\n{said}\n{errors}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_all_commands_work_as_they_stand(page, place):
    for line in commands(page):
        code, said, errors = do(line, place)
        assert code == 0, f"{line}\n{said}\n{errors}"
        assert all(made.exists() for made in made_by(line, said, place)), f"{line}\n{said}"


def table(head):
    """Give the rows below a head of a table of README.md."""
    lines = (ROOT / "README.md").read_text().split(head, 1)[1].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    end = next(at for at, line in enumerate(lines) if not line.startswith("|"))
    return cells[:end]


def row_of(claim):
    """Say in which row of the README's table a claim counts."""
    place = claim["artefact"]
    if place.startswith("Figure 3"):
        return "Figure 3, Supp. Table 4"
    return place if re.match(r"Table|Figure|Supp\. Table", place) else "the text"


def test_the_table_of_claims_is_what_the_command_computes(capsys):
    assert cli.main(["reproduce", "--source", "published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["claims"]
    expected = {}
    for claim in found:
        for name in (row_of(claim), "all"):
            at = 1 + ["holds", "fragile", "fails", "not_run"].index(claim["verdict"])
            counts = expected.setdefault(name, [0] * 5)
            counts[0] += 1
            counts[at] += 1
    told = table("| of the paper | claims about | claims | hold | fragile | fail | undecidable |")
    assert {name: [int(n) for n in counts] for name, _, *counts in told} == expected


@pytest.mark.slow
def test_what_the_demo_found_is_what_it_finds():
    code, said, errors = do("make demo", ROOT)
    assert code == 0, f"{said}\n{errors}"
    page = Path(said.splitlines()[-1].removeprefix("The page: "))
    text = (page.parent / "tables" / "quickstart_means.csv").read_text()
    means = {
        (r["arm"], r["labels"]): float(r["accuracy"]) for r in csv.DictReader(text.split("\n"))
    }
    told = table("| | all labels | a fifth of them |")
    arms = list(dict.fromkeys(arm for arm, _ in means))
    assert len(told) == len(arms)
    for arm, (_, whole, fifth) in zip(arms, told, strict=True):
        # Where sums are made in another order, tiny networks name a few cells otherwise.
        near = 0.06 if arm.startswith(("reference", "no_", "scgpt")) else 0.001
        assert float(whole) == pytest.approx(means[arm, "100%"], abs=near), arm
        assert float(fifth) == pytest.approx(means[arm, "20%"], abs=near), arm


def test_the_pictures_of_the_report_are_small():
    pictures = list((ROOT / "docs" / "images").glob("*.png"))
    shown = (ROOT / "README.md").read_text() + (ROOT / "docs" / "gallery.md").read_text()
    assert sum(picture.stat().st_size for picture in pictures) <= 200_000
    for picture in pictures:
        assert picture.read_bytes()[:4] == b"\x89PNG" and f"images/{picture.name}" in shown
    assert "docs/images/report.png" in shown


def test_the_citation_names_the_software_and_the_paper():
    said = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "license", "type"} <= set(said)
    assert said["version"] == __version__ and said["authors"]
    paper, preprint = said["references"]
    assert paper["title"] in (ROOT / "README.md").read_text()
    for each in (paper, preprint):
        assert each["type"] == "article" and each["doi"].startswith("10.") and each["year"]
        assert each["authors"][0]["family-names"] == "Boiarsky"


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
