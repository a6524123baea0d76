"""`leadline reproduce --multiverse`: published runs under every analysis, and counts of flips."""

import argparse
import json

import pytest

from leadline.cli.parser import add_reproduce
from leadline.errors import UserError
from leadline.papers.boiarsky import multiverse
from leadline.papers.reproduce import reproduce


def family(name):
    return next(each for each in multiverse.analysed() if each.family == name)


def p_of(name, label, **choices):
    found = family(name)
    at = [each.label for each in found.comparisons].index(label)
    return found.p[list(found.analyses).index({**multiverse.PAPER, **choices})][at]


def test_counts_of_few_shot_verdicts_are_those_of_the_specification():
    few = family("few_shot")
    assert len(few.comparisons) == 8
    assert few.significant() == 6
    assert few.significant(test="welch", correction="holm") == 3
    assert few.significant(pairs="yes", seeds="shared", correction="holm") == 0
    # Three against three can say .1 at the least, three pairs .25.
    assert few.significant(test="permutation") == 0


@pytest.mark.parametrize(
    ("metric", "student", "welch", "paired", "welch_holm"),
    [("accuracy", 0.003621, 0.0067, 0.025, 0.020), ("macro-F1", 0.000861, 0.0024, 0.0125, 0.010)],
)
def test_no_gene2vec_has_the_p_of_the_specification(metric, student, welch, paired, welch_holm):
    label = f"scbert/reference less scbert/no_gene2vec, {metric}"
    assert p_of("ablations", label) == pytest.approx(student, abs=5e-7)
    assert p_of("ablations", label, test="welch") == pytest.approx(welch, abs=5e-5)
    pairs = {"pairs": "yes", "seeds": "shared"}
    assert p_of("ablations", label, **pairs) == pytest.approx(paired, abs=5e-4)
    holm = p_of("ablations", label, test="welch", correction="holm")
    assert holm == pytest.approx(welch_holm, abs=5e-4)


def test_pairing_with_holm_flips_accuracy_without_gene2vec():
    label = "scbert/reference less scbert/no_gene2vec, accuracy"
    p = p_of("ablations", label, pairs="yes", seeds="shared", correction="holm")
    assert p == pytest.approx(0.074, abs=5e-4)


def test_variances_over_n_shorten_the_interval_by_five_percent_for_ten_runs():
    label = "scbert/reference less scbert/no_pretraining, accuracy"
    assert p_of("ablations", label, ddof="0") < p_of("ablations", label)


def test_every_impossible_analysis_is_left_out():
    made = multiverse.analyses()
    assert {"test": "welch", "pairs": "yes"}.items() <= {}.items() or not any(
        each["test"] == "welch" and each["pairs"] == "yes" for each in made
    )
    assert len(made) == len({tuple(each.items()) for each in made})


def arguments(*words):
    parser = argparse.ArgumentParser()
    add_reproduce(parser)
    return parser.parse_args(["--multiverse", *words])


def test_the_page_is_written_and_equal_each_time(tmp_path, capsys):
    assert reproduce(arguments("--out", str(tmp_path / "a"))) == 0
    said = capsys.readouterr().out
    assert "no effect can be shown by 3 seeds: the least p that they can give is 0.25" in said
    assert "few_shot: 192 universes of 8 trainings" in said and "one vote a training" in said
    assert reproduce(arguments("--out", str(tmp_path / "b"))) == 0
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / x).rglob("*.*")} for x in "ab")
    assert first == second and {"index.html", "multiverse_flips.csv"} <= set(first)
    assert sum(name.endswith(".svg") for name in first) == 6
    capsys.readouterr()


def test_json_has_every_table(capsys):
    reproduce(arguments("--json"))
    said = json.loads(capsys.readouterr().out)
    flips = {row["comparison"]: row["flips"] for row in said["multiverse_flips"]}
    assert flips["scbert/reference less scbert/no_gene2vec, accuracy"] == 2


@pytest.mark.parametrize("words", [("--source", "runs"), ("kedzierska",)])
def test_other_numbers_are_refused(words):
    with pytest.raises(UserError, match="--multiverse analyses the published runs of Boiarsky"):
        reproduce(arguments(*words))
