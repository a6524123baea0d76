"""Verdicts of a report about donors that were held out whole hold for fresh donors."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadline.report.baseline_answer import first_line
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.report.write import write_report
from leadline.runs import record
from records import CLASSES, write_manifest, write_run

SHARES = np.array([0.3, 0.25, 0.2, 0.15, 0.1])
CELLS_OF_A_DONOR, SEEDS = 30, 3
METRICS = ("accuracy", "macro_f1")
MANY = 200


@pytest.fixture(autouse=True)
def no_flushing(monkeypatch):
    """Records of a test need not survive a power cut, and there are hundreds of them."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def population(rng, donors, lead=0.0):
    """Draw truth and donors of cells, and how often each of two models is right on them.

    Models differ by cell, and by donor more than cells alone would let them; `lead` is added to the
    logit of the second. Without it both are of one law, so that no expected metric differs.
    """
    size_D = rng.integers(CELLS_OF_A_DONOR // 2, 2 * CELLS_OF_A_DONOR, donors)
    donor_N = np.repeat(np.arange(donors), size_D)
    share_DK = rng.dirichlet(20 * SHARES, donors)
    truth_N = np.array([rng.choice(len(SHARES), p=share_DK[donor]) for donor in donor_N])
    right = [
        1.3 + at * lead + rng.normal(0, 0.8, donors)[donor_N] + rng.normal(0, 1.0, donor_N.size)
        for at in (0, 1)
    ]
    return truth_N, donor_N, [1 / (1 + np.exp(-logit_N)) for logit_N in right]


def write_pair(folder, rng, *, donors, lead=0.0, seeds=SEEDS, known=True, **of_the_runs):
    """Write a study of two arms; `known` says whether the records hold the donors."""
    truth_N, donor_N, right = population(rng, donors, lead)
    names_N = np.char.add("donor ", donor_N.astype(str)) if known else None
    made = []
    for arm, right_N in zip(("reference", "other"), right, strict=True):
        for seed in range(1, seeds + 1):
            wrong_N = (truth_N + rng.integers(1, len(SHARES), truth_N.size)) % len(SHARES)
            calls_N = np.where(rng.random(truth_N.size) < right_N, truth_N, wrong_N)
            run = write_run(
                folder, arm=arm, model="mlp", seed=seed, cells=truth_N.size, truth=truth_N,
                calls=calls_N, donors=names_N, **of_the_runs,
            )  # fmt: skip
            made.append((run, arm))
    compare = {
        "family": "pair", "tests": ["crossed", "welch"], "metrics": list(METRICS),
        "equivalence_margin": 0.01,
    }  # fmt: skip
    write_manifest(folder, "pair", {"reference": None, "other": "reference"}, made, compare=compare)


def judged(folder):
    (study,) = gather(folder, ["pair"], 0.01)
    return dict(zip(METRICS, comparisons(study), strict=True))


def pair(folder, rng, **population):
    """Write a study and compare its arms: one comparison a metric."""
    write_pair(folder, rng, **population)
    return judged(folder)


# --- error rates ------------------------------------------------------------------------------
def false_findings(folder, pairs, donors, seed):
    """Count equally good models that are told apart, by metric, and by cells alone in accuracy."""
    rng = np.random.default_rng([seed, donors])
    wrong, over_cells = dict.fromkeys(METRICS, 0), 0
    for at in range(pairs):
        found = pair(folder / f"{donors}-{at}", rng, donors=donors)
        for metric, each in found.items():
            assert each.speaks_for == "fresh runs on fresh cells of fresh donors"
            wrong[metric] += each.verdict in ("better", "worse")
        low, high = found["accuracy"].of_these_donors
        over_cells += low > 0 or high < 0
    return wrong, over_cells


@pytest.mark.parametrize("donors", [12, 5])
def test_equally_good_models_are_rarely_told_apart_for_fresh_donors(donors, tmp_path):
    wrong, over_cells = false_findings(tmp_path, 16, donors, seed=1)
    # 5 % of 16 is .8; more than three would happen once in 120 tries, if it were not less.
    assert max(wrong.values()) <= 3
    assert over_cells > wrong["accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("donors", [12, 5])
def test_false_findings_about_fresh_donors_stay_at_five_per_cent(donors, tmp_path):
    wrong, over_cells = false_findings(tmp_path, MANY, donors, seed=2)
    most = 0.05 + 3 * np.sqrt(0.05 * 0.95 / MANY)
    assert max(wrong.values()) / MANY <= most
    # The same records over cells alone, as if they spoke of fresh donors.
    assert over_cells / MANY > 2 * most


def test_a_lead_is_found_with_twelve_donors(tmp_path):
    rng = np.random.default_rng(3)
    found = [pair(tmp_path / str(at), rng, donors=12, lead=2.0) for at in range(5)]
    for metric in METRICS:
        verdicts = [each[metric].verdict for each in found]
        assert verdicts.count("better") >= 4 and "worse" not in verdicts
    assert found[0]["accuracy"].parts.donors == 12
    assert "few_donors" not in {flag.id for flag in found[0]["accuracy"].flags}


# --- what a verdict speaks for ------------------------------------------------------------------
def flags(each):
    return {flag.id: flag for flag in each.flags}


@pytest.mark.parametrize(
    ("donors", "of_the_runs", "words", "units"),
    [
        (6, {"known": False}, "fresh cells like these", 0),
        (6, {}, "fresh cells of fresh donors", 6),
        (6, {"trained_on": ["donor 2"]}, "fresh cells of these donors", 0),
        (1, {}, "fresh cells of this donor", 0),
        (1, {"trained_on": ["donor 0"]}, "fresh cells of these donors", 0),
    ],
)
def test_the_data_decide_what_a_verdict_speaks_for(donors, of_the_runs, words, units, tmp_path):
    each = pair(tmp_path, np.random.default_rng(4), donors=donors, **of_the_runs)["accuracy"]
    assert each.test == "crossed" and each.speaks_for == f"fresh runs on {words}"
    assert each.parts.donors == units and "donors_unknown" not in flags(each)
    assert ("donors" in each.shares) or ("cells" in each.shares)


def test_a_donor_that_one_run_trained_on_is_no_fresh_one(tmp_path):
    write_pair(tmp_path, np.random.default_rng(5), donors=6)
    # A fourth run of one arm, on the same cells, has learnt from one of their donors.
    facts = gather(tmp_path, ["pair"], 0.01)[0].records[-1]
    folder = tmp_path / facts["run_id"]
    parts, classes = record.read_predictions(folder)
    said = parts["test"]
    learnt = replace(said.batches, trained_on_B=said.batches.names == "donor 3")
    with record.open_record(folder) as opened:
        opened.write_predictions({"test": replace(said, batches=learnt)}, classes)
        opened.finish()
    assert judged(tmp_path)["accuracy"].speaks_for == "fresh runs on fresh cells of these donors"


def test_records_from_before_donors_were_kept_say_that_donors_are_unknown(tmp_path):
    each = pair(
        tmp_path, np.random.default_rng(6), donors=6, known=False, settings={"data.batch": "donor"}
    )["accuracy"]
    assert each.speaks_for == "fresh runs on fresh cells like these; donors unknown"
    assert flags(each)["donors_unknown"].severity == "note"
    assert "run them again" in flags(each)["donors_unknown"].sentence


def test_one_record_without_donors_leaves_them_unknown(tmp_path):
    rng = np.random.default_rng(7)
    write_pair(tmp_path, rng, donors=6, settings={"data.batch": "donor"})
    facts = gather(tmp_path, ["pair"], 0.01)[0].records[0]
    folder = tmp_path / facts["run_id"]
    parts, classes = record.read_predictions(folder)
    with record.open_record(folder) as opened:
        opened.write_predictions({"test": replace(parts["test"], batches=None)}, classes)
        opened.finish()
    assert judged(tmp_path)["accuracy"].speaks_for.endswith("like these; donors unknown")


@pytest.mark.parametrize("donors", [2, 3])
def test_two_or_three_donors_decide_nothing_of_fresh_ones(donors, tmp_path):
    # So large a lead that it would be found in any donor.
    each = pair(tmp_path, np.random.default_rng(8), donors=donors, lead=6.0)["accuracy"]
    low, high = each.of_these_donors
    assert each.verdict == "open" and each.interval.low < low < high < each.interval.high
    assert low > 0
    few = flags(each)["few_donors"]
    assert f"for fresh donors it cannot be told from {donors}; of these donors +" in few.sentence
    assert few.numbers == {
        "donors": donors, "of_these_donors_low": low, "of_these_donors_high": high
    }  # fmt: skip
    assert not each.equivalence.equivalent


def test_four_and_five_donors_decide_with_a_warning(tmp_path):
    found = pair(tmp_path / "5", np.random.default_rng(9), donors=5, lead=6.0)["accuracy"]
    assert found.verdict == "better" and "5 donors" in flags(found)["few_donors"].sentence


def test_many_donors_of_which_few_count_are_few(tmp_path):
    names_N = np.repeat([f"donor {at}" for at in range(8)], [150, *[8] * 7])
    rng = np.random.default_rng(10)
    truth_N = rng.integers(0, 5, names_N.size)
    made = []
    for arm, right in (("reference", 0.7), ("other", 0.75)):
        for seed in (1, 2, 3):
            calls_N = np.where(rng.random(truth_N.size) < right, truth_N, (truth_N + 1) % 5)
            run = write_run(
                tmp_path, arm=arm, model="mlp", seed=seed, cells=truth_N.size, truth=truth_N,
                calls=calls_N, donors=names_N,
            )  # fmt: skip
            made.append((run, arm))
    write_manifest(tmp_path, "pair", {"reference": None, "other": "reference"}, made)
    each = judged(tmp_path)["accuracy"]
    assert each.parts.donors == 8 and each.parts.df_donors < 4
    assert "that count" in flags(each)["few_donors"].sentence and not each.cannot_tell


def test_classes_that_are_rare_are_named(tmp_path):
    truth_N = np.array([0] * 60 + [1] * 60 + [4] * 3)
    made = []
    for arm in ("reference", "other"):
        for seed in (1, 2):
            rng = np.random.default_rng(seed)
            calls_N = np.where(rng.random(123) < 0.8, truth_N, 1)
            run = write_run(
                tmp_path, arm=arm, seed=seed, cells=123, truth=truth_N, calls=calls_N
            )  # fmt: skip
            made.append((run, arm))
    write_manifest(tmp_path, "pair", {"reference": None, "other": "reference"}, made)
    found = judged(tmp_path)
    assert f"too narrow for {CLASSES[4]} (3)" in flags(found["macro_f1"])["rare_classes"].sentence
    assert "rare_classes" not in flags(found["accuracy"])


# --- the page -------------------------------------------------------------------------------------
def report_of(folder, out):
    write_report(folder, out, ["pair"])
    text = (out / "tables" / "pair_comparisons.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return rows[0], (out / "report.md").read_text(), (out / "index.html").read_text()


@pytest.fixture
def no_figures(monkeypatch):
    monkeypatch.setattr("leadline.report.study_figures.draw_all", lambda *_: ([], {}))


def test_the_page_says_which_donors_are_meant(tmp_path, no_figures):
    write_pair(tmp_path / "runs", np.random.default_rng(11), donors=12, lead=2.0)
    row, short, page = report_of(tmp_path / "runs", tmp_path / "out")
    assert row["speaks for"] == "fresh runs on fresh cells of fresh donors"
    assert row["donors"] == "12" and row["verdict"] == "better"
    assert float(row["95 % from"]) <= float(row["these donors from"])
    for text in (short, page):
        assert "fresh cells of fresh donors (12 held out)" in text


def test_the_page_says_that_two_donors_cannot_tell(tmp_path, no_figures):
    write_pair(tmp_path / "runs", np.random.default_rng(12), donors=2, lead=2.0)
    row, short, page = report_of(tmp_path / "runs", tmp_path / "out")
    assert (row["donors"], row["verdict"]) == ("2", "open") and "few_donors" in row["flags"]
    for text in (short, page):
        assert "for fresh donors it cannot be told from 2; of these donors, 95 % interval" in text


# --- is logistic regression enough? ---------------------------------------------------------------
def enough(folder, rng, *, donors, right, cells=60):
    """Write a baseline, a transformer and the majority, whatever the donor right alike often."""
    donor_N = np.repeat(np.arange(donors), cells)
    truth_N = rng.integers(0, 5, donor_N.size)
    made = []
    for arm, seeds in (("logreg", [1]), ("scbert", [1, 2, 3]), ("majority", [1])):
        for seed in seeds:
            sure_N = rng.random(truth_N.size) < right.get(arm, 0)
            calls_N = np.where(sure_N, truth_N, (truth_N + 1) % 5 if arm in right else 0)
            run = write_run(
                folder, arm=arm, model=arm, seed=seed, cells=truth_N.size, truth=truth_N,
                calls=calls_N, donors=np.char.add("donor ", donor_N.astype(str)),
            )  # fmt: skip
            made.append((run, arm))
    against = {"logreg": None, "scbert": "logreg", "majority": "logreg"}
    write_manifest(folder, "own_data", against, made, reference="logreg")
    (study,) = gather(folder, ["own_data"], 0.01)
    return first_line(study, comparisons(study))


def test_the_answer_about_the_baseline_names_fresh_donors(tmp_path):
    rng = np.random.default_rng(13)
    said = enough(tmp_path, rng, donors=12, right={"logreg": 0.6, "scbert": 0.9})
    assert said.startswith("No, logistic regression is not enough for these cells: ")
    assert "; 1 to 3 seeds each; of fresh donors, 12 held out." in said
    assert "Of fresh cells of these donors, logistic regression gets" in said


@pytest.mark.parametrize("right", [{"logreg": 0.6, "scbert": 0.9}, {"logreg": 1.0, "scbert": 0.8}])
def test_two_donors_leave_it_open_whether_the_baseline_is_enough(right, tmp_path):
    said = enough(tmp_path, np.random.default_rng(14), donors=2, right=right, cells=200)
    assert said.startswith("It cannot be told yet whether logistic regression is enough")
    assert " (of these donors)" in said and "; for fresh donors it cannot be told from 2" in said
    assert "No number of seeds or cells would tell: hold out at least 6 donors." in said


# --- laws -----------------------------------------------------------------------------------------
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), donors=st.integers(2, 8))
def test_names_of_donors_and_the_order_of_cells_change_nothing(seed, donors, tmp_path_factory):
    rng = np.random.default_rng(seed)
    truth_N = rng.integers(0, 3, 60)
    donor_N = rng.permutation(np.arange(60) % donors)
    order, renamed_D = rng.permutation(60), rng.permutation(donors)
    calls = rng.integers(0, 3, (2, 3, 60))
    calls = np.where(rng.random(calls.shape) < 0.6, truth_N, calls)
    said = []
    for names_D, place in ((np.arange(donors), None), (renamed_D, order)):
        folder = tmp_path_factory.mktemp("runs")
        made = [
            (
                write_run(
                    folder, arm=arm, model="mlp", seed=at, cells=60, truth=truth_N,
                    calls=of_arm[at], donors=np.char.add("d", names_D[donor_N].astype(str)),
                    order=place,
                ),
                arm,
            )
            for arm, of_arm in zip(("reference", "other"), calls, strict=True)
            for at in range(3)
        ]  # fmt: skip
        write_manifest(folder, "pair", {"reference": None, "other": "reference"}, made)
        said.append(judged(folder))
    for metric in METRICS:
        one, other = (each[metric] for each in said)
        assert (one.verdict, one.speaks_for) == (other.verdict, other.speaks_for)
        assert [flag.id for flag in one.flags] == [flag.id for flag in other.flags]
        numbers = [
            [x.estimate, x.p, x.interval.low, x.interval.high, x.equivalence.p, *x.of_these_donors]
            for x in (one, other)
        ]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-9, abs=1e-12)
