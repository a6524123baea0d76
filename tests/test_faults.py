"""The n-th open, write, rename and flush of a command fails, for every n that it reaches.

After each fault there is no corrupt record, nothing finished is lost, and the same command
completes.
"""

import builtins
import errno
import os
import shutil

import pytest
import yaml

from leadline import cli
from leadline.runs import damage, record
from leadline.runs.record import State
from small import saved, small_cells

pytestmark = pytest.mark.slow
CALLS = ("open", "fsync", "replace")
MOST = 200


class FaultAt:
    """Fails the n-th call that writes below a folder."""

    def __init__(self, monkeypatch, call, nth, below):
        self.nth, self.below, self.count = nth, str(below), 0
        owner = builtins if call == "open" else os
        self.real = getattr(owner, call)
        monkeypatch.setattr(owner, call, self)
        self.call = call

    def __call__(self, *words, **named):
        if self.concerns(words, named):
            self.count += 1
            if self.count == self.nth:
                raise OSError(errno.ENOSPC, "No space left on device", str(words[0]))
        return self.real(*words, **named)

    def concerns(self, words, named):
        if self.call == "fsync":
            return True
        mode = named.get("mode", words[1] if len(words) > 1 else "r")
        writes = self.call != "open" or any(sign in str(mode) for sign in "wax+")
        return writes and self.below in str(words[0])


@pytest.fixture
def place(tmp_path):
    saved(small_cells((30, 30, 30)), tmp_path / "cells.h5ad")
    study = {
        "question": "?",
        "base": {
            "data": "h5ad",
            "data.path": str(tmp_path / "cells.h5ad"),
            "data.label": "celltype",
        },
        "arms": {"reference": {"model": "nearest_centroid"}, "control": {"model": "majority"}},
        "grid": {"seed": [1, 2]},
    }
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    return tmp_path


def words_of(command, place):
    data = ["data=h5ad", f"data.path={place / 'cells.h5ad'}", "data.label=celltype"]
    runs = f"runs_dir={place / 'runs'}"
    model = "model=nearest_centroid"
    return {
        "run": ["run", model, *data, runs],
        "ablate": ["ablate", str(place / "s.yaml"), runs, "retries=0"],
        "report": ["report", "--runs", str(place / "runs"), "--out", str(place / "out")],
        "predict": [
            *("predict", "--run", "nearest_centroid", "--runs", str(place / "runs")),
            *("--cells", str(place / "cells.h5ad"), "--out", str(place / "labels.csv")),
        ],
        "reproduce": ["reproduce", "--out", str(place / "out")],
    }[command]


def finished(place):
    runs = place / "runs"
    if not runs.is_dir():
        return set()
    folders = [each for each in runs.iterdir() if (each / record.CONFIG).exists()]
    assert all(record.state(each) is not State.DAMAGED for each in folders)
    return {each.name for each in folders if record.state(each) is State.DONE}


GROWTH = {"run": 1, "predict": 1, "ablate": 1.1, "report": 1.5, "reproduce": 1.5}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("command", ["run", "ablate", "report", "predict", "reproduce"])
def test_every_fault_is_survived(command, call, place, capsys, monkeypatch):
    if command in ("report", "predict"):
        assert cli.main(words_of("run", place)) == cli.GOOD
    nth = 0
    while True:
        # Each of the first, then ever fewer: a report opens thousands of files, all alike.
        nth = max(nth + 1, int(nth * GROWTH[command]))
        assert nth < MOST
        before = finished(place)
        with monkeypatch.context() as patched:
            fault = FaultAt(patched, call, nth, place)
            code = cli.main(words_of(command, place))
        said = capsys.readouterr().err
        assert before <= finished(place), "nothing finished is lost"
        if fault.count < nth:
            assert code == cli.GOOD
            break
        # A place that cannot be written to only for what is kept for speed is no failure.
        assert code in (cli.GOOD, cli.FAILED, cli.MISTAKE)
        assert "Traceback" not in said and "fault of leadline" not in said
        assert cli.main(words_of(command, place)) == cli.GOOD
        for folder in (place / "runs").glob("nearest_centroid-*"):
            assert damage.problem(folder) == ""
        if command in ("run", "ablate"):
            for folder in list((place / "runs").iterdir()):
                shutil.rmtree(folder)
        capsys.readouterr()
