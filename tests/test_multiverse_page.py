"""The page of a study whose runs carry choices: curve, joint tests, what each choice is worth."""

import json
import re

import numpy as np
import pytest

from leadline.report import study_multiverse, write
from leadline.report.study import gather
from records import write_manifest, write_run

SWITCHES = {"loss": ("plain", "weighted"), "schedule": ("coded", "said")}
TAGS = {"loss": "E", "schedule": "N"}


def multiverse(runs, *, seeds=6, worth=0.06, lead=0.1, cells=400, skip=(), metric="accuracy"):
    """Write a study of two arms over four universes; the second schedule is worth something."""
    rng = np.random.default_rng(5)
    entries = []
    for loss in SWITCHES["loss"]:
        for schedule in SWITCHES["schedule"]:
            choices = {"loss": loss, "schedule": schedule}
            for seed in range(1, seeds + 1):
                level = 0.6 + 0.02 * rng.normal()
                for arm in ("reference", "ablated"):
                    if (loss, schedule, seed, arm) in skip:
                        continue
                    more = (lead + worth * (schedule == "said")) * (arm == "reference")
                    run_id = write_run(
                        runs, arm=arm, seed=seed, accuracy=level + more, cells=cells,
                        settings={"train.lr": 1e-4 + 1e-5 * (loss == "plain"),
                                  "train.batch_size": 32 + (schedule == "said")},
                    )  # fmt: skip
                    entries.append((run_id, arm, choices))
    write_manifest(
        runs, "choices", {"reference": None, "ablated": "reference"},
        [(run_id, arm) for run_id, arm, _ in entries],
        choices={"tags": TAGS}, presets={"paper_code": {"loss": "plain", "schedule": "coded"}},
        compare={"family": "choices", "tests": ["welch"], "metrics": [metric],
                 "equivalence_margin": 0.01},
    )  # fmt: skip
    path = runs / "studies" / "choices.json"
    manifest = json.loads(path.read_text())
    for run, (_, _, choices) in zip(manifest["runs"], entries, strict=True):
        run["choices"] = choices
    path.write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("multiverse")
    multiverse(folder / "runs")
    return write.write_report(folder / "runs", folder / "out"), folder


def test_the_page_answers_over_equivalent_choices_and_explores_over_all(page):
    path, folder = page
    _, said, _ = write.headline(path)
    assert re.search(r"ablated less reference, accuracy: median −?-?1\d\.\d\d points", said), said
    assert "that differ in equivalent choices alone" in said
    assert "at the least .031" in said.replace("0.031", ".031")
    tables = {each.name: each.read_text() for each in (folder / "out" / "tables").glob("*.csv")}
    joint = next(text for name, text in tables.items() if name.endswith("_joint.csv"))
    assert "equivalent choices alone" in joint and "all choices (explores)" in joint
    # Six analyses of each of four trainings: one vote for each training, and for each universe.
    assert ",24,one for each training," in joint and ",24,one for each universe," in joint


def test_the_page_says_what_each_choice_is_worth(page):
    _, folder = page
    text = next((folder / "out" / "tables").glob("*_choices.csv")).read_text()
    schedule = next(line for line in text.splitlines() if line.startswith("schedule,"))
    assert "one value is better" in schedule and schedule.endswith("moves the effect")
    loss = next(line for line in text.splitlines() if line.startswith("loss,"))
    assert loss.endswith("not shown")


def test_the_curve_is_drawn_with_its_table_for_screen_readers(page):
    path, folder = page
    names = {each.name for each in (folder / "out" / "figures").glob("*_curve.*")}
    assert {name.rpartition(".")[2] for name in names} == {"pdf", "svg"} and len(names) == 2
    html = path.read_text()
    assert "every universe</h2>" in html and "paper_code" in html
    assert "24 universes from" in html


def answer(runs):
    study = gather(runs, ["choices"], 0.01)[0]
    return study_multiverse.part_of(study)


def test_five_seeds_cannot_show_anything_and_the_page_says_so(tmp_path):
    multiverse(tmp_path, seeds=5)
    assert "no effect can be shown by 5 seeds: the least p that they can give is 0.062" in (
        answer(tmp_path).answer
    )


def test_missing_runs_leave_common_seeds_and_are_told(tmp_path):
    multiverse(tmp_path, skip={("plain", "said", 2, "ablated")})
    said = answer(tmp_path).answer
    # Of 47 runs of four universes 40 have partners everywhere.
    assert "85% of the runs have partners in every universe" in said
    assert "nothing is imputed" in said


def test_choices_that_change_the_reported_cells_are_left_out_of_the_curve(tmp_path):
    multiverse(tmp_path)
    write_run(
        tmp_path, arm="reference", seed=1, accuracy=0.7, cells=399,
        settings={"train.lr": 1e-4 + 1e-5, "train.batch_size": 32},
    )  # fmt: skip
    left_out = answer(tmp_path)
    universes = next(each for each in left_out.tables if each.name.endswith("_universes"))
    assert len(universes.rows) == 3 * 6
    said = " ".join(left_out.skipped.values())
    assert "1 of 4 universes report other cells than most do" in said
    assert "the first with loss=plain, schedule=coded" in said
