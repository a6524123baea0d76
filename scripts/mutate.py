"""Break leadline on purpose, one thing at a time, and see a test fall: docs/reliability.md.

Each mutation is a small change of the text of one file in a copy of the repository. The tests that
ought to notice are named with it. Prints a line for each, and ends with 1 if one goes unnoticed.

    python scripts/mutate.py                    all of them
    python scripts/mutate.py ddof "swapped arms"     those named so
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
COPIED = ("src", "tests", "conf", "ablations", "scripts", "pyproject.toml", "README.md")


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is broken: a text of a file, what takes its place, and the tests that must fall."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MUTATIONS = (
    Mutation("ddof", "stats/intervals.py", "reach * runs.std(ddof=1)", "reach * runs.std(ddof=0)",
             ("tests/test_stats.py",)),
    Mutation("swapped arms", "stats/paired_predictions.py", "(only_a - only_b) / truth_C.size",
             "(only_b - only_a) / truth_C.size", ("tests/test_stats.py",)),
    Mutation("McNemar without correction", "stats/paired_predictions.py",
             "abs(only_a - only_b) - 1)", "abs(only_a - only_b))", ("tests/test_stats.py",)),
    Mutation("Holm like Bonferroni's reverse", "stats/multiplicity.py", "(n - np.arange(n))",
             "(1 + np.arange(n))", ("tests/test_stats.py",)),
    Mutation("interaction added", "stats/crossed.py", "found.v_runs - found.v_interaction,",
             "found.v_runs + found.v_interaction,", ("tests/test_stats_crossed.py",)),
    Mutation("interaction added to cells", "stats/difference.py",
             "max(self.v_cells - self.v_interaction, 0.0)", "self.v_cells + self.v_interaction",
             ("tests/test_stats_crossed.py",)),
    Mutation("confusion transposed", "stats/metrics.py",
             "truth_C.astype(np.int64) * n_classes + predicted_C",
             "predicted_C.astype(np.int64) * n_classes + truth_C", ("tests/test_metrics.py",)),
    Mutation("macro over all classes", "stats/metrics.py",
             'if rule == "truth":\n        return np.flatnonzero(has_cells)',
             'if rule == "truth":\n        return np.arange(len(confusion_KK))',
             ("tests/test_metrics.py",)),
    Mutation("log loss of the called class", "stats/metrics.py",
             "-np.log(proba[np.arange(len(truth_C)), truth_C])", "-np.log(proba.max(axis=1))",
             ("tests/test_metrics.py",)),
    Mutation("leaking split", "data/splits/leakage.py", "    check_disjoint(split, selection)\n",
             "", ("tests/test_firewall.py",)),
    Mutation("reported cells reach fit", "data/splits/leakage.py", "    if len(leaked):\n",
             "    if False:\n", ("tests/test_firewall.py",)),
    Mutation("a gene may encode the label", "data/splits/leakage.py",
             "if constant and cells_K", "if False and cells_K", ("tests/test_firewall.py",)),
    Mutation("copies stay in training", "data/splits/leakage.py",
             "train=split.train[~np.isin(split.train, copies)],", "train=split.train,",
             ("tests/test_firewall.py",)),
    Mutation("natural for binary logarithms", "data/cells/cells.py",
             "Scale.LOG2_CP10K: float(np.log(2.0))}", "Scale.LOG2_CP10K: 1.0}",
             ("tests/test_cells.py", "tests/test_cells_scale.py")),
    Mutation("an equal epoch wins", "training/fit.py", "or value > self.progress.best_value",
             "or value >= self.progress.best_value", ("tests/test_trainer.py",)),
    Mutation("off by one epoch", "training/fit.py",
             "len(self.progress.rows) == self.setting.train.epochs",
             "len(self.progress.rows) == self.setting.train.epochs - 1",
             ("tests/test_trainer.py",)),
    Mutation("attention sees what is hidden", "models/scgpt/attention.py",
             "(place_M < key_B[:, None])", "(place_M >= 0 * key_B[:, None])",
             ("tests/test_scgpt.py",)),
    Mutation("a seal is not looked at", "runs/record.py",
             "return State.DAMAGED if seal.broken_seal(folder) else State.DONE",
             "return State.DONE", ("tests/test_damaged_records.py",)),
    Mutation("predictions are believed", "runs/damage.py",
             "return wrong_curve(folder) or wrong_predictions(folder, facts)",
             "return wrong_curve(folder)", ("tests/test_damaged_records.py",)),
    Mutation("a share may be 7.3", "runs/seal.py", "if not low <= value <= high:",
             "if False:", ("tests/test_damaged_records.py",)),
    Mutation("links lead anywhere", "data/cells/limits.py",
             "if isinstance(link, h5py.ExternalLink):", "if False:", ("tests/test_boundaries.py",)),
    Mutation("claims are believed", "data/cells/limits.py",
             "if claimed > max(FREE_BYTES, MOST_PACKED * held):", "if False:",
             ("tests/test_boundaries.py",)),
    Mutation("runs are not counted", "studies/expand.py",
             "    check_number(study, grid, configs)\n", "", ("tests/test_boundaries.py",)),
)  # fmt: skip


def noticed(mutation: Mutation) -> str:
    """Break a copy and run the tests named with it; give the test that fell, or ""."""
    with tempfile.TemporaryDirectory() as place:
        for name in COPIED:
            if (TOP / name).is_dir():
                shutil.copytree(TOP / name, Path(place) / name)
            elif (TOP / name).exists():
                shutil.copy(TOP / name, Path(place) / name)
        path = Path(place) / "src" / "leadline" / mutation.file
        text = path.read_text(encoding="utf-8")
        if text.count(mutation.old) != 1:
            raise SystemExit(f"{mutation.name}: its text stands {text.count(mutation.old)} times")
        path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
        words = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n", "0"]
        environment = {**os.environ, "PYTHONPATH": str(Path(place) / "src")}
        done = subprocess.run([*words, *mutation.tests], cwd=place, env=environment,
                              capture_output=True, text=True)  # fmt: skip
    lines = done.stdout.splitlines()
    fell = [line.removeprefix("FAILED ").partition(" - ")[0] for line in lines
            if line.startswith("FAILED ")]  # fmt: skip
    if done.returncode == 1 and fell:
        return fell[0]
    if done.returncode > 1:
        raise SystemExit(f"{mutation.name}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return ""


def main() -> int:
    """Try the mutations that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*")
    names = parser.parse_args().names
    chosen = [each for each in MUTATIONS if not names or each.name in names]
    missed = 0
    for mutation in chosen:
        fell = noticed(mutation)
        missed += not fell
        print(f"{'noticed' if fell else 'MISSED '}  {mutation.name}: {fell}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutations noticed")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
