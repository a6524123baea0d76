"""Tasks for tests of launchers: small runs on the embedded cells."""

import hashlib

from leadline.config.compose import compose
from leadline.runs import identity, prepare, record
from leadline.studies.launchers.base import QueuedRun


def task(runs_dir, *words, **changes):
    words = (*words, f"runs_dir={runs_dir}", f"data_dir={runs_dir}/data")
    config = compose(words)
    devices = config.train.devices if identity.learns_by_epochs(config) else 1
    run_id = prepare.identify_run(config).run_id
    return QueuedRun(run_id=run_id, words=words, runs_dir=str(runs_dir), devices=devices, **changes)


def tasks(runs_dir, model="majority", seeds=(1, 2, 3), *words):
    return [task(runs_dir, f"model={model}", f"seed={seed}", *words) for seed in seeds]


def is_done(task):
    return record.state(task.folder) is record.State.DONE and not record.verify(task.folder)


def science_of(task):
    """What two launchers must agree on to the last bit."""
    facts = record.read_facts(task.folder)
    files = ("predictions.npz", "epochs.csv")
    digests = [
        hashlib.sha256((task.folder / name).read_bytes()).hexdigest()
        for name in files
        if (task.folder / name).exists()
    ]
    told = {key: facts[key] for key in ("metrics", "per_class", "fit", "split", "selected")}
    return digests, told
