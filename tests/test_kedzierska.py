"""Claims about frozen embeddings: judged by what was printed, not by what was read off a figure."""

import json

import pytest

from leadline.cli import main
from leadline.papers.pack import read_pack
from leadline.report.compare.arms import Condition
from leadline.stats.embedding_metrics import avg_bio
from leadline.stats.reconstruction import uniform_floor


@pytest.fixture(scope="module")
def pack():
    return read_pack("kedzierska")


def number(pack, model, arm, metric, dataset="pancreas_scib_1000"):
    (row,) = pack.evidence().rows(Condition(dataset, model, arm, 1.0, metric, "notebooks"))
    return row["value"]


def limits(pack, claim):
    checks = next(each for each in pack.claims.claims if each.id == claim).checks
    return [check.limits[check.metrics[0]] for check in checks]


def test_numbers_that_follow_from_definitions_are_those_of_our_functions(pack):
    # What knows nothing: NMI and ARI about 0, and a silhouette of 0, which counts .5.
    assert number(pack, "floor", "chance", "avg_bio") == avg_bio(0.0, 0.0, 0.5)
    for (low, high), model in zip(limits(pack, "K10"), ("scgpt", "geneformer"), strict=True):
        parts = ("nmi_oracle", "ari_at_nmi_oracle", "asw_label")
        mean = avg_bio(*(number(pack, model, "zero_shot", part) for part in parts))
        assert (low, high) == pytest.approx((mean - 1e-5, mean + 1e-5), abs=1e-6)
    ((low, high),) = limits(pack, "K11")
    floor = uniform_floor(51)
    assert (low, high) == pytest.approx((0.95 * floor, 1.05 * floor))


def test_what_was_read_off_a_figure_judges_nothing(capsys):
    assert main(["reproduce", "kedzierska", "--json"]) == 0
    told = {each["id"]: each for each in json.loads(capsys.readouterr().out)["claims"]}
    for name in ("K01", "K02", "K03", "K04", "K16"):
        assert told[name]["verdict"] == "not_run" and "of unknown precision" in told[name]["reason"]
    assert told["K09"]["verdict"] == "holds" and told["K05"]["verdict"] == "fails"


def test_both_ways_of_naming_a_paper_say_the_same(tmp_path, capsys):
    said = []
    for words in (["kedzierska"], ["--paper", "kedzierska"]):
        assert main(["reproduce", *words, "--out", str(tmp_path / words[0].strip("-"))]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] and "5 hold, 0 are fragile, 2 fail, 9 were not run" in said[0]
    assert main(["reproduce", "kedzirska"]) == 2
    assert "did you mean kedzierska" in capsys.readouterr().err
