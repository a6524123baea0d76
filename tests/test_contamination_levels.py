"""Whether a pretrained model has seen cells: the registry, the command, the line of a page."""

import csv
import datetime
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cells_files import make_counts, write_h5ad
from leadline import cli
from leadline.config.corpora import (
    FILE,
    MEANINGS,
    SeenLevel,
    by_date,
    corpora,
    corpus_of,
    publications,
    stated,
)
from leadline.errors import UserError
from leadline.report.seen_before import seen_by_run, sentence

RUN = "scbert-pretrain-pbmc68k_reduced-f1-s1-0123456789ab"


def test_every_fact_of_the_registry_has_a_source():
    found = yaml.safe_load(FILE.read_text())
    for row in (*found["models"].values(), *found["datasets"].values()):
        assert len(row["source"].strip()) > 20
    for corpus in corpora().values():
        assert corpus.closed is None or isinstance(corpus.closed, datetime.date)
        assert all(len(source) > 20 for source in corpus.contains.values())
    assert {"scgpt", "scbert", "geneformer"} <= set(corpora()) and publications()
    assert set(MEANINGS) == set(SeenLevel) and len(SeenLevel) == 5


@given(st.none() | st.dates(), st.none() | st.dates())
def test_only_cells_that_came_later_are_clean(public, closed):
    seen = by_date(public, closed, "the corpus")
    clean = public is not None and closed is not None and public > closed
    assert seen.level is (SeenLevel.DATE if clean else SeenLevel.UNKNOWN)


def test_what_a_source_says_comes_before_dates():
    scbert, late = corpus_of("scbert"), datetime.date(2030, 1, 1)
    assert stated(scbert, "panglao", public=late).level is SeenLevel.DATA_SET
    assert stated(scbert, "zheng_like").level is SeenLevel.DATE
    assert stated(scbert, "zheng68k").level is SeenLevel.UNKNOWN
    assert stated(scbert, None).level is SeenLevel.UNKNOWN
    assert stated(corpus_of("scfoundation"), None, public=late).level is SeenLevel.UNKNOWN
    assert stated(scbert, None, public=late, closed=late).level is SeenLevel.UNKNOWN
    with pytest.raises(UserError, match="registry of pretraining corpora: got 'scgtp'; did you"):
        corpus_of("scgtp")


# The command.


@pytest.fixture
def files(tmp_path):
    """Data of 40 cells and a corpus that has four of them."""
    counts_CG = make_counts(100, 300)
    counts_CG[96:] = counts_CG[:4]
    names = [f"c{row}" for row in range(100)]
    part = ["test" if row < 20 else "train" for row in range(40)]
    obs = pd.DataFrame({"part": part}, index=names[:40])
    data = write_h5ad(tmp_path / "data.h5ad", counts_CG[:40], obs=obs)
    corpus_obs = pd.DataFrame(index=names[40:])
    return data, write_h5ad(tmp_path / "corpus.h5ad", counts_CG[40:], obs=corpus_obs)


def asked(capsys, *words, expect=0):
    assert cli.main(["contamination", *map(str, words)]) == expect
    said = capsys.readouterr()
    return said.out if expect == 0 else said.err


def test_the_command_tells_people_and_programs(files, capsys, tmp_path):
    data, corpus = files
    shown = asked(capsys, data, "--corpus", corpus)
    assert "40 cells looked for among 60" in shown and "4 of 40 cells (10.00%)" in shown
    assert "proved by hash (4 of 40 cells have the counts" in shown
    words = ["--corpus", corpus, "--json", "--out", tmp_path / "seen.csv"]
    told = json.loads(asked(capsys, data, *words))
    assert told["level"] == "proved by hash" and told["by"]["counts"]["share"] == 0.1
    assert told["by"]["join_ids"]["why_not"] and told["by"]["top_genes"]["seen"] == 4
    rows = list(csv.DictReader((tmp_path / "seen.csv").read_text().splitlines()))
    assert [row["cell"] for row in rows if row["counts"] == "1"] == ["c0", "c1", "c2", "c3"]
    assert {row["join_ids"] for row in rows} == {""}


def test_only_reported_cells_are_asked_for(files, capsys, tmp_path):
    data, corpus = files
    told = json.loads(asked(capsys, data, "data.split=part", "--corpus", corpus, "--json"))
    assert told["cells"] == 20 and told["which"] == "the test cells"
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 1\n")
    word = ["--corpus", corpus, "--json", "--run", "mine", "--runs", tmp_path / "runs"]
    assert "must name a finished run" in asked(capsys, data, *word, expect=2)
    for ids, expect in ((["c2", "c30"], 0), (["x"], 2)):
        codes = {"test_true": [0] * len(ids), "test_pred": [0] * len(ids)}
        np.savez(folder / "predictions.npz", test_ids=np.array(ids), classes=np.array(["a"]),
                 test_proba=np.ones((len(ids), 1)), **codes)  # fmt: skip
        said = asked(capsys, data, *word, expect=expect)
    assert "--run must have reported cells of DATA: got none of the 1 cells" in said
    told = json.loads(asked(capsys, "pbmc68k_reduced", "--corpus", "registry", "--json"))
    assert {row["level"] for row in told["models"]} == {"cannot be known"}


def test_levels_without_a_cell_in_common(files, capsys, tmp_path):
    data, corpus = files
    apart = write_h5ad(tmp_path / "apart.h5ad", make_counts(60, 300, seed=9),
                       obs=pd.DataFrame(index=[f"x{i}" for i in range(60)]))  # fmt: skip

    def level(*words):
        told = json.loads(asked(capsys, data, "--corpus", apart, "--json", *words))
        return told["level"], told["why"]

    found = level()
    assert found[0] == "cannot be known" and "need not be all of the corpus" in found[1]
    assert level("--public", "2024-01-02", "--closed", "2024-01-01")[0] == "clean by date"
    assert level("--public", "2024-01-02", "--model", "scgpt")[0] == "clean by date"
    assert level("--public", "2023-05-15", "--model", "scgpt")[0] == "cannot be known"


def test_join_ids_and_top_genes_make_it_likely(files, capsys, tmp_path):
    counts_CG, other_CG = make_counts(60, 300), make_counts(60, 300, seed=1)
    ids = [f"j{row}" for row in range(60)]
    obs = pd.DataFrame({"dataset_id": "d", "observation_joinid": ids}, index=ids)
    one = write_h5ad(tmp_path / "one.h5ad", counts_CG, obs=obs)
    two = write_h5ad(tmp_path / "two.h5ad", other_CG, obs=obs)
    told = json.loads(asked(capsys, one, "--corpus", two, "--json"))
    assert told["level"] == "likely by accession" and "join id" in told["why"]
    bent = write_h5ad(tmp_path / "bent.h5ad", np.sqrt(counts_CG), obs=obs[[]])
    told = json.loads(asked(capsys, one, "--corpus", bent, "--json"))
    assert told["level"] == "likely by accession" and "most expressed" in told["why"]


def test_the_registry_answers_without_a_file(capsys):
    shown = asked(capsys, "zheng_like", "--corpus", "registry", "--model", "scgpt")
    assert "clean by date" in shown and "sccello" not in shown
    told = json.loads(asked(capsys, "panglao", "--corpus", "registry", "--json"))
    levels = {row["model"]: row["level"] for row in told["models"]}
    assert levels["scbert"] == "stated by data set" and levels["scgpt"] == "cannot be known"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.h5ad", "--corpus", "registry"], "DATA must be a file or the name of a dataset"),
        (["pbmc68k_reduce", "--corpus", "registry"], "did you mean pbmc68k_reduced?"),
        (["{data}", "--corpus", "nowhere.h5ad"], "--corpus must name an .h5ad"),
        (["{data}", "--corpus", "{data}", "seed=1"], "settings of the data are data.KEY=VALUE"),
        (["{data}", "--corpus", "{data}", "data.layr=X"], "did you mean data.layer"),
        (["{data}", "--corpus", "{data}", "--model", "x"], "registry of pretraining corpora"),
        (["{data}", "--corpus", "{folder}", "--corpus-layer", "x"], "must name a matrix"),
        (["{data}", "--corpus", "{data}", "--corpus-layer", "x"], "--corpus-layer must name"),
        (["{data}", "--corpus", "{data}", "--out", "{folder}/no/seen.csv"], "seen.csv"),
        (["{data}", "--corpus", "{empty}"], "without any of them"),
        (["{data}", "--corpus", "registry", "--corpus", "{data}"], "registry compares no cells"),
    ],
)
def test_mistakes_are_told_in_one_line(files, capsys, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    places = {"data": files[0], "folder": tmp_path, "empty": tmp_path / "empty"}
    said = asked(capsys, *(word.format(**places) for word in words), expect=2)
    assert message in said and said.count("\n") == 1


def test_days_are_read_or_refused(files, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["contamination", str(files[0]), "--corpus", "registry", "--public", "May"])
    assert stop.value.code == 2 and "invalid day value" in capsys.readouterr().err


# The line of a page.


@pytest.mark.parametrize(
    ("model", "pretrained", "data", "level"),
    [
        ("logreg", None, "zheng68k", None),
        ("scbert", "false", "zheng68k", None),
        ("scgpt", "published", "ms", "cannot be known"),
        ("scgpt", "published", "zheng_like", "clean by date"),
        ("scbert", "published", "panglao", "stated by data set"),
        ("scbert", "/weights/mine.pth", "zheng_like", "cannot be known"),
        ("scbert", RUN, "zheng68k", "cannot be known"),
        ("embedding", None, "zheng_like", "cannot be known"),
        ("python", True, "zheng_like", "cannot be known"),
        ("python", False, "zheng_like", None),
    ],
)
def test_each_start_has_its_level(tmp_path, model, pretrained, data, level):
    config = {"model.name": model, "model.pretrained": pretrained, "data.name": data}
    seen = seen_by_run(config, tmp_path)
    assert (seen and str(seen.level)) == level


@pytest.mark.parametrize(
    ("before", "level"),
    [("false", "proved by hash"), ("published", "cannot be known"), ("a.pth", "cannot be known")],
)
def test_a_pretraining_of_ours_knows_its_cells_unless_it_began_elsewhere(tmp_path, before, level):
    folder = tmp_path / RUN
    folder.mkdir()
    settings = {"model": {"name": "scbert", "pretrained": before}, "data": {"name": "ms"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    for start in (RUN, f"elsewhere/{RUN}/"):
        config = {"model.name": "scbert", "model.pretrained": start, "data.name": "zheng68k"}
        assert seen_by_run(config, tmp_path).level == level


def test_a_page_says_each_model_and_data_set_once(tmp_path):
    run = {"model.name": "scgpt", "model.pretrained": "published", "data.name": "ms"}
    study = SimpleNamespace(configs={"a": run, "b": dict(run)}, runs_dir=tmp_path)
    said = sentence(study)
    assert said.startswith("Seen in pretraining? scgpt on ms: cannot be known (")
    assert said.count("scgpt on ms") == 1


def test_the_line_stands_on_the_page_and_in_its_twin(tmp_path, capsys):
    runs, out = tmp_path / "runs", tmp_path / "report"
    assert cli.main(["run", "model=majority", f"runs_dir={runs}"]) == 0
    assert cli.main(["report", "--runs", str(runs), "--out", str(out)]) == 0
    for name in ("index.html", "report.md"):
        assert "No run of this page starts from pretrained weights" in (out / name).read_text()
