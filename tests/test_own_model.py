"""A class of the user's as a model: found, fed, checked, and named by its source."""

import re
import shlex
import sys
import warnings
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from leadline import cli
from leadline.config import python_class, registry
from leadline.config.compose import compose
from leadline.errors import UserError
from leadline.models.external.python_class import checked, seeded
from leadline.runs import record
from small import saved, small_cells

ROOT = Path(__file__).resolve().parents[1]
GOOD = """
import numpy as np

class Mine:
    def __init__(self, depth=1, seed=0, pretrained=True):
        self.depth, self.seed, self.pretrained = depth, seed, pretrained

    def fit(self, X, y, genes, classes):
        assert type(X) is np.ndarray and X.dtype == np.float32 and len(genes) == X.shape[1]
        assert len(classes) == y.max() + 1 and y.dtype == np.int64
        self.parameters_total = 7
        self.share = np.bincount(y) / len(y)

    def predict_proba(self, X):
        return np.tile(self.share, (len(X), 1))
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module into the current folder, under a name that no other test uses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    python_class.import_class.cache_clear()
    written = []

    def write(text, name="my_model"):
        unique = f"{name}_{abs(hash(str(tmp_path))) % 10**8}"
        (tmp_path / f"{unique}.py").write_text(text)
        written.append(unique)
        return unique

    yield write
    python_class.import_class.cache_clear()
    for name in written:
        sys.modules.pop(name, None)


def run(name, *words, kind="Mine", sizes=(30, 30, 30), expect=cli.GOOD):
    path = Path("cells.h5ad")
    if not path.exists():
        saved(small_cells(sizes), path)
    data = ["data=h5ad", f"data.path={path}", "data.label=celltype"]
    assert cli.main(["run", f"model=python:{name}.{kind}", *data, *words]) == expect
    return sorted(Path("runs").glob("*-*"), key=lambda p: p.stat().st_mtime_ns)[-1:]


def test_a_class_takes_part_like_any_model(module, capsys):
    name = module(GOOD)
    (folder,) = run(name, "model.options={depth: 3}", "seed=4", "data.fraction=0.5")
    assert re.fullmatch(r"Mine-h5ad-f0.5-s4-[0-9a-f]{12}", folder.name)
    facts = record.read_facts(folder)
    assert facts["model"] == facts["arm"] == "Mine"
    fit = facts["fit"]
    assert fit["class"] == f"{name}:Mine" and fit["parameters_total"] == 7
    assert fit["arguments"] == {"depth": "3", "seed": "4"}
    assert fit["fit_was_told"] == ["classes", "genes"]
    assert (folder / "model_source.py").read_text() == GOOD
    assert record.verify(folder) == []
    # The same again is not repeated.
    run(name, "model.options={depth: 3}", "seed=4", "data.fraction=0.5")
    assert "is done already" in capsys.readouterr().err


def test_other_options_and_another_source_make_another_run(module):
    name = module(GOOD)
    ids = {run(name, *words)[0].name for words in ([], ["model.pretrained=false"], ["seed=2"])}
    assert len(ids) == 3
    Path(f"{name}.py").write_text(GOOD + "\n# changed\n")
    python_class.import_class.cache_clear()
    assert run(name)[0].name not in ids


def test_no_pretraining_is_handed_over(module):
    name = module(GOOD)
    (folder,) = run(name, "model.pretrained=false")
    assert record.read_facts(folder)["fit"]["arguments"]["pretrained"] == "False"


def test_a_class_that_lacks_training_cells_gets_probability_0(module, tmp_path):
    name = module(GOOD)
    saved(small_cells((60, 60, 5)), tmp_path / "cells.h5ad")
    (folder,) = run(name, "data.fraction=0.1", "protocol.fewshot=random")
    parts, classes = record.read_predictions(folder)
    proba = parts["test"].proba_CK
    assert proba.shape[1] == len(classes) == 3 and not proba[:, 2].any()
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=2e-3)


def test_a_model_of_scikit_learn_works_as_it_is(module):
    module(GOOD)
    kind = "sklearn.naive_bayes", "GaussianNB"
    (folder,) = run(kind[0], kind=kind[1])
    assert record.read_facts(folder)["metrics"]["test"]["accuracy"] > 0.8


def test_sparse_input_and_counts(module):
    text = GOOD.replace(
        "assert type(X) is np.ndarray and X.dtype == np.float32 and ",
        "from scipy import sparse; assert sparse.issparse(X) and (X.data % 1 == 0).all() and ",
    ).replace("len(X)", "X.shape[0]")
    run(module(text), "model.dense=false", "model.input=counts")


def test_what_the_class_raises_is_a_failed_record_with_its_traceback(module, capsys):
    name = module(GOOD.replace("self.share = np", "raise RuntimeError('out of luck')  #"))
    (folder,) = run(name, expect=cli.FAILED)
    told = (folder / "FAILED").read_text()
    assert "RuntimeError: out of luck" in told and f"{name}.py" in told
    assert "RuntimeError: out of luck" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("self.share", "one row for each cell and one column for each class of y: got shape (3,)"),
        ("np.ones((len(X), 2)) / 2", "got shape (18, 2) for 18 cells and 3 classes"),
        ("np.ones((len(X), 3))", "the probabilities of a cell add up to 1: got 18 of 18 rows"),
        ("np.full((len(X), 3), np.nan)", "probabilities are finite and not below 0: got 18 of 18"),
        ("np.tile([2.0, -1, 0], (len(X), 1))", "probabilities are finite and not below 0"),
        ("[['a', 'b', 'c']] * len(X)", "predict_proba gives one row for each cell"),
        ("None", "predict_proba gives one row for each cell"),
    ],
)
def test_what_are_no_probabilities_is_refused(module, result, message, capsys):
    name = module(GOOD.replace("np.tile(self.share, (len(X), 1))", result))
    (folder,) = run(name, expect=cli.MISTAKE)
    shown = capsys.readouterr().err.splitlines()[-1]
    assert message in shown
    assert (folder / "FAILED").exists()


def test_probabilities_are_made_to_add_up_exactly():
    proba = np.array([[0.5, 0.501], [0.2, 0.8]])
    np.testing.assert_array_equal(checked(proba, 2, 2).sum(axis=1), 1)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (GOOD, ["model=python:NAME.Min"], "must hold the class that model= names: got 'Min'"),
        (GOOD, ["model=python:NAME.np"], "which is no class"),
        (GOOD, ["model=python:NAME"], "is followed by a module and a class: got 'python:"),
        (GOOD, ["model=python:no_such_module.Mine"], "the module of a model must be found"),
        (GOOD, ["model=python:NAME.Mine", "model.options=3"], "holds arguments of the constructor"),
        ("class Mine:\n    pass", ["model=python:NAME.Mine"], "Mine without fit and predict_proba"),
        (
            "import no_such_thing",
            ["model=python:NAME.Mine"],
            "ModuleNotFoundError: No module named",
        ),
        (
            "def x(:",
            ["model=python:NAME.Mine"],
            "the module of a model must be importable: got Syn",
        ),
        ("1 / 0", ["model=python:NAME.Mine"], "ZeroDivisionError: division by zero ("),
    ],
)
def test_mistakes_before_a_run_are_one_line(module, text, words, message):
    name = module(text)
    with pytest.raises(UserError, match=re.escape(message)):
        compose([word.replace("NAME", name) for word in words])


def test_a_class_cannot_take_the_name_of_a_model_of_ours(module):
    name = module(GOOD.replace("class Mine", "class logreg"))
    with pytest.raises(UserError, match="a model of your own needs a name of its own"):
        compose([f"model=python:{name}.logreg"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=python"], "model=python needs a class"),
        (["model=python:NAME.Mine", "model.options={dpeth: 3}"], "its constructor takes depth"),
        (["model=python:NAME.Mine", "model.source='sha256:0'"], "belongs to one version of its"),
    ],
)
def test_mistakes_in_settings_are_one_line(module, words, message, capsys):
    name = module(GOOD)
    assert cli.main(["run", *(word.replace("NAME", name) for word in words)]) == cli.MISTAKE
    assert message in capsys.readouterr().err


def test_pretrained_false_needs_a_class_that_knows_it(module, capsys):
    name = module(GOOD.replace(", pretrained=True", "").replace(", self.pretrained = ", " = ", 1)
                  .replace("depth, seed, pretrained", "depth, seed"))  # fmt: skip
    run(name, "model.pretrained=false", expect=cli.MISTAKE)
    assert "needs a class whose constructor takes `pretrained`" in capsys.readouterr().err


def test_an_installed_package_gives_a_model_a_short_name(module, monkeypatch, capsys):
    name = module(GOOD)
    point = EntryPoint(name="mine", value=f"{name}:Mine", group=registry.GROUP)
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [point] if group == registry.GROUP else []
    )
    config = compose(["model=mine"])
    assert (config.model.name, config.model.target) == ("mine", f"{name}:Mine")
    assert cli.main(["list", "models"]) == cli.GOOD
    assert f"from an installed package: {name}:Mine" in capsys.readouterr().out


def test_global_generators_are_seeded_and_put_back():
    before = np.random.get_state()[1].copy()
    draws = []
    for _ in range(2):
        with seeded(3):
            draws.append(np.random.rand())
    assert draws[0] == draws[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_warnings_of_the_class_are_in_the_record(module):
    text = GOOD.replace("import numpy as np", "import warnings\nimport numpy as np")
    text = text.replace("self.share =", "warnings.warn('be careful', stacklevel=1); self.share =")
    with warnings.catch_warnings():
        (folder,) = run(module(text))
    assert "be careful" in record.read_facts(folder)["warnings"]


def test_a_finished_run_names_new_cells(module, capsys):
    name = module(GOOD)
    (folder,) = run(name)
    words = ["predict", "--run", folder.name, "--cells", "cells.h5ad", "--out", "labels.csv"]
    assert cli.main(words) == cli.GOOD
    Path(f"{name}.py").write_text(GOOD + "\n# changed\n")
    python_class.import_class.cache_clear()
    assert cli.main(words) == cli.MISTAKE
    assert "belongs to one version of its file" in capsys.readouterr().err


def test_a_class_takes_part_in_a_study(module, tmp_path, capsys):
    name = module(GOOD)
    saved(small_cells((30, 30, 30)), tmp_path / "cells.h5ad")
    (tmp_path / "mine.yaml").write_text(
        "question: Is my model better than a control?\n"
        "base: {data: h5ad, data.path: cells.h5ad, data.label: celltype}\n"
        f"arms:\n  reference: {{model: 'python:{name}.Mine'}}\n  majority: {{model: majority}}\n"
        "grid: {seed: [1, 2], data.fraction: [0.5, 1.0]}\n"
        "compare: {family: mine, tests: [paired_t], metrics: [accuracy], equivalence_margin: 0.1}\n"
    )
    assert cli.main(["ablate", "mine.yaml"]) == cli.GOOD
    assert "mine: 8 runs, 8 done now" in capsys.readouterr().out


def test_quoted_words_mean_the_same(module):
    name = module(GOOD)
    plain = python_class.expand_model_words([f"model=python:{name}.Mine"], [])
    assert python_class.expand_model_words([f"model='python:{name}.Mine'"], []) == plain
    assert plain[0] == "model=python" and f"model.target='{name}:Mine'" in plain


def blocks(text, language):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_example_of_the_documentation_is_short_and_runs(module, tmp_path, capsys):
    """Follow docs/own_model.md literally: save the class, run the commands."""
    text = (ROOT / "docs" / "own_model.md").read_text()
    (code,) = blocks(text, "python")
    assert len(code.splitlines()) <= 40 and "leadline" not in code
    (tmp_path / re.search(r"`(\w+\.py)`", text)[1]).write_text(code)
    commands = [shlex.split(line) for block in blocks(text, "sh") for line in block.splitlines()]
    assert any(word.startswith("model=python:") for words in commands for word in words)
    try:
        for words in commands:
            assert words[0] == "leadline" and cli.main(words[1:]) == cli.GOOD
    finally:
        sys.modules.pop("my_model", None)
    assert "McNemar’s test" in capsys.readouterr().out
    scores = [record.read_facts(p)["metrics"]["test"] for p in Path("runs").glob("*-*")]
    assert len(scores) == 2 and max(score["accuracy"] for score in scores) > 0.7
