"""Seeds look by look: what is decided stops, what is open goes on, and the page says the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from leadline.cli import MISTAKE, main
from leadline.cli import ablate as cli_ablate
from leadline.errors import UserError
from leadline.report.compare.arms import ArmRuns, Condition
from leadline.report.compare.comparison import ArmComparison
from leadline.report.compare.looks import sentence
from leadline.report.compare.settle import settling, settling_table, what_would_tell
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.report.write import write_report
from leadline.stats.difference import VarianceParts
from leadline.stats.looks import LOOKS, levels, p_over_looks
from leadline.studies import expand, read
from leadline.studies.schema import parse_study
from leadline.studies.sweep import sweep
from records import write_manifest, write_run

# A model whose skill and luck are as wanted: nearest class means, and a share of calls at random.
MODEL = """
import numpy as np


class Guesses:
    def __init__(self, share=0.1, seed=0):
        self.share, self.seed = share, seed

    def fit(self, X, y):
        self.count = y.max() + 1
        self.means = np.stack([X[y == k].mean(axis=0) for k in range(self.count)])

    def predict_proba(self, X):
        called = ((X[:, None, :] - self.means) ** 2).sum(axis=2).argmin(axis=1)
        rng = np.random.default_rng(self.seed)
        guess = rng.random(len(X)) < self.share
        called[guess] = rng.integers(0, self.count, guess.sum())
        return np.eye(self.count)[called]
"""
STUDY = {
    "question": "Which share of guesses is found out?",
    "base": {"model": "python:guesses.Guesses"},
    "arms": {
        "reference": {"model.options": {"share": 0.1}},
        "same": {"model.options": {"share": 0.1001}},
        "worse": {"model.options": {"share": 0.9}},
    },
    "compare": {"family": "guesses", "tests": ["crossed"], "metrics": ["accuracy"]},
    "looks": [3, 4, 5],
}
LAST = 2 * 5 + 3  # The seeds of two arms that stay open, and three of the one that is decided.


@pytest.fixture
def study(tmp_path, monkeypatch):
    (tmp_path / "guesses.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(**changes):
        content = {key: value for key, value in {**STUDY, **changes}.items() if value is not None}
        path = tmp_path / "guesses.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return str(path)

    return written


def done(folder):
    return sorted(path.parent.name for path in folder.glob("runs/*/DONE"))


def finished(folder):
    return {name: (folder / "runs" / name / "DONE").stat().st_mtime_ns for name in done(folder)}


def found_in(folder):
    (study,) = gather(folder / "runs", ["guesses"], 0.01)
    found = comparisons(study)
    return {each.a.arm: each for each in found}, sentence(study, found)


def test_what_is_decided_stops_and_what_is_open_goes_on(study, tmp_path, capsys):
    file = study()
    assert main(["ablate", file, "--until", "decided"]) == 0
    told = capsys.readouterr()
    assert "at 3 seeds 1 of 2 comparisons are done; more seeds where it is open" in told.err
    assert "worse against reference, accuracy: worse at 3 seeds" in told.out
    assert "same against reference, accuracy: open at 5 seeds" in told.out
    assert len(done(tmp_path)) == LAST
    early, said = found_in(tmp_path)
    assert early["worse"].verdict == "worse" and early["worse"].a.values.size == 3
    assert early["same"].verdict == "open" and early["same"].b.values.size == 5
    assert [look.seeds for look in early["same"].looks] == [3, 4, 5]
    assert "declares looks at 3, 4 and 5 seeds, at levels of .00833, .0167, .025" in said
    assert "3 looks of 3 so far, at 3, 4 and 5 seeds" in said
    # Every seed of every arm: the correction does not depend on when the report is made.
    assert main(["ablate", file]) == 0
    late, _ = found_in(tmp_path)
    assert len(done(tmp_path)) == 15
    assert late["same"].p == early["same"].p and late["same"].interval == early["same"].interval
    # Another look at what was decided can only add to it.
    assert late["worse"].verdict == "worse" and late["worse"].p <= early["worse"].p


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours may answer it."""


def test_killed_between_looks_or_within_one_nothing_is_lost(study, tmp_path, monkeypatch):
    file, manifest = study(), tmp_path / "runs" / "studies" / "guesses.json"
    for made in (0, 1):
        calls = []

        def dying(runs, launcher, *, made=made, calls=calls, **more):
            calls.append(len(runs))
            if len(calls) == 2 + made:
                sweep(runs[:made], launcher, **more)
                raise Killed
            return sweep(runs, launcher, **more)

        monkeypatch.setattr(cli_ablate, "sweep", dying)
        with pytest.raises(Killed):
            main(["ablate", file, "--until", "decided"])
        found, _ = found_in(tmp_path)
        # The look that was under way is not taken yet.
        assert found["worse"].verdict == "worse"
        assert [look.seeds for look in found["same"].looks] == [3, 4][: 1 + made]
    moments = finished(tmp_path)
    assert len(moments) == 3 * 3 + 2 + 1
    monkeypatch.setattr(cli_ablate, "sweep", sweep)
    assert main(["ablate", file, "--until", "decided"]) == 0
    assert len(done(tmp_path)) == LAST and moments.items() <= finished(tmp_path).items()
    text = manifest.read_text()
    assert main(["ablate", file, "--until", "decided"]) == 0
    assert manifest.read_text() == text and len(json.loads(text)["runs"]) == LAST


def test_stopped_between_looks_it_says_how_to_go_on(study, tmp_path, monkeypatch, capsys):
    arms = {key: STUDY["arms"][key] for key in ("reference", "same")}
    file = study(arms=arms, looks=[2, 3])

    def stopping(runs, launcher, *, stop, **more):
        ends = sweep(runs, launcher, stop=stop, **more)
        stop.set()
        return ends

    monkeypatch.setattr(cli_ablate, "sweep", stopping)
    assert main(["ablate", file, "--until", "decided"]) == 1
    told = capsys.readouterr().out
    assert told.endswith(
        f"stopped between looks. Go on with:\n  leadline ablate {file} --until decided\n"
    )
    assert len(done(tmp_path)) == 4


def test_a_failed_run_holds_up_its_own_comparisons_alone(study, tmp_path, capsys):
    arms = {key: STUDY["arms"][key] for key in ("reference", "same")}
    broken = {"model.options": {"share": 0.1002, "oops": 1}}
    file = study(arms={**arms, "broken": broken}, looks=[2, 3])
    assert main(["ablate", file, "--until", "decided"]) == 1
    assert len(done(tmp_path)) == 6 and "to try again:" in capsys.readouterr().out
    assert set(found_in(tmp_path)[0]) == {"same"}


def test_precise_enough_is_tested_once(study, tmp_path, capsys):
    arms = {key: STUDY["arms"][key] for key in ("reference", "worse")}
    file = study(looks=None, arms=arms, grid={"seed": [1, 2, 3, 4, 5]})
    assert main(["ablate", file, "--until", "precise"]) == 0
    found, said = found_in(tmp_path)
    (look,) = found["worse"].looks
    assert look.level == 0.05 and look.p == found["worse"].p == found["worse"].corrected
    assert look.seeds in (3, 5) and found["worse"].a.values.size == look.seeds
    assert len(done(tmp_path)) == 2 * look.seeds and f"tested once, at {look.seeds} seeds" in said
    moments = finished(tmp_path)
    assert main(["ablate", file, "--until", "precise"]) == 0 and finished(tmp_path) == moments
    capsys.readouterr()
    assert main(["ablate", study(arms=arms), "--until", "decided"]) == MISTAKE
    assert "is judged by the rule and at the looks" in capsys.readouterr().err


MISTAKES = {
    "declares when it is looked at": ({"looks": None}, "decided"),
    "the study must have several": ({"looks": None}, "precise"),
    "needs arms that are compared": ({"arms": {"reference": {}}}, "decided"),
    "weighs the luck of runs": (
        {"compare": {**STUDY["compare"], "cells": "fixed"}},
        "precise",
    ),
}


@pytest.mark.parametrize("rule", MISTAKES)
def test_what_no_rule_can_stop_is_refused_before_anything_runs(study, tmp_path, capsys, rule):
    changes, until = MISTAKES[rule]
    assert main(["ablate", study(**changes), "--until", until]) == MISTAKE
    said = capsys.readouterr().err
    assert rule in said and said.count("\n") == 1 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("looks", [[3], [5, 3], [1, 3], [3, 3], ["3", 5], [2.5, 5], [True, 3]])
def test_looks_must_increase(looks):
    with pytest.raises(UserError, match="two or more increasing numbers of seeds"):
        parse_study("x", {**STUDY, "looks": looks})


def test_other_mistakes_in_looks():
    with pytest.raises(UserError, match="looks must be a list"):
        parse_study("x", {**STUDY, "looks": 3})
    with pytest.raises(UserError, match="must not need more seeds than the grid has"):
        parse_study("x", {**STUDY, "grid": {"seed": [1, 2, 3]}})


def test_seeds_follow_from_the_looks(study):
    file = study(arms={**STUDY["arms"], "own": {"model": "majority", "grid": {"seed": [7]}}})
    plan = expand(read(file))
    seeds = [run.settings["seed"] for run in plan.runs if run.arm == "same"]
    assert seeds == [1, 2, 3, 4, 5]
    assert [(run.nth, run.seeds) for run in plan.runs if run.arm == "own"] == [(1, 1)]


@given(st.lists(st.integers(2, 200), min_size=2, max_size=9, unique=True))
def test_levels_of_any_looks_keep_the_bound(looks):
    found = levels(sorted(looks))
    assert sum(found.values()) == pytest.approx(0.05) and min(found.values()) > 0
    assert list(found.values()) == sorted(found.values())
    assert p_over_looks(dict.fromkeys(found, 0.2), found) <= 1


def test_the_usual_looks_have_their_levels():
    assert LOOKS == {3: 0.005, 5: 0.01, 10: 0.015, 20: 0.02}


def made_up(folder, means, *, seeds=6, looks=(2, 4, 6), luckless=(), **stop):
    """Write a study whose arms have these means, run by run, and give its comparisons."""
    rng = np.random.default_rng(1)
    truth_N = rng.integers(0, 6, 400)
    runs = []
    for arm, of_seed in means.items():
        # Runs of one skill are right on the same cells: luck is in the skill alone.
        hard_N = rng.random(400)
        model = "logreg" if arm in luckless else "scbert"
        for nth in range(1, seeds + 1):
            right_N = hard_N < of_seed(nth)
            if arm in luckless:
                right_N = np.arange(400) % 10 < 8
            calls_N = np.where(right_N, truth_N, (truth_N + 1) % 6)
            run = write_run(folder, arm=arm, model=model, seed=nth, truth=truth_N, calls=calls_N,
                            cells=400)  # fmt: skip
            runs.append({"run_id": run, "arm": arm, "overrides": [], "at": "", "nth": nth,
                         "seeds": seeds})  # fmt: skip
    against = {arm: None if arm == "reference" else "reference" for arm in means}
    compare = {"family": "x", "tests": ["welch"], "metrics": ["accuracy"]}
    more = {"runs": runs, "compare": compare, "looks": list(looks), **stop}
    write_manifest(folder, "x", against, [])
    path = folder / "studies" / "x.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    (study,) = gather(folder, ["x"], 0.01)
    return comparisons(study)


def test_a_look_that_decided_speaks_for_the_verdict(tmp_path):
    (found,) = made_up(
        tmp_path,
        {"reference": lambda nth: 0.7, "other": lambda nth: 0.9 if nth < 3 else 0.55},
    )
    assert found.deciding.seeds == 2 and found.verdict == "better"
    assert [look.level for look in found.looks] == list(levels([2, 4, 6]).values())
    assert found.p == pytest.approx(min(look.p * 0.05 / look.level for look in found.looks))
    assert "looks_disagree" in {flag.id for flag in found.flags}


def test_models_without_luck_are_tested_once(tmp_path):
    (found,) = made_up(
        tmp_path, {"reference": lambda nth: 0.7, "other": lambda nth: 0.7},
        luckless=("reference", "other"),
    )  # fmt: skip
    assert found.looks == () and found.waits_for is None and found.p is not None


def test_before_the_first_look_nothing_is_said(tmp_path):
    arms = {"reference": lambda nth: 0.7, "other": lambda nth: 0.9}
    (found,) = made_up(tmp_path / "a", arms, looks=(5, 6), seeds=6)
    assert found.verdict == "better"
    manifest = tmp_path / "a" / "studies" / "x.json"
    said = json.loads(manifest.read_text())
    said["runs"] = [run for run in said["runs"] if run["nth"] < 4]
    manifest.write_text(json.dumps(said))
    (study,) = gather(tmp_path / "a", ["x"], 0.01)
    (found,) = comparisons(study)
    assert found.verdict == "untested" and found.why == "the first look is at 5 seeds"
    assert found.interval is None and found.waits_for == 5
    (found,) = made_up(tmp_path / "b", arms, looks=(5, 6), seeds=3)
    assert "more than these arms have" in found.why and found.waits_for is None


@pytest.mark.parametrize(("luck", "seeds"), [(0.0, 2), (0.2, 6)])
def test_seeds_stop_where_they_no_longer_narrow_the_interval(tmp_path, luck, seeds):
    rng = np.random.default_rng(2)
    skill = {("reference", nth): 0.7 + luck * rng.normal() / 2 for nth in range(1, 7)}
    (found,) = made_up(
        tmp_path,
        {"reference": lambda nth: skill["reference", nth], "other": lambda nth: 0.5},
        until="precise",
    )
    assert [look.seeds for look in found.looks] == [seeds] and found.waits_for is None


def test_the_page_has_the_looks(tmp_path):
    made_up(tmp_path, {"reference": lambda nth: 0.7, "other": lambda nth: 0.7})
    page = write_report(tmp_path, tmp_path / "report", ["x"])
    for name in ("index.html", "report.md"):
        said = (page.parent / name).read_text()
        assert "3 looks of 3 so far, at 2, 4 and 6 seeds" in said
    table = (page.parent / "tables" / "x_comparisons.csv").read_text().splitlines()
    assert table[0].endswith(",looks") and table[1].endswith('"2, 4, 6"')


def test_the_page_says_what_would_settle_what_is_open(tmp_path):
    luck = np.random.default_rng(3).normal(0, 0.02, 6)
    (found,) = made_up(
        tmp_path,
        {"reference": lambda nth: 0.7, "other": lambda nth: 0.7 + luck[nth - 1]},
        looks=(2, 6, 9),
    )
    assert found.verdict == "open" and found.looks[-1].seeds == 6
    (study,) = gather(tmp_path, ["x"], 0.01)
    table = settling_table(study, [found])
    (row,) = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert row["± any seeds"] < row["± now"] and row["± any cells"] < row["± now"]
    assert row["seeds"] is None and row["cells"] > 400
    assert row["in words"] == (
        f"No number of seeds would tell; about {row['cells']:,} held-out cells would."
    )


def settled(estimate, *, v_runs, v_cells, rows=5, margin=0.01, **more):
    """Say what would settle a comparison whose variances are given."""
    parts = VarianceParts(
        estimate=estimate, v_runs=v_runs, df_runs=2 * (rows - 1), v_cells=v_cells, df_cells=300,
        v_interaction=0.0, step=1e-3, cells=1000, rows_a=rows, rows_b=rows, v_runs_a=v_runs / 2,
        v_runs_b=v_runs / 2, **more,
    )  # fmt: skip
    found = replace(OPEN, parts=parts)
    return settling(found, margin), what_would_tell(found, margin)


SIDE = ArmRuns(
    cell=Condition("d", "scbert", "a", 1.0, "accuracy"),
    values=np.array([0.7, 0.71]),
    widths=np.zeros(2),
    seeds=(1, 2),
    records=({"seed": 1}, {"seed": 2}),
)
OPEN = ArmComparison(a=SIDE, b=SIDE, p=0.3, corrected=0.3)


def test_whichever_question_needs_less_is_named_with_its_price():
    found, words = settled(0.03, v_runs=2e-4, v_cells=1e-5)
    assert found.question == "a difference" and 5 < found.needs.seeds < 40
    assert words.endswith(f"add 'seed=range(1,{found.needs.seeds + 1})'.")
    found, words = settled(0.03, v_runs=1e-5, v_cells=3e-4)
    assert found.needs.seeds is None and "about" in words and "held-out cells would" in words
    found, words = settled(0.03, v_runs=1e-5, v_cells=1e-4, v_donors=5e-4, df_donors=6, donors=8)
    assert found.needs.donors > 8 and f"of {found.needs.donors} donors would" in words
    found, _ = settled(0.001, v_runs=1e-5, v_cells=1e-7)
    assert found.question == "equivalence" and found.needs.seeds > 5
    found, words = settled(0.05, v_runs=1e-6, v_cells=1e-6)
    assert found.nearly and "nearly told" in words
    found, words = settled(0.0099, v_runs=2e-4, v_cells=3e-4, margin=0.0099)
    assert found.question == "a difference"


def test_equivalence_needs_cells_even_if_no_call_differs():
    # 3 / margin is 300 for a point; a hundred cells cannot do with any number of seeds.
    parts = {"v_runs": 1e-12, "v_cells": 1e-12}
    enough, _ = settled(0.0, **parts)
    assert enough.needs.seeds == 2
    found, _ = settled(0.0, **parts, margin=0.002)
    assert found.needs.seeds is None and 1400 < found.needs.cells < 1600


def test_a_study_without_looks_that_got_more_seeds_says_so(study, tmp_path):
    arms = {key: STUDY["arms"][key] for key in ("reference", "worse")}
    file = study(looks=None, arms=arms, grid={"seed": [1, 2, 3, 4]})
    for words in (["seed=1"], ["seed=1,2"], ["seed=1,2"], ["seed=1,2,3"]):
        assert main(["ablate", file, *words]) == 0
    _, said = found_in(tmp_path)
    assert said.startswith("Seeds were added after 2 were done: what was looked at then")
    assert main(["ablate", file, "seed=1,2"]) == 0
    assert found_in(tmp_path)[1] == ""
