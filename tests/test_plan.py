"""What a study will take, before anything is run."""

import json

import numpy as np
import pytest
import scipy.stats
import yaml

from leadline.cli import MISTAKE, main
from leadline.cli.plan import duration
from leadline.studies.estimate import Basis, Estimator, Past, fit_estimator, probe, shape, work_of
from leadline.studies.naming import Run, name_runs
from small import saved, small_cells

STUDY = {
    "question": "How long?",
    "arms": {
        "reference": {"model": "nearest_centroid"},
        "majority": {"model": "majority"},
        "mlp": {"model": "mlp"},
    },
    "grid": {"seed": [1, 2], "data.fraction": [0.2, 1.0]},
}


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "how_long.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False))
    return str(path)


@pytest.fixture
def words(study, tmp_path):
    return [study, f"runs_dir={tmp_path}/runs"]


def plan_of(words, capsys):
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_plan_makes_nothing_and_names_everything(words, tmp_path, capsys):
    plan = plan_of(words, capsys)
    assert not (tmp_path / "runs").exists()
    assert len(plan["runs"]) == 12 and plan["totals"]["to_do"] == 12
    assert {run["state"] for run in plan["runs"]} == {"missing"}
    assert plan["totals"]["without_estimate"] == 12 and plan["totals"]["cost"] is None
    assert plan["runs"][0]["cells"]["test"] == 140


def test_estimates_come_from_records(words, tmp_path, capsys):
    assert main(["ablate", *words, "seed=1", "train.epochs=2"]) == 0
    capsys.readouterr()
    plan = plan_of([*words, "train.epochs=4", "--price", "3"], capsys)
    states = [run["state"] for run in plan["runs"]]
    assert states.count("done") == 4, "epochs are no matter for the baselines"
    bases = {run["estimate"]["basis"] for run in plan["runs"]}
    assert bases == {"same model"} and plan["totals"]["without_estimate"] == 0
    totals = plan["totals"]
    hours = totals["hours_by_launcher"]
    assert hours["basic"]["hours"] >= hours["submitit_slurm"]["hours"] > 0
    assert totals["cost"] == pytest.approx(3 * totals["device_hours"], rel=0.01)
    assert totals["memory_mib_of_largest_run"] > 50


def test_tables_for_people(words, capsys, monkeypatch):
    assert main(["plan", *words]) == 0
    told = capsys.readouterr().out
    assert "12 runs, 12 to do" in told and "--probe measures ten steps" in told
    assert main(["plan", *words, "--watch"]) == 0
    assert "0 of 12 runs done" in capsys.readouterr().out
    monkeypatch.setattr("leadline.cli.plan.MOST_ROWS", 11)
    assert main(["plan", *words]) == 0
    told = capsys.readouterr()
    assert "12 runs" in told.out and "--json lists every run" in told.err


@pytest.fixture
def runs(study, tmp_path):
    from leadline.studies import expand, read

    return name_runs(expand(read(study), [f"runs_dir={tmp_path}/runs", "seed=1"]))


def past_of(run: Run, seconds, **changes):
    said = {
        "task": "classify",
        "model": shape(run.config),
        "genes": run.name.genes,
        "work": work_of(run.config, run.name.cells),
        "seconds": seconds,
        "memory_mib": 100.0,
    }
    return Past(**(said | changes))


def test_time_goes_with_the_work(runs):
    few, full = [run for run in runs if run.arms == ("mlp",)]
    estimator = Estimator([past_of(few, 10.0)])
    assert estimator.of(few).seconds == pytest.approx(10.0)
    ratio = work_of(full.config, full.name.cells) / work_of(few.config, few.name.cells)
    assert estimator.of(full).seconds == pytest.approx(10.0 * ratio)
    assert 3 < ratio < 6


def test_the_nearest_of_the_same_model_decides(runs):
    few, full = [run for run in runs if run.arms == ("mlp",)]
    estimator = Estimator([past_of(few, 10.0), past_of(full, 20.0)])
    assert estimator.of(full).seconds == pytest.approx(20.0)
    wider = past_of(few, 50.0, model=shape(few.config) | {"hidden": [9]}, genes=2 * few.name.genes)
    scaled = Estimator([wider]).of(few)
    assert scaled.basis is Basis.SCALED and scaled.seconds == pytest.approx(25.0)
    assert Estimator([]).of(few).basis is Basis.UNKNOWN


def test_records_that_tell_nothing_are_passed_over(runs, tmp_path):
    folder = tmp_path / "runs" / "mlp-x-f1-s1-0123456789ab"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text('{"model": "mlp"}')
    (folder / "DONE").write_text("{}")
    assert fit_estimator(tmp_path / "runs", runs).past == []


@pytest.fixture
def compared(tmp_path):
    """Write the file of a study of luck and no luck, with some seeds and looks."""

    def written(seeds, **more):
        path = tmp_path / "compared.yaml"
        arms = {"reference": {"model": "stratified"}, "mlp": {"model": "mlp"},
                "majority": {"model": "majority"}, "centroid": {"model": "nearest_centroid",
                                                                "against": "majority"}}  # fmt: skip
        content = {"question": "?", "arms": arms, "grid": {"seed": seeds}} | more
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return [str(path), f"runs_dir={tmp_path}/runs"]

    return written


def test_a_plan_says_what_it_can_find(compared, capsys):
    mlp, majority, centroid = plan_of(compared([1, 2, 3, 4, 5]), capsys)["detectable"]
    assert mlp["seeds"] == [5, 5] and mlp["cells"] == 140
    assert mlp["spread"] == {"sd": 0.01, "basis": "assumed: no two runs are done"}
    # The formula of docs/statistics.md, by hand: 5 seeds, sd of a point, psi .05.
    t = scipy.stats.t.ppf([0.975, 0.8], 8).sum() ** 2 * 2 * 0.01**2 / 5
    z = scipy.stats.norm.ppf([0.975, 0.8]).sum() ** 2 / 140
    assert mlp["usual"] == pytest.approx((t + 0.05 * z) ** 0.5)
    assert mlp["cautious"] == pytest.approx((t + 0.1 * z) ** 0.5)
    assert majority["seeds"] == [0, 5] and majority["usual"] < mlp["usual"]
    assert centroid["seeds"] == [0, 0] and centroid["usual"] == centroid["any_seeds"]
    assert centroid["usual"] == pytest.approx((0.05 * z) ** 0.5)


def test_the_spread_comes_from_records_where_there_are_any(compared, capsys):
    words = [*compared([1, 2, 3, 4]), "train.epochs=1"]
    assert main(["ablate", *words, "seed=1,2,3"]) == 0
    capsys.readouterr()
    mlp, majority, _ = plan_of(words, capsys)["detectable"]
    assert mlp["spread"]["basis"] == "6 runs of these arms"
    assert majority["spread"]["basis"] == "3 runs of these arms" and majority["spread"]["sd"] > 0
    assert main(["plan", *words]) == 0
    told = capsys.readouterr().out
    assert "least difference in accuracy that can be found, with chance .8" in told
    assert "centroid against majority: 5.3 points; 7.5 (no luck, 140 held-out cells; 5.3" in told


def test_donors_that_are_held_out_are_said_to_find_less(tmp_path, capsys):
    cells = small_cells((60, 60))
    path = saved(cells, tmp_path / "c.h5ad", batch=np.array(list("abcdefgh"))[np.arange(120) % 8])
    words = ["data=h5ad", f"data.path={path}", "data.label=celltype", "data.batch=protocol"]
    study = {
        "question": "?",
        "arms": {"reference": {"model": "nearest_centroid"}, "majority": {"model": "majority"}},
        "base": dict(word.split("=", 1) for word in words),
    }
    for reported, told in (("stratified", False), ("group", True)):
        study["base"]["protocol.reported"] = reported
        (tmp_path / "d.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        assert main(["plan", str(tmp_path / "d.yaml"), f"runs_dir={tmp_path}/runs"]) == 0
        said = capsys.readouterr().out
        assert "least difference in accuracy" in said
        assert ("for fresh donors it is more" in said) is told


def test_one_seed_finds_nothing_and_looks_cost_a_little(compared, capsys):
    assert plan_of(compared([1]), capsys)["detectable"][0]["usual"] is None
    assert main(["plan", *compared([1])]) == 0
    assert "nothing of the next run: two seeds are needed" in capsys.readouterr().out
    (usual, *_) = plan_of(compared([1, 2, 3, 4, 5]), capsys)["detectable"]
    (last, *_) = plan_of(compared([1, 2, 3, 4, 5], looks=[3, 5]), capsys)["detectable"]
    assert last["seeds"] == [5, 5] and last["usual"] > usual["usual"]
    assert main(["plan", *compared([1, 2, 3, 4, 5], looks=[3, 5])]) == 0
    assert "at the last look, 5 seeds" in capsys.readouterr().out


@pytest.mark.slow
def test_ten_steps_tell_what_no_record_does(runs):
    estimator = Estimator()
    probe(estimator, runs)
    assert {past.model["name"] for past in estimator.past} == {
        "nearest_centroid",
        "majority",
        "mlp",
    }
    for run in runs:
        found = estimator.of(run)
        assert found.basis is Basis.PROBE and found.seconds > 0 and found.memory_mib > 50


def test_durations_are_written_with_the_precision_of_an_estimate():
    told = [duration(seconds) for seconds in (0.4, 75, 5000, 200_000)]
    assert told == ["0.4 s", "75 s", "83 min", "56 h"]


def test_a_price_below_nothing_is_refused(words, capsys):
    assert main(["plan", *words, "--price", "-1"]) == 2
    assert "--price must be 0 or more: got -1" in capsys.readouterr().err


def test_what_the_paper_calls_nothing_is_refused(tmp_path, capsys):
    content = """question: Is it refused?
published: Tabel 2
arms: {reference: {model: majority}, other: {model: nearest_centroid}}
"""
    (tmp_path / "small.yaml").write_text(content)
    assert main(["plan", str(tmp_path / "small.yaml")]) == MISTAKE
    told = capsys.readouterr().err
    assert "published must name a table or figure" in told
    assert "got 'Tabel 2'; did you mean Table 2?" in told
