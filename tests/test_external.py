"""Programs in environments of their own: asked through files, checked, recorded, ended."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leadline import cli
from leadline.config import ExternalConfig
from leadline.errors import NotApplicable, UserError
from leadline.models.external.exchange import PREFIX, WorkerRequest
from leadline.models.external.process import processes_with
from leadline.models.external.worker import ExternalWorker
from leadline.runs import record
from small import saved, small_cells
from workers_made import exchange_with, write_worker

BARE = replace(small_cells(), labels_C=None, classes=())


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved(small_cells((30, 30, 30)), tmp_path / "cells.h5ad")
    return tmp_path


def run(worker, *words, expect=cli.GOOD):
    data = ["data=h5ad", "data.path=cells.h5ad", "data.label=celltype"]
    named = ["model=external", f"model.worker={worker}", f"model.python={sys.executable}"]
    assert cli.main(["run", *named, *data, *words]) == expect
    return max(Path("runs").glob("*-*"), key=lambda path: path.stat().st_mtime_ns)


def test_a_worker_takes_part_and_tells_what_it_is(place):
    folder = run(write_worker(place), "seed=3")
    facts = record.read_facts(folder)
    assert folder.name.startswith("mine-h5ad-f1-s3-") and facts["model"] == facts["arm"] == "mine"
    assert facts["fit"]["reply"] == {"versions": {"numpy": np.__version__}}
    assert facts["fit"]["source"].startswith("sha256:")
    assert (folder / "model_source.py").read_text() == (place / "mine.py").read_text()
    assert record.verify(folder) == [] and facts["metrics"]["test"]["accuracy"] > 0.5
    assert not list((place / "runs" / ".cache" / "exchange").iterdir())


def test_seeds_and_few_labels_cost_one_embedding(place):
    count = "open('asked.txt', 'a').write('x'); out = {\"embedding\""
    worker = write_worker(place, replace=[('out = {"embedding"', count)])
    for words in (["seed=1"], ["seed=2"], ["seed=3", "data.fraction=0.5"]):
        run(worker, *words)
    assert (place / "asked.txt").read_text() == "x"


def test_another_worker_and_lock_file_make_another_run(place):
    first = run(write_worker(place)).name
    (place / "mine.py.lock").write_text("numpy 1\n")
    second = run(place / "mine.py").name
    third = run(write_worker(place, replace=[("1e4", "1e5")])).name
    moved = place / "else"
    moved.mkdir()
    (moved / "mine.py").write_bytes((place / "mine.py").read_bytes())
    (moved / "mine.py.lock").write_text("numpy 1\n")
    assert len({first, second, third}) == 3 and run(moved / "mine.py").name == third


def test_no_label_of_held_back_cells_is_ever_in_the_folder(place):
    spy = (
        'cells = np.load(os.path.join(folder, "cells.npz"), allow_pickle=False)\n'
        "    np.savez(f\"seen-{request['step']}-{len(os.listdir())}.npz\", **cells)\n"
        '    open("words.txt", "a").write(json.dumps(request) + "\\n")'
    )
    old = 'cells = np.load(os.path.join(folder, "cells.npz"), allow_pickle=False)'
    worker = write_worker(place, replace=[(old, spy)])
    folder = run(worker, "model.answer=fit_predict")
    parts, _ = record.read_predictions(folder)
    fits = [np.load(path) for path in place.glob("seen-fit-*.npz")]
    asked = [np.load(path) for path in place.glob("seen-predict-*.npz")]
    assert len(fits) == 1 and asked
    reported = set(parts["test"].ids.tolist())
    assert not reported & set(fits[0]["ids"].tolist()) and "labels" in fits[0]
    assert all("labels" not in each for each in asked)
    steps = [json.loads(line)["step"] for line in (place / "words.txt").read_text().splitlines()]
    assert steps[0] == "fit" and set(steps[1:]) == {"predict"}


def test_random_weights_are_proved(place):
    worker = write_worker(place)
    run(worker, "model.pretrained=false")
    facts = record.read_facts(run(worker, "model.pretrained=false", "seed=2"))
    proof = facts["fit"]["random_weights"]
    assert proof["same_seed"] == 0 and proof["another_seed"] > 0.1 and proof["pretrained"] > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ((': request["seed"]', ": 7"), ""),
        (('if request["pretrained"]:', "if True:"), "the same answers with two seeds"),
        (('[request["seed"], ', "[7, "), "the same answers with two seeds"),
        (("default_rng(seed)", "default_rng()"), "with the same seed"),
    ],
)
@pytest.mark.parametrize("answer", ["embed", pytest.param("fit_predict", marks=pytest.mark.slow)])
def test_what_only_says_that_it_is_random_is_found_out(place, change, message, answer, capsys):
    if not message:
        return
    worker = write_worker(place, replace=[change])
    run(worker, "model.pretrained=false", f"model.answer={answer}", expect=cli.MISTAKE)
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_what_does_not_apply_is_said_so(place, capsys):
    worker = write_worker(place, replace=[("return np.stack([np.random", "unsupported('no')  # ")])
    folder = run(worker, "model.pretrained=false", expect=cli.MISTAKE)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == (
        "leadline: not applicable: a worker says what it does not support: got mine asked for "
        "embed with pretrained=false; its last line: no; leave this arm out, or read it as not "
        "applicable"
    )
    assert "not applicable" in (folder / "FAILED").read_text()


def test_the_worker_s_words_are_in_the_log_and_its_failure_is_one_line(place, capsys):
    worker = write_worker(place, replace=[("depth = np", "print('deep'); raise OSError(7); d=np")])
    folder = run(worker, expect=cli.FAILED)
    assert "deep" in (folder / "log.txt").read_text()
    line = capsys.readouterr().err.splitlines()[-1]
    assert "mine failed at embed with exit code 1; its last line: OSError: 7" in line


def test_settings_that_do_not_go_together_are_refused(tmp_path):
    with pytest.raises(UserError, match="a worker is started in one way: got both"):
        ExternalConfig(python="p", command=["a"])
    with pytest.raises(UserError, match="model.worker must be a file: got 'none.py'"):
        ExternalConfig(worker="none.py")
    with pytest.raises(UserError, match="model=external needs a worker: got neither"):
        ExternalWorker(ExternalConfig(), seed=1)
    path = write_worker(tmp_path)
    config = ExternalConfig(worker=str(path))
    path.write_text("changed")
    with pytest.raises(UserError, match="belongs to one version of its file"):
        ExternalWorker(config, seed=1)
    lost = ExternalConfig(worker=str(path), python=str(tmp_path / "no"))
    with pytest.raises(UserError, match="must be one that can be started"):
        ExternalWorker(lost, seed=1).embed(BARE)


def test_a_command_stands_in_place_of_an_interpreter(tmp_path):
    path = write_worker(tmp_path)
    command = [sys.executable, str(path), "{folder}"]
    config = ExternalConfig(command=command)
    assert config.worker == str(path) and config.source == ExternalConfig(worker=str(path)).source
    assert ExternalWorker(config, seed=1).embed(BARE).shape == (len(BARE), 8)


def test_the_time_limit_ends_a_worker_and_all_that_it_started(tmp_path):
    text = (
        "import signal, subprocess, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'],"
        " start_new_session=True)\n"
        "open('folder.txt', 'w').write(sys.argv[1])\n"
        "time.sleep(600)\n"
    )
    path = tmp_path / "slow.py"
    path.write_text(f"import os, sys\nos.chdir({str(tmp_path)!r})\n{text}")
    asked = exchange_with(path, time_limit=3, grace=0.3)
    with pytest.raises(Exception, match=r"no end after the 3 s that model.time_limit grants"):
        asked.ask(BARE, WorkerRequest(step="embed"))
    folder = Path((tmp_path / "folder.txt").read_text())
    assert folder.name.startswith(PREFIX) and not folder.exists()
    assert not processes_with(folder.name)


def test_gene_embeddings_are_named_by_genes(tmp_path):
    new = (
        'elif step == "gene_embeddings":\n'
        '        np.savez(os.path.join(folder, "out.npz"), ids=genes,'
        " embedding=np.eye(len(genes)))\n        out = {}\n    else:"
    )
    asked = exchange_with(
        write_worker(tmp_path, replace=[("else:\n        unsup", new + "\n        unsup")])
    )
    found = asked.ask(BARE, WorkerRequest(step="gene_embeddings"))
    assert found.values_NW.shape == (40, 40)
    with pytest.raises(NotApplicable, match="asked for gene_embeddings"):
        exchange_with(write_worker(tmp_path)).ask(BARE, WorkerRequest(step="gene_embeddings"))


def test_a_zero_shot_run_asks_the_worker(place):
    folder = run(write_worker(place), "task=zero_shot")
    facts = record.read_facts(folder)
    assert facts["fit"]["dimensions"] == 8 and facts["fit"]["reply"]["versions"]


def test_a_killed_run_leaves_nothing_once_it_is_resumed(place):
    wait = "import time; time.sleep(600 * (not os.path.exists('go')))"
    slow = f"    open('began', 'w').close()\n        {wait}\n        out"
    worker = write_worker(place, replace=[('    out = {"embedding"', slow + ' = {"embedding"')])
    words = [
        sys.executable, "-m", "leadline.cli", "run", "model=external", f"model.worker={worker}",
        "data=h5ad", "data.path=cells.h5ad", "data.label=celltype",
    ]  # fmt: skip
    started = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (place / "began").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    (place / "go").touch()
    exchange = place / "runs" / ".cache" / "exchange"
    (left,) = exchange.iterdir()
    assert record.verify(run(worker)) == []
    assert not list(exchange.iterdir()) and not processes_with(left.name)
