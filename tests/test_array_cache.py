"""Tokens are made once, whoever asks at the same time and whoever dies meanwhile."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from leadline import files, locks
from leadline.data import array_cache
from leadline.data.cells import Scale
from leadline.models.scbert import tokens
from leadline.models.scgpt import tokens as scgpt
from small import small_cells

MADE = {"bins": np.arange(12, dtype=np.uint8), "empty": np.zeros(0, np.int32)}


def made():
    return {name: array.copy() for name, array in MADE.items()}


def never():
    raise AssertionError("made again")


def same(found):
    return found.keys() == MADE.keys() and all(
        np.array_equal(found[name], MADE[name]) and found[name].dtype == MADE[name].dtype
        for name in MADE
    )


def test_arrays_are_made_once_and_mapped_afterwards(tmp_path):
    assert same(array_cache.arrays(tmp_path, "key", made))
    found = array_cache.arrays(tmp_path, "key", never)
    assert same(found) and isinstance(found["bins"].base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found["bins"][0] = 1


def test_another_key_is_another_set(tmp_path):
    array_cache.arrays(tmp_path, "key", made)
    other = array_cache.arrays(tmp_path, "other", lambda: {"bins": np.ones(3)})
    assert other["bins"].sum() == 3 and same(array_cache.arrays(tmp_path, "key", never))


def test_of_many_threads_one_makes_and_all_are_given_the_same(tmp_path):
    calls, found = [], []
    together = threading.Barrier(8)

    def slowly():
        calls.append(1)
        return made()

    def ask():
        together.wait()
        found.append(array_cache.arrays(tmp_path, "key", slowly))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1 and len(found) == 8 and all(map(same, found))


ASK = """
import sys
import numpy as np
from pathlib import Path
from leadline.data import array_cache

def make():
    print("making", flush=True)
    sys.stdin.readline()
    return {"bins": np.arange(12, dtype=np.uint8), "empty": np.zeros(0, np.int32)}

found = array_cache.arrays(Path(sys.argv[1]), "key", make)
print(int(found["bins"].sum()), flush=True)
"""


def asking(folder):
    return subprocess.Popen(
        [sys.executable, "-c", ASK, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_when_the_maker_is_killed_one_who_waits_takes_over(tmp_path):
    with asking(tmp_path) as first:
        assert first.stdout.readline() == "making\n"
        with asking(tmp_path) as second:
            first.send_signal(signal.SIGKILL)
            first.wait()
            assert second.stdout.readline() == "making\n"
            told, _ = second.communicate("\n")
            assert told == "66\n"
    assert same(array_cache.arrays(tmp_path, "key", never))
    assert not list(tmp_path.rglob(f"{files.TEMPORARY}*")) + list(tmp_path.rglob(locks.NAME))


@pytest.mark.parametrize("harm", ["shorten", "remove", "half a table", "another key"])
def test_what_is_not_whole_is_made_again(tmp_path, harm):
    array_cache.arrays(tmp_path, "key", made)
    (place,) = tmp_path.iterdir()
    match harm:
        case "shorten":
            os.truncate(place / "bins.npy", 100)
        case "remove":
            (place / "bins.npy").unlink()
        case "half a table":
            (place / array_cache.CONTENTS).write_text('{"key": "key", "byt')
        case "another key":
            contents = json.loads((place / array_cache.CONTENTS).read_text())
            (place / array_cache.CONTENTS).write_text(json.dumps(contents | {"key": "collided"}))
    calls = []
    assert same(array_cache.arrays(tmp_path, "key", lambda: calls.append(1) or made()))
    assert calls == [1]


def test_a_full_disk_costs_time_but_no_run(tmp_path, monkeypatch, capsys):
    def full(path, fill):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_with", full)
    found = array_cache.arrays(tmp_path, "key", made)
    assert same(found) and not found["bins"].flags.writeable
    assert "tokens are not kept" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_costs_no_run(tmp_path, monkeypatch):
    def refuse(self, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "mkdir", refuse)
    assert same(array_cache.arrays(tmp_path, "key", made))


def test_a_mistake_in_making_is_the_callers_and_leaves_no_lock(tmp_path):
    def wrong():
        raise ValueError("not a token")

    with pytest.raises(ValueError, match="not a token"):
        array_cache.arrays(tmp_path, "key", wrong)
    assert same(array_cache.arrays(tmp_path, "key", made))


def test_an_error_of_the_disk_while_making_is_not_taken_for_one_of_the_store(tmp_path):
    calls = []

    def wrong():
        calls.append(1)
        raise PermissionError(errno.EACCES, "the data cannot be read")

    with pytest.raises(PermissionError, match="the data cannot be read"):
        array_cache.arrays(tmp_path, "key", wrong)
    assert calls == [1]


# What is kept -----------------------------------------------------------------------------------


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(tokens, "LEAST_VALUES", 1)
    monkeypatch.setattr(scgpt, "LEAST_VALUES", 1)


@pytest.mark.parametrize("total", ["measured", "reference"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_kept_tokens_of_scbert_are_those_that_are_made(
    tmp_path, monkeypatch, everything_is_large, total, shuffled
):
    cells = small_cells()
    reference = cells.genes[::-1][:30] if shuffled else None
    plain = tokens.tokenise(cells, reference, total=total)
    first = tokens.scbert_tokens(tmp_path, cells, reference, total=total)
    monkeypatch.setattr(tokens, "tokenise", never)
    rows = np.array([3, 0, 7])
    for found in (first, tokens.scbert_tokens(tmp_path, cells, reference, total=total)):
        assert (found.matrix_CL != plain.matrix_CL).nnz == 0
        assert np.array_equal(found.dense(rows), plain.dense(rows))
        assert np.array_equal(found.histograms(rows), plain.histograms(rows))
        assert np.array_equal(found.genes, plain.genes)
        assert (found.alignment is None) == (plain.alignment is None)


def test_kept_bins_of_scgpt_are_those_that_are_made(tmp_path, monkeypatch, everything_is_large):
    matrix = small_cells().matrix_CG
    plain = scgpt.bin_ranges(matrix, 11)
    first = scgpt.scgpt_ranges(tmp_path, matrix, 11)
    monkeypatch.setattr(scgpt, "bin_ranges", never)
    for found in (first, scgpt.scgpt_ranges(tmp_path, matrix, 11)):
        assert all(np.array_equal(a, b) for a, b in zip(plain, found, strict=True))


def test_whatever_decides_the_tokens_decides_where_they_are_kept(tmp_path, everything_is_large):
    cells = small_cells()
    tokens.scbert_tokens(tmp_path, cells)
    others = [
        (small_cells(seed=1), None, "measured"),
        (small_cells(genes=np.array([f"H{i}" for i in range(40)])), None, "measured"),
        (small_cells(library_C=cells.library_C * 2), None, "measured"),
        (cells.take(np.arange(len(cells))[::-1]), None, "measured"),
        (small_cells(scale=Scale.LN_CP10K), None, "measured"),
        (cells, cells.genes[::-1], "measured"),
        (cells, None, "reference"),
    ]
    for other, reference, total in others:
        tokens.scbert_tokens(tmp_path, other, reference, total=total)
    assert len(list(tmp_path.iterdir())) == 1 + len(others)


def test_small_data_is_not_kept(tmp_path):
    tokens.scbert_tokens(tmp_path, small_cells())
    scgpt.scgpt_ranges(tmp_path, small_cells().matrix_CG, 11)
    assert list(tmp_path.iterdir()) == []
