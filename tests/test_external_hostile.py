"""What a worker may answer by mistake or malice: a line each, in bounded memory and time."""

import resource
from dataclasses import replace

import numpy as np
import pytest

from leadline.errors import UserError
from leadline.models.external.answer import read_answer
from leadline.models.external.exchange import WorkerFailed, WorkerRequest
from small import small_cells
from workers_made import exchange_with

CELLS = replace(small_cells((4, 4)), labels_C=None, classes=())
IDS = CELLS.ids
GOOD = {"ids": IDS, "embedding": np.ones((8, 3), np.float32)}
REPLY = '{"schema": 1, "versions": {}}'
TEXT = """
import json, os, subprocess, sys
import numpy as np
folder = sys.argv[1]
cells = np.load(os.path.join(folder, "cells.npz"))
out, reply = os.path.join(folder, "out.npz"), os.path.join(folder, "reply.json")
def answer(**arrays):
    np.savez(out, **{"ids": cells["ids"], "embedding": np.ones((8, 3)), **arrays})
    open(reply, "w").write('{"schema": 1}')
"""

ARRAYS = {
    "reordered": ({"ids": IDS[::-1]}, "its order: got the same names in another order"),
    "doubled": ({"ids": np.r_[IDS[:7], IDS[:1]]}, "its order: got 'cell0' twice"),
    "missing": ({"ids": np.r_[IDS[:7], ["else"]]}, "got 1 of 8 missing, 'cell7' first"),
    "fewer rows": ({"ids": IDS[:7]}, r"ids has the shape \(8\): got \(7,\)"),
    "nan": ({"embedding": np.full((8, 3), np.nan)}, "is finite: got NaN or infinity in 8 of 8"),
    "overflowed": (
        {"embedding": np.full((8, 3), np.inf, np.float16)},
        "in 8 of 8 rows, of dtype float16",
    ),
    "too large for float32": ({"embedding": np.full((8, 3), 1e300)}, "NaN or infinity in 8 of 8"),
    "objects": ({"embedding": np.full((8, 3), {}, object)}, "numbers: got dtype object"),
    "objects as names": ({"ids": np.full(8, {}, object)}, "ids are text: got dtype object"),
    "integers": ({"embedding": np.ones((8, 3), int)}, "floating-point numbers: got dtype int64"),
    "zero width": ({"embedding": np.ones((8, 0))}, r"the shape \(8, width\): got \(8, 0\)"),
    "too wide": ({"embedding": np.zeros((8, 70_000), np.float16)}, r"got \(8, 70000\)"),
    "flat": ({"embedding": np.ones(8)}, r"got \(8,\)"),
    "another array": ({"labels": np.ones(8)}, "holds the arrays ids and embedding: got ids, emb"),
    "long names": ({"ids": np.full(8, "x" * 2000)}, "names are shorter than 1024"),
}
REPLIES = {
    "json nan": ('{"schema": 1, "seconds": NaN}', "must be JSON: got NaN is no JSON"),
    "json infinity": ('{"schema": 1, "seconds": 1e999}', "are finite: got seconds = inf"),
    "huge integer": ('{"schema": 1, "parameters": ' + "9" * 4000 + "}", "are finite: got param"),
    "wrong version": ('{"schema": 2}', "the schema is 1: got 2"),
    "no version": ("{}", "the schema is 1: got None"),
    "a list": ("[]", "holds one object: got list"),
    "nested": ("[" * 100_000, "must be JSON"),
    "not utf-8": (b"\xff\xfe", "must be JSON"),
    "unknown key": ('{"schema": 1, "version": {}}', "known keys: got 'version'; did you mean vers"),
    "wrong type": ('{"schema": 1, "weights": 3}', "weights in reply.json has a type: got 3"),
    "large": ('{"schema": 1, "corpus": "' + "x" * 2**20 + '"}', "has at most 1,048,576 bytes"),
}
ENDS = {
    "silence": ("", UserError, "reply.json must be there when the worker exits with 0"),
    "reply without numbers": (
        "open(reply, 'w').write('{\"schema\": 1}')",
        UserError,
        "out.npz must be there",
    ),
    "99 with an answer": ("answer(); sys.exit(99)", UserError, "got exit code 99 and an out.npz"),
    "a symbolic link": (
        "answer(); os.rename(out, out + '.x'); os.symlink(out + '.x', out)",
        UserError,
        "out.npz must be there",
    ),
    "a file that grows after the exit": (
        "answer(); subprocess.Popen([sys.executable, '-c', 'import sys, time\\n"
        'while True: open(sys.argv[1], "ab").write(b"x"); time.sleep(.01)\', out],'
        " start_new_session=True, stdout=subprocess.DEVNULL)",
        UserError,
        "leaves nothing running when it exits: got 1 processes",
    ),
    "huge output": (
        "file = open(out, 'wb')\nwhile True: file.write(bytes(2**20)); file.flush()",
        WorkerFailed,
        "out.npz larger than the 4,292,608 bytes that an answer can need",
    ),
    "100 MB of output": (
        "for _ in range(100): os.write(2, (b'x' * 999 + b'\\n') * 1049)\nsys.exit('lost')",
        WorkerFailed,
        "exit code 1; its last line: lost",
    ),
    "a signal": ("os.kill(os.getpid(), 11)", WorkerFailed, "exit code -11"),
}


def refused(folder, message):
    with pytest.raises(UserError, match=message) as caught:
        read_answer(folder, IDS, "embedding")
    assert len(str(caught.value)) < 500 and "\n" not in str(caught.value)


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays_that_are_not_what_was_asked_for(tmp_path, case):
    changes, message = ARRAYS[case]
    (tmp_path / "reply.json").write_text(REPLY)
    np.savez(tmp_path / "out.npz", allow_pickle=True, **(GOOD | changes))
    refused(tmp_path, message)


@pytest.mark.parametrize("case", REPLIES)
def test_replies_that_are_none(tmp_path, case):
    text, message = REPLIES[case]
    (tmp_path / "reply.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    np.savez(tmp_path / "out.npz", **GOOD)
    refused(tmp_path, message)


def test_a_good_answer_is_taken_whole(tmp_path):
    (tmp_path / "reply.json").write_text(REPLY)
    np.savez_compressed(tmp_path / "out.npz", **GOOD)
    assert np.array_equal(read_answer(tmp_path, IDS, "embedding").values_NW, GOOD["embedding"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((8, 2), 0.6), "add up to 1: got 8 of 8"),
        (np.tile([1.5, -0.5], (8, 1)), "not below 0"),
        (np.full((8, 3), 1 / 3), r"the shape \(8, 2\): got \(8, 3\)"),
    ],
)
def test_what_are_no_probabilities(tmp_path, values, message):
    (tmp_path / "reply.json").write_text(REPLY)
    np.savez(tmp_path / "out.npz", ids=IDS, probabilities=values)
    with pytest.raises(UserError, match=message):
        read_answer(tmp_path, IDS, "probabilities", 2)


def test_every_cut_of_an_answer_is_refused(tmp_path):
    (tmp_path / "reply.json").write_text(REPLY)
    np.savez(tmp_path / "out.npz", **GOOD)
    whole = (tmp_path / "out.npz").read_bytes()
    for length in range(0, len(whole), 7):
        (tmp_path / "out.npz").write_bytes(whole[:length])
        refused(tmp_path, "a worker's answer: ")
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            broken[place] = rng.integers(256)
        (tmp_path / "out.npz").write_bytes(bytes(broken))
        try:
            found = read_answer(tmp_path, IDS, "embedding").values_NW
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert np.isfinite(found).all()


def test_a_small_file_that_unpacks_to_gigabytes_costs_no_memory(tmp_path):
    import zipfile

    (tmp_path / "reply.json").write_text(REPLY)
    with zipfile.ZipFile(tmp_path / "out.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("ids.npy", "w") as member:
            np.lib.format.write_array(member, IDS)
        with file.open("embedding.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, GOOD["embedding"])
            for _ in range(256):
                member.write(bytes(2**20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(tmp_path, "out.npz must be whole")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


@pytest.mark.parametrize("case", ENDS)
def test_ends_of_a_worker(tmp_path, case):
    code, kind, message = ENDS[case]
    path = tmp_path / "hostile.py"
    path.write_text(TEXT + code + "\n")
    log = []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind, match=message) as caught:
        exchange_with(path, log=log.append, time_limit=120).ask(CELLS, WorkerRequest(step="embed"))
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)
    assert sum(map(len, log)) < 3 * 2**20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
