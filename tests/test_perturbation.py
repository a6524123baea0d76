"""task=perturbation: planted knock-outs found, floors, ceilings, traps, the page of a study."""

import numpy as np
import pandas as pd
import pytest

from leadline.cli import main
from leadline.config.compose import compose
from leadline.data.cells import Cells, Scale
from leadline.data.datasets.synthetic.knockouts import planted_screen, write_planted
from leadline.data.perturbations import normalise_log1p, responses
from leadline.errors import UserError
from leadline.models.gene_regression import cross_predict
from leadline.report.write import write_report
from leadline.runs import record
from leadline.runs.run import run
from leadline.runs.tasks import perturbation as task
from leadline.stats import metrics
from leadline.stats.perturbation_floors import FLOOR_TITLES, training_means
from leadline.stats.perturbation_metrics import mean_score, score
from leadline.stats.perturbation_skill import skill_of

FAST = [f"task_settings.{word}" for word in ("draws=2", "splits=4", "repeats=2")]
TINY = ["model.size=tiny"]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    screen = planted_screen(
        perturbations=70, genes=80, cells=24, control_cells=200, doubles=6, coexpression=0.3
    )
    return write_planted(folder, screen)


@pytest.fixture(scope="module")
def words(planted, tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    told = [f"data.path={planted[0]}", "data.label=perturbation", "data.batch=batch", "data=h5ad"]
    return ["task=perturbation", *FAST, *told, f"runs_dir={runs}"]


def knowing(planted):
    return ["model=gene_vectors", f"model.vectors={planted[1]}"]


def told(folder):
    return record.read_facts(folder)


def written(path, counts, word, genes=None, batch=None, dtype=np.uint16):
    from scipy import sparse

    from leadline.data.cells.write import H5adWriter

    genes = [f"G{at:04d}" for at in range(counts.shape[1])] if genes is None else genes
    obs = {"perturbation": word} | ({} if batch is None else {"batch": batch})
    with H5adWriter(path, genes, dtype=dtype) as writer:
        writer.append(sparse.csr_array(counts.astype(np.float32)), obs=obs)
    return path


def test_every_score_is_that_of_the_predictions_in_the_record(words, planted):
    folder = run(compose([*words, *knowing(planted)]))
    assert record.state(folder) is record.State.DONE and not record.verify(folder)
    facts = told(folder)
    found, place = facts["metrics"]["test"], facts["fit"]["perturbation"]
    with np.load(folder / task.PREDICTIONS) as stored:
        kept = {name: stored[name] for name in stored.files}
    assert kept["predicted"].dtype == kept["response"].dtype == np.float32
    y, p, w = (kept[name].astype(float) for name in ("response", "predicted", "weights"))
    again = score(y, p, training_means(y, kept["fold"]), weights=w, target=kept["target"])
    for name, values in again.items():
        assert mean_score(name, values) == pytest.approx(found[name], abs=1e-12), name
    assert set(found) <= set(metrics.ROWS)
    with np.load(folder / task.SCORES) as scores:
        assert np.array_equal(scores["model_l2"], again["l2"])
        assert scores["ceiling_halves"].shape == scores["fold"].shape == (76,)
        assert len(scores["draws_random"]) == 2 and len(scores["draws_shuffled"]) == 2
    # The law is planted: vectors that hold it are far above the floors, those are where they are.
    assert found["skill"] > 0.4 and found["coverage"] == 1
    floors = {name: each["l2"] for name, each in place["floors"].items()}
    assert set(floors) == set(FLOOR_TITLES) - {"shuffled"}
    assert floors["idealised"] < floors["train_mean"] < floors["random"]
    assert found["l2"] < floors["pca_control"]
    assert all(row["has_vote"] for row in place["calibration"].values() if row)
    ceilings = place["ceilings"]
    assert ceilings["bootstrap_median"] < ceilings["published_limit"]
    assert len(place["l2_of_repeats"]) == 2
    # No gene of the record is in two folds, and doubles are told by what was seen.
    doubles = {row["seen"]: row for row in place["doubles_seen"]}
    assert sum(row["perturbations"] for row in doubles.values()) == 6
    assert doubles[2]["additive"] < doubles[2]["train_mean"]
    assert folder.name == run(compose([*words, *knowing(planted)])).name


@pytest.mark.parametrize(
    "model",
    [
        ["model=pca", "model.components=128"],
        ["model=noise", "model.width=16"],
        ["model=gene2vec", "model.width=16"],
        ["model=scgpt", *TINY],
        ["model=scgpt", *TINY, "task_settings.vectors=table"],
        ["model=scbert", *TINY, "model.gene2vec=random"],
        ["model=scbert", *TINY, "model.gene2vec=random", "task_settings.vectors=table"],
    ],
)
def test_every_kind_of_vectors_gives_a_record_that_comes_back_bit_by_bit(words, tmp_path, model):
    folder = run(compose([*words, *model]))
    again = run(compose([*words[:-1], *model, f"runs_dir={tmp_path}"]))
    assert folder.name == again.name
    assert (folder / task.PREDICTIONS).read_bytes() == (again / task.PREDICTIONS).read_bytes()
    facts = told(folder)
    assert facts["metrics"]["test"]["coverage"] == 1
    assert facts["fit"].get("parameters_trainable") in (0, facts["fit"]["parameters_total"])
    if model[0] == "model=scgpt":
        other = run(compose([*words, *model, "seed=2"]))
        assert told(other)["metrics"] != facts["metrics"]


@pytest.mark.parametrize("head", ["knn", "lasso"])
def test_a_planted_law_is_found_and_chance_is_not(head):
    rng = np.random.default_rng(4)
    vectors = rng.normal(size=(200, 3))
    law = vectors @ rng.normal(size=(3, 60)) * 0.5
    y = law + rng.normal(size=law.shape) * 0.4
    fold = np.arange(200) % 5
    ceiling, floor = (np.linalg.norm(y - p, axis=1) for p in (law, training_means(y, fold)))
    found = {}
    for name, known in (("law", vectors), ("chance", rng.normal(size=(200, 3)))):
        grid = [5, 10, 20] if head == "knn" else [1e-3, 1e-2, 0.1, 1.0]
        predicted = cross_predict(known, y, fold, head=head, grid=grid).predictions_PG
        found[name] = skill_of(floor, np.linalg.norm(y - predicted, axis=1), ceiling)
    assert found["law"].low > 0.5 and found["law"].value < 1
    assert found["chance"].value < 0.01 and found["chance"].low <= 0


def test_two_records_are_compared_listed_and_shown_by_their_scores(words, planted, capsys):
    folders = [run(compose([*words, *model])) for model in (["model=pca"], knowing(planted))]
    capsys.readouterr()
    assert main(["compare", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    assert "l2" in said and "neither run named cells" in said
    assert main(["show", str(folders[0])]) == 0
    assert "discrimination" in capsys.readouterr().out
    assert (
        main(["predict", "--run", str(folders[0]), "--cells", str(planted[0]), "--out", "x"]) == 2
    )
    assert "predict needs a run that learnt labels" in capsys.readouterr().err
    assert main(["run", "model=gene_vectors", f"model.vectors={planted[1]}"]) == 2
    assert "gives genes vectors and names none" in capsys.readouterr().err


def test_outputs_tables_and_shuffled_vectors_are_different_arms(words, planted):
    model = ["model=scgpt", *TINY]
    outputs, table = (
        told(run(compose([*words, *model, f"task_settings.vectors={kind}"])))["metrics"]["test"]
        for kind in ("outputs", "table")
    )
    assert outputs["l2"] != table["l2"]
    mixed = run(compose([*words, *knowing(planted), "task_settings.shuffled=true"]))
    assert told(mixed)["metrics"]["test"]["skill"] < 0.1


def test_lasso_on_noise_is_the_train_mean_bitwise(words, tmp_path):
    noise = [*words, "model=noise", "model.width=8", "task_settings.head=lasso"]
    folder = run(compose([*noise, "task_settings.grid=[10.0]"]))
    with np.load(folder / task.PREDICTIONS) as stored:
        y = stored["response"].astype(float)
        mean = training_means(y, stored["fold"]).astype(np.float32)
        assert np.array_equal(stored["predicted"], mean)
    assert told(folder)["metrics"]["test"]["skill"] == pytest.approx(0, abs=1e-6)


def test_traps_are_said(tmp_path, capsys):
    rng = np.random.default_rng(0)
    genes = [f"G{at:04d}" for at in range(30)]
    genes[0], genes[1] = "MAP3K21", "C19orf26"
    names = [
        *genes[2:22],
        "MAP3K21",
        "KIAA1804",
        "G0003_sg1",
        "G0003_sg2",
        "C19orf26",
        "G0004_G0005",
        "lone",
    ]
    word = np.repeat([*names, "non-targeting", "strange"], [12] * 26 + [1, 60, 12])
    batch = np.where(np.arange(len(word)) % 2, "a", "b")
    batch[word == "strange"] = "c"
    counts = rng.poisson(5.0, (len(word), 30)) + 1
    path = written(tmp_path / "cells.h5ad", counts, word, genes, batch)
    np.savez(tmp_path / "v.npz", genes=genes[:18], vectors=rng.normal(size=(18, 4)))
    asked = ["task=perturbation", "data=h5ad", f"data.path={path}", "data.label=perturbation",
             *FAST, f"runs_dir={tmp_path / 'runs'}", "data.batch=batch", "model=gene_vectors",
             f"model.vectors={tmp_path / 'v.npz'}"]  # fmt: skip
    folder = run(compose(asked))
    said = "\n".join(told(folder)["warnings"])
    assert "KIAA1804, MAP3K21 are one perturbation" in said
    assert "G0003, G0003_sg1, G0003_sg2 are one perturbation" in said
    assert "1 perturbations have fewer than 10 cells and are left out: lone" in said
    assert "no control cell in any of their batches and are left out: strange" in said
    assert "1 names look like combinations (G0004_G0005)" in said
    assert "no vector: " in said and "predicted by the training mean" in said
    assert "PCA has 4 components instead of 100" in said
    facts = told(folder)["fit"]["perturbation"]
    assert facts["control"] == "non-targeting" and facts["left_out"] == 2
    with np.load(folder / task.PREDICTIONS) as stored:
        names = stored["perturbations"].tolist()
        assert "KIAA1804" not in names and "CBARP" in names and "C19orf26" not in names
        # The genes of the file have the old symbol, and so have the vectors.
        assert stored["has_vector"][names.index("CBARP")]
        assert stored["target"][names.index("CBARP")] == 1
        rest = np.flatnonzero(~stored["has_vector"])
        mean = training_means(stored["response"].astype(float), stored["fold"])
        np.testing.assert_allclose(stored["predicted"][rest], mean[rest], atol=1e-6)
    # Nothing is planted: the metrics cannot tell a duplicate from the mean, and there is no skill.
    assert "have no vote" in said and "no skill" in said
    assert "skill" not in told(folder)["metrics"]["test"]


def test_counts_and_logarithms_give_one_answer_and_less_genes_another(planted, words, tmp_path):
    from leadline.data.cells import read_cells

    cells = read_cells(planted[0], name="x", label="perturbation", batch="batch")
    lognorm = np.asarray(normalise_log1p(cells.matrix_CG).todense())
    word = np.array(cells.classes)[cells.labels_C]
    path = written(tmp_path / "log.h5ad", lognorm, word, cells.genes, cells.batch_C, np.float32)
    logs = [word for word in words if not word.startswith("data.path")] + [f"data.path={path}"]
    same, plain = (
        told(run(compose([*asked, *knowing(planted)])))["metrics"]["test"]
        for asked in (logs, words)
    )
    assert same["l2"] == pytest.approx(plain["l2"], abs=1e-5)
    fewer = run(compose([*words, *knowing(planted), "task_settings.genes=40"]))
    assert told(fewer)["fit"]["perturbation"]["response_genes"] == 40


def test_cells_given_twice_do_not_change_responses():
    screen = planted_screen(perturbations=12, genes=20, cells=12, control_cells=40)
    x = np.asarray(normalise_log1p(screen.counts_CG).todense())
    once = responses(x, screen.perturbation_C, screen.batch_C)
    twice = responses(
        np.vstack([x, x]), np.tile(screen.perturbation_C, 2), np.tile(screen.batch_C, 2)
    )
    np.testing.assert_allclose(twice.delta_PG, once.delta_PG, atol=1e-12)


def test_a_perfect_prediction_reaches_the_ceiling():
    from leadline.stats.perturbation_floors import split_halves

    rng = np.random.default_rng(3)
    effect = rng.normal(size=(40, 50))
    word = np.repeat([f"P{at:02d}" for at in range(40)], 30)
    cells = np.repeat(effect, 30, axis=0) + rng.normal(size=(1200, 50)) * 2
    y = cells.reshape(40, 30, 50).mean(axis=1)
    halves = split_halves(cells, word, perturbations=sorted(set(word)), seed=1)
    of_law = np.linalg.norm(y - effect, axis=1)
    floor = np.linalg.norm(y - y.mean(axis=0), axis=1)
    ceiling = halves.l2_SP.mean(axis=0)
    error = (of_law - ceiling).std(ddof=1) / np.sqrt(40)
    assert abs((of_law - ceiling).mean()) < 2 * error
    found = skill_of(floor, of_law, ceiling, splits_S=halves.l2_SP.mean(axis=1))
    assert found.low < 1 < found.high and found.value == pytest.approx(1, abs=0.05)
    assert not skill_of(ceiling + 1e-3 * rng.normal(size=40), of_law, ceiling).exists


BROKEN = [
    (["model=logreg"], "needs a model that gives genes vectors: got model=logreg"),
    (["model=pca", "data.label=null"], "what was done to each cell: got no data.label"),
    (["model=pca", "data.variable_genes=50"], "all genes of all cells: got data.variable_genes=50"),
    (["model=pca", "data.fraction=0.5"], "all genes of all cells: got data.fraction=0.5"),
    (["model=gene_vectors"], "needs a file: got no model.vectors"),
    (["model=gene_vectors", "model.vectors=no.npz"], "a run's id or a file: got 'no.npz'"),
    (["model=pca", "task_settings.head=ridge"], "task_settings.head must be one of knn, lasso"),
    (["model=pca", "task_settings.grid=[2.5]"], "holds whole numbers of neighbours: got 2.5"),
    (["model=pca", "task_settings.control=none"], "Some cells are controls: got no cell called"),
    (["model=pca", "data.label=batch"], "One value of data.label names control cells: got none"),
    (["model=pca", "task_settings.min_cells=900"], "10 perturbations with 900 cells.*got 0 of 76"),
]


@pytest.mark.parametrize(("more", "message"), BROKEN)
def test_what_does_not_go_together_is_said(words, tmp_path, more, message):
    replaced = {word.partition("=")[0] for word in more}
    asked = [word for word in words[:-1] if word.partition("=")[0] not in replaced]
    with pytest.raises(UserError, match=message):
        run(compose([*asked, *more, f"runs_dir={tmp_path}"]))


def test_vectors_of_files_are_checked(words, tmp_path, planted):
    def ask(path, *more):
        model = ["model=gene_vectors", f"model.vectors={path}", *more]
        return run(compose([*words[:-1], *model, f"runs_dir={tmp_path / 'runs'}"]))

    names = [f"G{at:04d}" for at in range(80)]
    table = np.random.default_rng(0).normal(size=(80, 6))
    np.save(tmp_path / "v.npy", table)
    with pytest.raises(UserError, match="needs the names of its genes: got v.npy without any"):
        ask(tmp_path / "v.npy")
    (tmp_path / "names.txt").write_text("\n".join(names))
    folder = ask(tmp_path / "v.npy", f"model.genes={tmp_path / 'names.txt'}")
    # The name of a run holds what is in the file, not where it lies.
    (tmp_path / "moved").mkdir()
    (tmp_path / "v.npy").rename(tmp_path / "moved" / "w.npy")
    again = ask(tmp_path / "moved" / "w.npy", f"model.genes={tmp_path / 'names.txt'}")
    assert folder == again
    for arrays, message in (
        ({"names": names, "vectors": table}, "got an .npz with names, vectors"),
        ({"genes": names[:-1], "vectors": table}, r"got shape \(80, 6\) of float64 for 79 names"),
        ({"genes": [*names[:-1], "G0000"], "vectors": table}, "got G0000 more than once"),
        ({"genes": [f"X{n}" for n in names], "vectors": table}, "got none of 76; the vectors are"),
    ):
        np.savez(tmp_path / "bad.npz", **arrays)
        with pytest.raises(UserError, match=message):
            ask(tmp_path / "bad.npz")


STUDY = """
question: Do vectors know it?
base: {{data: h5ad, data.path: {cells}, data.label: perturbation, data.batch: batch,
       protocol: corrected, task: perturbation}}
reference: pca_control
grid: {{seed: [1]}}
arms:
  pca_control: {{model: pca, model.components: 128}}
  knows: {{model: gene_vectors, model.vectors: {vectors}}}
  scgpt_random: {{model: scgpt, model.size: tiny, grid: {{seed: [1, 2]}}}}
compare:
  family: z
  tests: []
  metrics: [l2]
  pairs: [[knows, pca_control], [knows, scgpt_random]]
"""


def test_a_study_ends_in_a_page_that_says_what_is_planted(planted, tmp_path, capsys):
    text = STUDY.format(cells=planted[0], vectors=planted[1])
    (tmp_path / "asked.yaml").write_text(text)
    asked = ["ablate", str(tmp_path / "asked.yaml"), *FAST, f"runs_dir={tmp_path / 'runs'}"]
    assert main(asked) == 0
    page = write_report(tmp_path / "runs", tmp_path / "report", ["asked"])
    text = page.with_name("report.md").read_text()
    assert "nearest neighbours: knows has the highest skill" in text and "nan" not in text.lower()
    assert "Coverage of the perturbed genes: 100 % in every arm" in text
    tables = {path.stem: pd.read_csv(path) for path in (tmp_path / "report/tables").glob("*.csv")}
    shown = tables["asked_perturbation_claims"]
    verdicts = {(row["arm"], row["against"]): row["verdict"] for _, row in shown.iterrows()}
    assert verdicts["knows", "train mean"] == verdicts["knows", "scgpt_random"] == "better"
    assert verdicts["scgpt_random", "train mean"] in ("open", "worse")
    found = tables["asked_perturbation_differences"]
    assert (found["p (Holm)"].dropna() >= found["p"][found["p (Holm)"].notna()] - 1e-12).all()
    ladder = tables["asked_perturbation_ladder"].set_index("arm")
    assert {"train mean", "random vectors", "shuffled vectors of knows"} <= set(ladder.index)
    assert (tmp_path / "report/figures/asked_perturbation_skill.svg").exists()
    assert set(tables) >= {"asked_perturbation_calibration", "asked_perturbation_doubles"}


def test_a_metric_without_a_vote_is_grey_on_the_page_and_a_number_for_machines():
    from leadline.report.tables import Grey, Table, to_csv, to_html, to_markdown

    table = Table(name="t", title="T", columns=["a", "b"], rows=[["x", Grey(0.25)]])
    assert "muted" in to_html(table) and "0.2500" in to_html(table)
    assert "(0.2500)" in to_markdown(table) and to_csv(table).splitlines()[1] == "x,0.25"


def test_what_reads_no_expression_is_refused_on_another_scale():
    from leadline.data.screens import expression_of
    from small import small_cells

    cells = small_cells((20, 20))
    assert isinstance(cells, Cells)
    with pytest.raises(UserError, match="counts or log-normalised expression: got a matrix on"):
        expression_of(small_cells((20, 20), scale=Scale.ZSCORED))
    fewer = small_cells((20, 20), library_C=cells.library_C * 2)
    assert "which hold 50% of a cell's counts" in expression_of(fewer)[1][0]
