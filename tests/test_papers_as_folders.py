"""Papers as folders: three that ship, a fourth that needs no code, and numbers beside ours."""

# ruff: noqa: E501  the files of a paper have long lines

import contextlib
import functools
import io
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from leadline import cli
from leadline.errors import UserError
from leadline.papers import boiarsky
from leadline.papers.pack import FILES, PRINTED_NUMBERS, SHIPPED, _frame, find_pack, read_pack
from records import write_run


def reproduce(capsys, *words):
    code = cli.main(["reproduce", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


@functools.cache
def judged(name):
    """What --json says of a shipped paper, once."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        assert cli.main(["reproduce", *(["--paper", name] if name else []), "--json"]) == 0
    return json.loads(said.getvalue())


@pytest.mark.parametrize("name", SHIPPED)
def test_each_paper_that_ships_is_judged_by_the_one_engine(name):
    found = judged(name)
    assert found["paper"]["licence"] and found["paper"]["source"]
    assert found["waiting"] == 0
    for table in found["numbers"].values():
        assert table, "a table without a number"
        for row in table:
            assert row["published"] is not None and row["reason"]
            assert {"published", "ours", "difference", "reason"} <= set(row)


def test_the_folder_of_boiarsky_has_the_numbers_of_the_notebooks():
    pack = read_pack("boiarsky")
    for name, frame, numbers in (
        ("numbers.csv", boiarsky.runs(), ()),
        ("aggregates.csv", boiarsky.aggregates(), PRINTED_NUMBERS),
    ):
        read = _frame(pack.folder / name, numbers)
        pd.testing.assert_frame_equal(
            read[list(frame.columns)], frame, check_dtype=False, check_exact=True
        )


def test_both_ways_to_boiarsky_give_the_same_verdicts():
    assert judged("boiarsky")["claims"] == judged("")["claims"]
    assert judged("boiarsky")["discrepancies"] == judged("")["discrepancies"]


@pytest.mark.parametrize(
    ("name", "verdicts"),
    [
        ("kedzierska", {f"K{n:02}": "not_run" for n in (1, 2, 3, 4, 7, 13, 14, 15, 16)}
         | {f"K{n:02}": "holds" for n in (6, 8, 9, 10, 11)} | {"K05": "fails", "K12": "fails"}),
        ("perturbation", {"P01": "holds", "P02": "holds", "P03": "fails", "P04": "fragile",
                          "P05": "fails", "P06": "fails", "P07": "holds", "P08": "not_run"}),
    ],
)  # fmt: skip
def test_verdicts_of_the_other_papers(name, verdicts):
    found = {each["id"]: each["verdict"] for each in judged(name)["claims"]}
    assert verdicts.items() <= found.items()


def test_open_claims_say_what_run_would_decide_them():
    open_ = [each for each in judged("boiarsky")["claims"] if each["verdict"] == "not_run"]
    assert {"C27", "C32", "C33", "C34"} <= {each["id"] for each in open_}
    assert all(each["reason"].startswith("decided by ") for each in open_)


NUMBERS = "dataset,model,arm,metric,value,seed\n" + "".join(
    f"lung,{model},{arm},accuracy,{value + seed / 100},{seed}\n"
    for model, arm, value in (("scbert", "reference", 0.7), ("logreg", "logreg", 0.8))
    for seed in (1, 2, 3, 4)
)
CLAIM = """
- id: X1
  status: {status}
  statement: Logistic regression is better than scBERT on lung.
  artefact: Table 1
  checks: [{{criterion: below, a: scbert/reference, b: logreg/logreg, datasets: [lung], metrics: [accuracy]}}]
  source: {{path: "paragraph[1]", start: 0, end: 3, quote: abc}}
"""
TABLES = """
tables:
- {name: scores, title: Scores, datasets: [lung], arms: [scbert/reference, logreg/logreg], metrics: [accuracy], reason: other cells}
"""


@pytest.fixture
def fourth(tmp_path):
    """A paper of a user: four files, no code."""
    folder = tmp_path / "fourth"
    folder.mkdir()
    (folder / "paper.yaml").write_text("{what: A fourth paper, licence: ours, source: typed}\n")
    (folder / "numbers.csv").write_text(NUMBERS)
    (folder / "claims.yaml").write_text(f"claims:{CLAIM.format(status='approved')}")
    (folder / "tables.yaml").write_text(TABLES)
    return folder


def test_a_fourth_paper_needs_no_code(fourth, capsys, tmp_path):
    code, out, _ = reproduce(capsys, "--paper", fourth, "--out", tmp_path / "page")
    assert code == 0 and re.search(r"X1\s+holds", out)
    page = (tmp_path / "page/index.html").read_text()
    assert "A fourth paper, claim by claim" in page and "Other cells." in page
    assert {"claims.json", "scores.csv", "scores.md", "scores.tex", "claims.csv"} <= {
        path.name for path in (tmp_path / "page").iterdir()
    }


def test_drafts_are_not_judged_until_approved(fourth, capsys):
    (fourth / "claims.yaml").write_text(f"claims:{CLAIM.format(status='draft')}")
    code, out, err = reproduce(capsys, "--paper", fourth)
    assert code == 0 and "X1" not in out and "0 claims:" in out
    assert "1 claims wait for approval and are not judged" in err


def test_our_runs_stand_beside_the_published_numbers(fourth, capsys, tmp_path):
    for seed in (1, 2, 3):
        write_run(tmp_path / "runs", seed=seed, accuracy=0.72, dataset="lung")
    words = ("--paper", fourth, "--source", "runs", "--runs", tmp_path / "runs")
    code, out, _ = reproduce(capsys, *words, "--json")
    scbert, logreg = json.loads(out)["numbers"]["scores"]
    assert code == 0 and scbert["ours"] == pytest.approx(0.72)
    assert scbert["difference"] == pytest.approx(0.72 - 0.725)
    assert "3 runs of ours, 4 published; other cells" in scbert["reason"]
    assert logreg["ours"] is None and logreg["reason"].startswith("no runs: lung logreg/logreg")
    assert "2 published numbers, 1 with ours" in reproduce(capsys, *words)[1]


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("numbers.csv", "a,b\n1,2\n", "numbers.csv must have the columns dataset, model, arm"),
        ("numbers.csv", NUMBERS.replace("0.71,1", "high,1"), "numbers.csv, line 2: value must be a number"),
        ("paper.yaml", "{what: x}", "fourth/paper.yaml must say licence"),
        ("tables.yaml", "{tables: [{name: x}]}", "must say title"),
        ("claims.yaml", "3", "claims.yaml must have a list of claims"),
        ("claims.yaml", f"claims:{CLAIM.format(status='approved') * 2}", "ids in fourth/claims.yaml must differ"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_place(fourth, file, content, said):
    (fourth / file).write_text(content)
    with pytest.raises(UserError, match=re.escape(said)):
        read_pack(str(fourth)).evidence()


def test_a_paper_must_be_there_and_whole(fourth):
    with pytest.raises(UserError, match="did you mean boiarsky"):
        find_pack("boiarski")
    (fourth / "tables.yaml").unlink()
    with pytest.raises(UserError, match=r"must have .*: got no tables.yaml"):
        find_pack(str(fourth))


def test_every_shipped_folder_is_whole_and_no_folder_but_the_first_has_code():
    for name in SHIPPED:
        folder = find_pack(name)
        assert all((folder / each).is_file() for each in FILES)
        code = [path.name for path in folder.glob("*.py")]
        assert not code or name == "boiarsky"


def test_a_copied_folder_is_judged_like_the_shipped_one(tmp_path, capsys):
    shutil.copytree(find_pack("kedzierska"), tmp_path / "copy")
    shipped = json.loads(reproduce(capsys, "--paper", "kedzierska", "--json")[1])
    copied = json.loads(reproduce(capsys, "--paper", Path(tmp_path / "copy"), "--json")[1])
    assert shipped["claims"] == copied["claims"] and shipped["numbers"] == copied["numbers"]
