"""`leadline import-ledger`: runs made elsewhere get the one-factor check, pairing and the curve."""

import csv

import numpy as np
import pytest

from leadline import cli
from leadline.errors import UserError
from leadline.report import study_multiverse
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.runs.import_ledger import LedgerChoice, import_ledger


def ledger(path, rows):
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def runs(arms, seeds=6, losses=("",), **more):
    """Give rows of arms, each with its factors and its lead."""
    rng = np.random.default_rng(1)
    levels = {(seed, loss): 0.7 + 0.02 * rng.normal() for seed in range(seeds) for loss in losses}
    return [
        {"arm": arm, "seed": seed, **factors, **({"loss": loss} if loss else {}),
         "accuracy": round(levels[seed, loss] + lead + 0.003 * rng.normal(), 6), **more}
        for arm, (lead, factors) in arms.items() for seed in range(seeds) for loss in losses
    ]  # fmt: skip


ARMS = {
    "full": (0.05, {"pretraining": "yes", "freeze": "no"}),
    "no_pretraining": (0.0, {"pretraining": "no", "freeze": "no"}),
    "both": (0.0, {"pretraining": "no", "freeze": "yes"}),
}


def test_arms_that_differ_in_more_than_one_factor_are_flagged(tmp_path, capsys):
    path = ledger(tmp_path / "mine.csv", runs(ARMS))
    said = ["import-ledger", str(path), "--runs", str(tmp_path / "runs")]
    assert cli.main([*said, "--reference", "full"]) == 0
    out, err = capsys.readouterr()
    assert "18 runs of full, no_pretraining, both" in out
    assert out.splitlines()[-1].startswith("leadline report mine --runs")
    assert "both differs from full in pretraining, freeze" in err and "no_pretraining" not in err
    study = gather(tmp_path / "runs", ["mine"], 0.01)[0]
    part = study_multiverse.part_of(study)
    assert part.tables[0].rows == [["both", "pretraining, freeze"]] and not part.answer


def test_arms_are_paired_by_seed_and_judged(tmp_path):
    import_ledger(
        ledger(tmp_path / "mine.csv", runs(ARMS)), tmp_path / "runs", LedgerChoice(reference="full")
    )
    study = gather(tmp_path / "runs", ["mine"], 0.01)[0]
    found = {each.a.arm: each for each in comparisons(study)}
    assert set(found) == {"no_pretraining", "both"}
    assert found["no_pretraining"].verdict == "worse"
    assert found["no_pretraining"].p_of("paired_t") < 0.001


def test_columns_that_vary_within_arms_are_choices_and_make_a_curve(tmp_path):
    path = ledger(tmp_path / "l.csv", runs(ARMS, losses=("plain", "weighted")))
    choice = LedgerChoice(reference="full", tags={"loss": "E"})
    found = import_ledger(path, tmp_path / "runs", choice)
    assert found.choices == ("loss",)
    study = gather(tmp_path / "runs", ["l"], 0.01)[0]
    part = study_multiverse.part_of(study)
    assert "no_pretraining less full, accuracy: median -" in part.answer
    assert "over 2 universes that differ in equivalent choices alone" not in part.skipped
    assert len(part.drawings) == 2


def test_the_same_ledger_is_imported_once(tmp_path):
    path = ledger(tmp_path / "l.csv", runs(ARMS))
    for _ in range(2):
        import_ledger(path, tmp_path / "runs", LedgerChoice())
    assert len([each for each in (tmp_path / "runs").iterdir() if each.name != "studies"]) == 18


def test_an_export_of_wandb_is_known_by_its_columns(tmp_path):
    rows = [
        {"Name": f"run-{at}", "State": "finished" if at else "crashed", "Runtime": str(at),
         "Job Type": row["arm"], "seed": row["seed"], "lr": "0.1",
         "test_acc": 100 * row["accuracy"]}
        for at, row in enumerate(runs(ARMS))
    ]  # fmt: skip
    choice = LedgerChoice(metrics={"accuracy": "test_acc%"}, reference="no_pretraining")
    found = import_ledger(ledger(tmp_path / "export.csv", rows), tmp_path / "runs", choice)
    assert (found.runs, found.skipped, found.choices) == (17, 1, ())
    study = gather(tmp_path / "runs", ["export"], 0.01)[0]
    assert all(0.5 < facts["metrics"]["test"]["accuracy"] < 0.9 for facts in study.records)


def without(name):
    return lambda rows: [{k: v for k, v in row.items() if k != name} for row in rows]


def with_first(**values):
    return lambda rows: [{**rows[0], **values}, *rows[1:]]


@pytest.mark.parametrize(
    ("change", "choice", "message"),
    [
        (without("seed"), {}, "a ledger must tell the seed of each run: got the columns arm,"),
        (without("accuracy"), {}, "a ledger needs a metric"),
        (with_first(seed="one"), {}, "a seed must be a whole number: got 'one' in row 2"),
        (with_first(arm=""), {}, "each run must tell its arm"),
        (with_first(accuracy="81"), {}, r"accuracy must lie in \[0, 1\]: got 81 in row 2"),
        (with_first(accuracy=""), {}, "accuracy must be a number in every row"),
        (with_first(seed=1), {}, "one row for each arm, seed and combination of factors"),
        (list, {"reference": "fulll"}, "--reference must be an arm of the ledger.*full"),
        (list, {"metrics": {"accuracy": "acuracy"}}, "the metric accuracy must be a column"),
        (list, {"fields": {"arm": "model"}}, "--field arm must name a column"),
        (list, {"tags": {"loss": "E"}}, "--tag is about a column that varies within arms"),
        (
            lambda rows: [{**row, "host": str(at)} for at, row in enumerate(rows)],
            {},
            "a choice must be shared by runs of several seeds: got the column 'host'",
        ),
    ],
)
def test_what_is_wrong_is_said_in_a_line(tmp_path, change, choice, message):
    path = ledger(tmp_path / "l.csv", change(runs(ARMS)))
    with pytest.raises(UserError, match=message):
        import_ledger(path, tmp_path / "runs", LedgerChoice(**choice))


def test_files_that_are_no_ledgers_are_refused(tmp_path):
    with pytest.raises(UserError, match="a ledger is a CSV file: got no file"):
        import_ledger(tmp_path / "none.csv", tmp_path, LedgerChoice())
    path = tmp_path / "short.csv"
    path.write_text("arm,seed,accuracy\nfull,1\n")
    with pytest.raises(UserError, match="a cell for each column: got row 2"):
        import_ledger(path, tmp_path, LedgerChoice())
    path.write_text("arm,seed,loss,accuracy\n" + "".join(
        f"full,{seed},{loss},0.5\n" for seed in (1, 2) for loss in "ab"))  # fmt: skip
    with pytest.raises(UserError, match="a tag is one of E"):
        import_ledger(path, tmp_path, LedgerChoice(tags={"loss": "X"}))
