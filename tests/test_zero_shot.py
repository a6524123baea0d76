"""task=zero_shot: frozen vectors, judged, sealed, resumed, refused."""

import json

import numpy as np
import pandas as pd
import pytest

from leadline.cli import main
from leadline.config import registry
from leadline.config.compose import compose
from leadline.errors import UserError
from leadline.models import projections
from leadline.report.write import write_report
from leadline.runs import record
from leadline.runs.prepare import identify_run
from leadline.runs.run import run
from leadline.runs.tasks import zero_shot
from leadline.stats import metrics
from leadline.stats.zero_shot import score_frozen
from small import saved, small_cells

FAST = ["task=zero_shot", "task_settings.clusterings=1", "task_settings.half_samples=3"]
TINY = ["model.size=tiny", "train.epochs=1", "train.batch_size=16"]


@pytest.fixture(scope="module")
def cells():
    return small_cells((40, 40, 40), n_genes=60, signal=8.0)


@pytest.fixture(scope="module")
def words(tmp_path_factory, cells):
    folder = tmp_path_factory.mktemp("zero_shot")
    batch = np.array(["p1", "p2"])[np.arange(len(cells)) % 2]
    path = saved(cells, folder / "cells.h5ad", batch=batch)
    told = [f"data.path={path}", "data.label=celltype", "data.batch=protocol", "data=h5ad"]
    return [*told, f"runs_dir={folder / 'runs'}"]


def scores(folder):
    return record.read_facts(folder)["metrics"]["test"]


def test_every_score_is_that_of_the_vectors_in_the_record(words):
    folder = run(compose([*FAST, *words, "model=pca", "model.components=5"]))
    assert record.state(folder) is record.State.DONE and not record.verify(folder)
    facts = record.read_facts(folder)
    with np.load(folder / zero_shot.EMBEDDINGS) as stored:
        assert stored["embedding"].shape == (120, 5) and stored["embedding"].dtype == np.float32
        again = score_frozen(
            stored["embedding"], stored["label"], stored["batch"], seed=2022,
            n_clusterings=1, n_halves=3, pcr_before=facts["fit"]["pcr_of_expression"],
        )  # fmt: skip
    assert dict(again.values) == scores(folder)
    assert all(name in metrics.ROWS for name in again.values)
    with np.load(folder / zero_shot.DRAWS) as draws:
        assert draws["halves_avg_bio_oracle"].shape == (3,)
        assert draws["cells_linear_accuracy"].mean() == scores(folder)["linear_accuracy"]
    assert facts["split"]["cells"] == dict(train=0, val=0, test=120, unlabelled=0, dropped=0)
    assert not (folder / record.CHECKPOINTS).exists()


def test_a_ladder_stands_above_chance_and_noise_at_it(words):
    ladder = {}
    for model in ("noise", "depth", "random_projection", "hvg", "pca"):
        width = ["model.width=20"] if model in ("noise", "random_projection") else []
        ladder[model] = scores(run(compose([*FAST, *words, f"model={model}", *width])))
    assert abs(ladder["noise"]["ami_oracle"]) < 0.1 and abs(ladder["noise"]["ari_fixed"]) < 0.05
    for model in ("random_projection", "hvg", "pca"):
        assert ladder[model]["avg_bio_oracle"] > ladder["noise"]["avg_bio_oracle"] + 0.2
        assert ladder[model]["linear_accuracy"] > 0.9 > ladder["noise"]["linear_accuracy"]


def test_two_embeddings_are_compared_by_their_scores(words, capsys):
    folders = [run(compose([*FAST, *words, f"model={name}"])) for name in ("pca", "depth")]
    capsys.readouterr()
    assert main(["compare", *map(str, folders)]) == 0
    said = capsys.readouterr().out
    assert "avg_bio_oracle" in said
    assert "nothing to compare: neither run named cells" in said
    assert main(["predict", "--run", str(folders[0]), "--cells", words[0][10:], "--out", "x"]) == 2
    assert "predict needs a run that learnt labels" in capsys.readouterr().err


def pretrained(words):
    return run(compose(["task=pretrain", *words, "model=scgpt", *TINY, "protocol=corrected"]))


def test_a_network_is_not_trained_and_gives_the_same_bits_twice(words, tmp_path, capsys):
    asked = [*FAST, *words[:-1], "model=scgpt", "model.size=tiny"]
    twice = [run(compose([*asked, f"runs_dir={tmp_path / name}"])) for name in ("a", "b")]
    assert twice[0].name == twice[1].name
    for name in (zero_shot.EMBEDDINGS, zero_shot.DRAWS):
        assert (twice[0] / name).read_bytes() == (twice[1] / name).read_bytes()
    assert scores(twice[0]) == scores(twice[1])
    facts = record.read_facts(twice[0])
    assert facts["fit"]["parameters_trainable"] == 0 < facts["fit"]["parameters_total"]
    # Nothing of how networks are trained decides the name.
    names = [
        identify_run(compose([*asked, *more, f"runs_dir={tmp_path}"])).run_id
        for more in ([], ["train.epochs=3", "train.lr=0.1"], ["seed=2"], ["model.width=16"])
    ]
    assert names[0] == names[1] and len(set(names)) == 3


def test_pretraining_bag_of_genes_and_what_was_seen(words):
    first = pretrained(words)
    start = [f"model.pretrained={first.name}", "model=scgpt", "model.size=tiny"]
    folder = run(compose([*FAST, *words, *start, "task_settings.normalise=l2"]))
    told = record.read_facts(folder)["warnings"]
    assert any("have seen 86 of these 120 cells, without their labels" in text for text in told)
    with np.load(folder / zero_shot.EMBEDDINGS) as stored:
        assert np.allclose(np.linalg.norm(stored["embedding"], axis=1), 1, atol=1e-5)
    found = scores(folder)
    for kind in ("masked", "unmasked"):
        told = [found[f"reconstruction_{kind}_{n}"] for n in ("mse", "floor_gene_mean_out_of_fold")]
        assert found[f"reconstruction_{kind}_score"] == pytest.approx(1 - told[0] / told[1])
    bag = run(compose([*FAST, *words, *start, "task_settings.vectors=bag_of_genes"]))
    assert bag != folder and scores(bag) != scores(folder)


def test_a_stopped_run_takes_its_vectors_up_again(words, tmp_path, monkeypatch):
    asked = compose([*FAST, *words[:-1], "model=pca", f"runs_dir={tmp_path}"])
    monkeypatch.setattr(zero_shot, "score_frozen", lambda *a, **k: 1 / 0)
    with pytest.raises(Exception, match="division by zero"):
        run(asked)
    monkeypatch.undo()
    monkeypatch.setattr(projections.Pca, "embed", lambda *a: pytest.fail("embedded again"))
    folder = run(asked)
    assert record.state(folder) is record.State.DONE and not (folder / "checkpoints").exists()


OWN = """
import numpy as np

class Counts:
    def embed(self, X, genes):
        return np.asarray(X)[:, :4]

class Words:
    def embed(self, X):
        return ["a"] * len(X)

class Blind:
    def fit(self, X, y): ...
    def predict_proba(self, X): ...
"""


def test_a_class_of_the_users_embeds(words, tmp_path, monkeypatch):
    (tmp_path / "embedders_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    asked = [*FAST, *words[:-1], f"runs_dir={tmp_path}"]
    folder = run(compose([*asked, "model=python:embedders_of_mine.Counts"]))
    with np.load(folder / zero_shot.EMBEDDINGS) as stored:
        assert stored["embedding"].shape == (120, 4)
    assert (folder / "model_source.py").read_text() == OWN
    with pytest.raises(UserError, match="embed gives one row of finite numbers for each cell"):
        run(compose([*asked, "model=python:embedders_of_mine.Words"]))
    with pytest.raises(UserError, match="needs a model with the method embed"):
        run(compose([*asked, "model=python:embedders_of_mine.Blind"]))
    with pytest.raises(UserError, match="task=classify needs a model with the methods fit"):
        run(compose([*asked[3:], "model=python:embedders_of_mine.Counts"]))


def test_positions_made_elsewhere_are_judged_as_they_come(words, cells, tmp_path):
    np.savez(tmp_path / "z.npz", ids=cells.ids, embedding=np.eye(3)[cells.labels_C])
    folder = run(compose([*FAST, *words, "model=embedding", f"model.file={tmp_path / 'z.npz'}"]))
    assert scores(folder)["avg_bio_oracle"] == 1.0
    assert "made outside leadline" in "".join(record.read_facts(folder)["warnings"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["model=logreg"], "task=zero_shot needs a model that gives cells vectors: got model=logr"),
        (["model=pca", "data.label=null"], "judges vectors by labels: got no data.label"),
        (["model=pca", "data.fraction=0.5"], "learns from no label.*got data.fraction=0.5"),
        (["model=pca", "task_settings.vectors=bag_of_genes"], "bag_of_genes needs a network: got"),
        (["model=hvg", "model.flavour=seurrat"], "model.flavour must be one of .*did you mean"),
        (["model=pca", "task_settings.cells=5"], r"task_settings.cells must lie in \[20"),
        (["model=harmony", "data.batch=null"], "model=harmony mixes batches: got no data.batch"),
        (
            ["model=scbert", "model.gene2vec=false", "model.size=tiny",
             "task_settings.vectors=bag_of_genes"],
            "needs vectors of genes: got model.gene2vec=false",
        ),
        (
            ["model=pca", "task_settings.folds=batch", "data.batch=null"],
            None,
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_said(words, tmp_path, more, message):
    replaced = {word.partition("=")[0] for word in more}
    asked = [word for word in (*FAST, *words[:-1]) if word.partition("=")[0] not in replaced]
    if message is None:
        folder = run(compose([*asked, *more, f"runs_dir={tmp_path}"]))
        told = record.read_facts(folder)["warnings"]
        assert any("folds by batch need batches: got no data.batch" in text for text in told)
        return
    with pytest.raises(UserError, match=message):
        run(compose([*asked, *more, f"runs_dir={tmp_path}"]))


def test_other_tasks_refuse_what_only_embeds_and_settings_that_are_not_theirs():
    with pytest.raises(UserError, match="model=pca gives cells vectors and names none"):
        run(compose(["model=pca"]))
    with pytest.raises(UserError, match="task_settings belong to a task that has some"):
        compose(["task_settings.cells=100"])
    with pytest.raises(UserError, match="task_settings belong to a task that has some"):
        compose(["task_settings=zero_shot"])
    with pytest.raises(UserError, match="did you mean task_settings.cells"):
        compose(["task=zero_shot", "model=pca", "task_settings.cels=100"])


def test_settings_of_a_task_come_back_from_a_record_and_are_silent_elsewhere(words):
    from leadline.runs.records import configuration

    config = compose([*FAST, *words, "model=noise", "task_settings.cells=60", "model.width=8"])
    folder = run(config)
    assert configuration(folder).task_settings == config.task_settings
    facts = record.read_facts(folder)
    assert facts["split"]["cells"]["test"] == 60 and facts["split"]["cells"]["unlabelled"] == 60
    other = run(compose([*words, "model=majority"]))
    assert "task_settings" not in (other / record.CONFIG).read_text()


def test_a_draw_takes_from_each_batch_and_label_its_share(cells):
    batch = np.where(np.arange(120) < 90, "a", "b")
    told = small_cells((40, 40, 40), n_genes=60, batch_C=batch)
    rows = zero_shot.drawn(told, np.arange(120), 60, np.random.default_rng(0))
    assert len(rows) == len(set(rows.tolist())) == 60
    whole = pd.crosstab(batch, told.labels_C).to_numpy()
    taken = pd.crosstab(batch[rows], told.labels_C[rows]).to_numpy()
    assert np.abs(taken - whole / 2).max() < 1
    assert np.array_equal(rows, zero_shot.drawn(told, np.arange(120), 60, np.random.default_rng(0)))


def test_what_says_that_it_embeds_does():
    for name, row in registry.ROWS.items():
        kind = registry.imported(row.model)
        if row.kind == "network":
            from leadline.models.network import TorchModel

            assert row.embeds_cells is (kind.embeddings is not TorchModel.embeddings), name
        else:
            assert row.embeds_cells is hasattr(kind, "embed"), name
        if row.kind == "projection":
            assert not row.names_cells


STUDY = """
question: Is it the pretraining?
base: {{data: h5ad, data.path: {path}, data.label: celltype, data.batch: protocol,
       protocol: corrected, task: zero_shot}}
pretraining: {{scgpt: {{model: scgpt, model.size: tiny, train: pretrain_tiny, train.epochs: 1}}}}
reference: noise
arms:
  noise: {{model: noise, model.width: 8, grid: {{seed: [1, 2]}}}}
  pca: {{model: pca}}
  scgpt_random: {{model: scgpt, model.size: tiny, grid: {{seed: [1, 2]}}}}
  scgpt: {{model: scgpt, model.size: tiny, model.pretrained: "@scgpt", against: scgpt_random}}
compare:
  family: z
  tests: []
  metrics: [avg_bio_oracle]
  pairs: [[scgpt, scgpt_random], [scgpt, pca]]
"""


def test_a_study_ends_in_a_page_that_says_what_pretraining_adds(words, tmp_path, capsys):
    (tmp_path / "asked.yaml").write_text(STUDY.format(path=words[0].partition("=")[2]))
    runs = ["task_settings.clusterings=1", "task_settings.half_samples=4"]
    asked = ["ablate", str(tmp_path / "asked.yaml"), *runs, f"runs_dir={tmp_path / 'runs'}"]
    assert main(asked) == 0
    page = write_report(tmp_path / "runs", tmp_path / "report", ["asked"])
    text = page.with_name("report.md").read_text()
    assert "in scgpt pretraining adds" in text and "over random weights" in text
    assert "Chance on h5ad" in text and "nothing here speaks for a published model" in text
    assert "nan" not in text.lower() and "Reconstruction of bins" in text
    table = pd.read_csv(next((tmp_path / "report" / "tables").glob("*zero_shot_differences.csv")))
    assert set(table["asks"]) == {"worth of pretraining", "worth of the model"}
    assert len(table) == 8 and (table["p (Holm)"].fillna(1) >= table["p"].fillna(1)).all()
    figures = {path.stem for path in (tmp_path / "report" / "figures").glob("*.svg")}
    assert {"asked_zero_shot_ladder", "asked_zero_shot_maps"} <= figures
    # What pretraining the study made, on which cells, is said on the page.
    assert "without their labels" in text
    capsys.readouterr()
    manifest = json.loads((tmp_path / "runs" / "studies" / "asked.json").read_text())
    assert len(manifest["runs"]) == 6
