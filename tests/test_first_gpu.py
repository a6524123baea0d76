"""The script for the first GPU makes its table on a CPU too, so that it is known to work."""

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.syspath_prepend(str(SCRIPTS / "bench"))
    import first_gpu

    yield first_gpu
    for name in ("first_gpu", "scbert", "scgpt"):
        sys.modules.pop(name, None)


def test_a_step_that_fails_is_a_row_and_not_the_end(script):
    import torch

    def broken():
        raise torch.OutOfMemoryError("CUDA out of memory\nand more")

    words = {"side": "leadline", "precision": "exact"}
    failed = script.row("scBERT 9 x 9", broken, torch.device("cpu"), 1, **words)
    done = script.row("scBERT 1 x 1", lambda: None, torch.device("cpu"), 1, **words)
    first, second = script.table([failed, done]).splitlines()[2:]
    assert first == "| scBERT 9 x 9 | leadline | exact | CUDA out of memory | |  |"
    assert second.startswith("| scBERT 1 x 1 | leadline | exact | 0.0") and "– | – |" in second


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_the_whole_table_is_made_on_a_cpu(script, capsys):
    script.main(["--device", "cpu", "--sizes", "65x1", "--turns", "1", "--without-tests"])
    said = capsys.readouterr().out
    for what in ("scBERT 65 x 1 | leadline | tf32", "scGPT 4 cells | padded original | bf16"):
        assert what in said
    assert "failed" not in said.splitlines()[-1]
