"""Every study that leadline brings along: each of its runs is a valid configuration."""

import pytest

from leadline.cli import main
from leadline.config.compose import compose_many
from leadline.config.shipped import studies
from leadline.errors import UserError
from leadline.studies import expand, name_runs, read
from leadline.studies.expand import placed
from leadline.studies.overrides import to_overrides

# What the spec says of the number of runs: arms x fractions x seeds x datasets.
RUNS = {
    "fig2_fewshot_pbmc": 15 + 10 + 4 * 3,
    "fig3_fewshot_scgpt": 2 * 3 * 5 * 10,
    "fig4_batch_size": 4 * 3,
    "fig5_seeds": 10,
    "kedzierska": 4,
    # Each run in 5 folds.
    # Universes of a fraction, a budget, and of one switch at a time; two arms, five seeds.
    "multiverse_fewshot": 16 * 2 * 5,
    "multiverse_gene2vec": 24 * 2 * 5,
    "multiverse_logreg": 25 * 2 * 5,
    "multiverse_pretraining": 20 * 2 * 5,
    "own_data": 9 * 2 * 5 * 5,
    # Two heads; of each of three networks with random weights three seeds.
    "perturbation": 2 * (2 + 3 * (3 + 1)),
    "quickstart": 8 * 2 * 3,
    "s4_scgpt": 2 * 3 * 10,
    "s5_scgpt_no_pretraining": 3 * 3 * 10,
    # Five shares of the corpus and no pretraining.
    "saturation": 6 * 10,
    "table1_pbmc": 10 + 10,
    "table2_scbert": 3 * 10,
    "table3_masking": 2,
    # A ladder of five steps, and two networks with random weights, weights, and the bag of genes.
    "zero_shot": (5 + 1 + 10 + 1 + 1) + 2 * (5 + 1 + 1),
}
# Studies of anybody's cells.
OWN = ("own_data", "zero_shot", "kedzierska", "perturbation")
# On the embedded cells.
HERE = ("quickstart", *(name for name in RUNS if name.startswith("multiverse_")))
TEN_SEEDS = {0, 1000, 2000, 3000, 4000, 5000, 10000, 2021, 2022, 2023}


@pytest.fixture
def own_words(request):
    from leadline.studies import schema

    embedded = (
        schema.Path(schema.__file__).parents[1] / "data/datasets/embedded" / "pbmc68k_reduced.h5ad"
    )
    return [f"data.path={embedded}", "data.label=bulk_labels"]


def planned(name, own_words):
    return expand(read(name), own_words if name in OWN else [])


def test_the_studies_are_those_of_the_issue():
    assert studies() == sorted(RUNS)


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_run_is_a_valid_configuration(name, own_words):
    plan = planned(name, own_words)
    assert len(plan.runs) == RUNS[name]
    ids = dict.fromkeys(plan.pretraining, "scbert-pretrain-x-f1-s1-0123456789ab")
    wishes = [placed(wish, ids) for wish in [*plan.pretraining.values(), *plan.runs]]
    configs = compose_many([to_overrides(wish.settings) for wish in wishes])
    assert len(configs) == RUNS[name] + len(plan.pretraining)


@pytest.mark.parametrize("name", sorted(set(RUNS) - {*HERE, *OWN}))
def test_without_its_data_a_study_of_the_paper_says_what_is_missing(name, capsys):
    assert main(["plan", name, "seed=1"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "needs" in told


def test_the_paper_s_studies_are_those_of_the_protocol():
    table1 = expand(read("table1_pbmc"))
    for plan in (table1, expand(read("table2_scbert")), expand(read("fig5_seeds"))):
        for arm in set(plan.study.arms) - {"logreg"}:
            assert {run.settings["seed"] for run in plan.runs if run.arm == arm} == TEN_SEEDS
    (config,) = compose_many([to_overrides(table1.runs[0].settings)])
    train, model = config.train, config.model
    assert (train.epochs, train.batch_size, train.lr, train.clip) == (10, 32, 1e-4, 1e6)
    assert (train.schedule, train.freeze, train.optimiser) == (
        "scbert_cosine_restarts",
        "paper",
        "adam",
    )
    assert (model.pretrained, model.gene2vec, config.protocol.name) == (
        "published",
        "published",
        "paper_code",
    )
    fig3 = expand(read("fig3_fewshot_scgpt"))
    (config,) = compose_many([to_overrides(fig3.runs[0].settings)])
    assert (config.train.epochs, config.train.amp, config.train.eps) == (20, "fp16", 1e-4)
    s5 = expand(read("s5_scgpt_no_pretraining"))
    assert {run.arm: run.settings.get("train.epochs") for run in s5.runs} == {
        "reference": None,
        "no_pretraining": 30,
        "no_pretraining_frozen": 30,
    }


def test_full_labels_of_figure_3_are_the_runs_of_supplementary_table_4():
    def at_full(name):
        runs = [run for run in expand(read(name)).runs if run.settings["seed"] in (1, 2)]
        configs = compose_many([to_overrides(run.settings) for run in runs])
        return [config for config in configs if config.data.fraction == 1.0]

    figure = at_full("fig3_fewshot_scgpt")
    assert all(config in figure for config in at_full("s4_scgpt"))


@pytest.mark.parametrize("name", ["own_data", "zero_shot"])
def test_studies_of_own_cells_ask_for_the_file(name):
    with pytest.raises(UserError, match="data=h5ad needs a file: got no data.path"):
        expand(read(name))


def test_own_data_chooses_by_size(own_words):
    plan = expand(read("own_data"), own_words)
    scbert = next(run for run in plan.runs if run.arm == "scbert")
    assert scbert.settings["model.size"] == "tiny" and scbert.settings["train.epochs"] == 20
    assert plan.pretraining["scbert of fold 1"].settings["model.size"] == "tiny"


def test_quickstart_can_be_planned_at_once(tmp_path):
    runs = name_runs(expand(read("quickstart"), [f"runs_dir={tmp_path}"]))
    assert len(runs) == 48 + 3 and not any(run.problem for run in runs)
