"""Verdicts on the claims about frozen embeddings, from published numbers."""

import json

import pytest

from leadline.cli import main
from leadline.papers.frozen_embeddings import claims


@pytest.fixture(scope="module")
def verdicts():
    return {each.id: each for each in claims.judged()}


def test_the_numbers_are_all_there():
    assert len(claims.rows()) == 244
    assert claims.number("scGPT human", "avg_bio") == 0.496057
    with pytest.raises(AssertionError):
        # Read off a figure: it must not judge anything.
        claims.number("HVG 2000", "avg_bio", "Pancreas (16k)")


def test_each_claim_has_the_verdict_that_its_numbers_allow(verdicts):
    found = {name: each.verdict for name, each in verdicts.items()}
    assert found == {
        "K01": "not_run", "K02": "holds", "K03": "holds", "K04": "holds", "K05": "fails",
        "K06": "holds", "K07": "not_run", "K08": "fragile", "K09": "not_run", "K10": "not_run",
        "K11": "not_run",
    }  # fmt: skip
    assert "0.146; chance is 0.167" in verdicts["K03"].reason
    assert "(50² − 1)/12 = 208.25" in verdicts["K06"].reason and "202.45" in verdicts["K06"].reason
    assert "(+0.7%)" in verdicts["K05"].reason
    for each in verdicts.values():
        assert each.verdict != "not_run" or "Decided" in each.reason or each.discrepancies


def test_a_verdict_follows_the_number(monkeypatch):
    monkeypatch.setattr(claims, "CHANCE", 0.1)
    assert claims.geneformer_below_noise().verdict == "fails"
    assert claims.average_is_a_mean().verdict == "holds"


def test_the_command_prints_and_writes_them(tmp_path, capsys):
    assert main(["reproduce", "kedzierska", "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "K03  holds" in said and "4 holds, 1 fragile, 1 fails, 5 not_run" in said
    assert main(["reproduce", "kedzierska", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "out" / "claims.json").read_text())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "claims.csv", "claims.md", "claims.json", "tables.html",
    }  # fmt: skip


def test_what_cannot_be_judged_is_said(capsys):
    assert main(["reproduce", "kedzierska", "--source", "runs"]) == 2
    assert "claims of kedzierska are judged by published numbers" in capsys.readouterr().err
    assert main(["reproduce", "kedzirska"]) == 2
    assert "a paper must be one of boiarsky, kedzierska" in capsys.readouterr().err
