"""Every wrong word on the command line ends as one clear line."""

import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest
import yaml

from leadline.config import PROTOCOL_CHOICES, SCHEMAS, science
from leadline.config.compose import compose, compose_many, options, shipped
from leadline.errors import UserError, nearest
from leadline.studies.overrides import to_override


def test_the_defaults_compose():
    config = compose([])
    assert (config.model.name, config.data.name, config.seed) == ("logreg", "pbmc68k_reduced", 1)


@pytest.mark.parametrize("group", sorted(SCHEMAS))
def test_every_shipped_option_composes_and_names_itself(group):
    for name in options(group):
        words = [f"{group}={name}", *([f"task={name}"] if group == "task_settings" else [])]
        chosen = getattr(compose(words), group)
        if hasattr(chosen, "name"):
            assert chosen.name == name


def test_values_reach_the_configuration_with_their_types():
    config = compose(["model.C=null", "model.grid=[0.1,1]", "seed=7", "data.fraction=1"])
    assert config.model.C is None and config.model.grid == [0.1, 1.0]
    assert config.seed == 7 and isinstance(config.data.fraction, float)
    assert compose(["data=h5ad", "data.label='Factor Value[x, y]'"]).data.label == (
        "Factor Value[x, y]"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=logrg"], "model must be one of .*: got 'logrg'; did you mean logreg?"),
        (["model=null"], "model must be one of .*: got None"),
        (["data={a:1}"], "data must be one of"),
        (["model.grdi=[1]"], "model must have the setting.*got 'model.grdi'; did you mean model.g"),
        (["+model.detph=3"], "can be changed, not added or deleted: got '\\+model.detph=3'"),
        (["~model"], "can be changed, not added or deleted: got '~model'"),
        (["modl=logreg"], "a setting must exist: got 'modl'; did you mean model?"),
        (["hydra/launcher=local"], "a setting must exist: got 'hydra/launcher'"),
        (["model=knn_pca", "model.C=1"], "model must have the setting.*got 'model.C'"),
        (["seed=abc"], "seed must be a whole number: got 'seed=abc'"),
        (["seed=1.5"], "seed must be a whole number: got 'seed=1.5'"),
        (["seed=null"], "seed must fit its schema: got 'seed=null'"),
        (["seed=1,2"], "one run takes one value for each setting: got 'seed=1,2'"),
        (["seed=${foo}"], "seed must fit its schema: got 'seed=\\${foo}'"),
        (["seed"], "a setting is written key=value.*got 'seed'"),
        (["seed =1"], "a setting is written key=value.*got 'seed =1'"),
        (["data.label=Value[x]"], "quote values that hold commas, brackets"),
        (["seed=1", "seed=2"], "each setting may be given once: got 'seed=1' and 'seed=2'"),
        (["seed=-1"], "seed must lie in \\[0, 4294967295\\]: got -1"),
        (["data.fraction=2"], "data.fraction must lie in \\(0, 1\\]: got 2"),
        (["data.fraction=0"], "data.fraction must lie in \\(0, 1\\]: got 0"),
        (["data.fraction=x"], "data.fraction must be a number: got 'data.fraction=x'"),
        (["data.scale=log"], "data.scale must be one of auto, counts.*got 'log'"),
        (["data.design=x"], "data.design must be one of pbmc, scgpt, own"),
        (["data.name=../x"], "data.name must consist of letters.*got '../x'"),
        (["data=zheng_like", "data.n_cells=3"], "data.n_cells must lie in \\[100"),
        (["data=ms_like", "data.n_classes=1"], "data.n_classes must lie in \\[2"),
        (["model.grid=[1,a]"], "model.grid must be a number: got 'model.grid=\\[1,a\\]'"),
        (["model.grid=[]"], "model.grid must hold at least one value of C"),
        (["model.grid=[0]"], "model.grid must lie in \\(0, inf\\): got 0"),
        (["model.grid=3"], "model.grid must fit its schema: got 'model.grid=3'"),
        (["model.C=-1"], "model.C must lie in \\(0, inf\\): got -1"),
        (["model.C=inf"], "model.C must lie in \\(0, inf\\): got inf"),
        (["model.C=nan"], "model.C must lie in \\(0, inf\\): got nan"),
        (["model.folds=1"], "model.folds must lie in \\[2, 100\\]: got 1"),
        (["model.class_weight=x"], "model.class_weight must be one of none, balanced"),
        (["model.input=raw"], "model.input must be one of as_given, ln_cp10k, log2_cp10k"),
        (["model=knn_pca", "model.neighbours=0"], "model.neighbours must lie in \\[1, 10000\\]"),
        (["train.threads=-1"], "train.threads must lie in \\[0, 1024\\]"),
        (["protocol.test_fraction=1"], "protocol.test_fraction must lie in \\(0, 0.95\\]: got 1"),
        (["protocol.fewshot=some"], "protocol.fewshot must be one of published, random"),
        (["runs_dir=[1]"], "runs_dir must fit its schema: got 'runs_dir=\\[1\\]'"),
    ],
)
def test_a_wrong_word_is_explained_in_one_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        compose(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("switch", sorted(PROTOCOL_CHOICES))
def test_every_switch_of_the_protocol_is_checked_and_documented(switch):
    with pytest.raises(UserError, match=f"protocol.{switch} must be one of"):
        compose([f"protocol.{switch}=nonsense"])
    text = (shipped("conf").parent / "docs" / "protocols.md").read_text()
    for value in PROTOCOL_CHOICES[switch]:
        assert f"`{value}`" in text.split(f"### `{switch}`")[1].split("###")[0]


def test_presets_are_nothing_but_values_of_switches():
    for name in options("protocol"):
        text = (shipped("conf") / "protocol" / f"{name}.yaml").read_text()
        keys = {line.split(":")[0] for line in text.splitlines() if line[:1].isalpha()}
        assert set(PROTOCOL_CHOICES) <= keys


@pytest.mark.parametrize("group", ["model", "protocol"])
def test_the_shipped_files_show_every_setting_with_its_default(group):
    for name in options(group):
        shown = yaml.safe_load((shipped("conf") / group / f"{name}.yaml").read_text())
        chosen = getattr(compose([f"{group}={name}"]), group)
        assert {item.name for item in fields(chosen)} == set(shown) - {"defaults"}
        if group == "model":
            assert type(chosen)(name=name) == chosen


def test_science_leaves_out_what_does_not_change_the_result():
    plain = science(compose([]))
    moved = science(compose(["runs_dir=elsewhere", "data_dir=x", "train.threads=1", "tracker=csv"]))
    assert plain == moved
    assert plain != science(compose(["seed=2"]))
    assert plain != science(compose(["model.tolerance=1e-8"]))


def test_a_preset_and_the_same_values_by_hand_are_the_same_science():
    config = compose(["protocol=paper_prose"])
    words = [
        f"protocol.{item.name}={to_override(getattr(config.protocol, item.name))}"
        for item in fields(config.protocol)
        if item.name != "name"
    ]
    assert science(compose(words)) == science(config)


def test_schemas_are_dataclasses_with_slots():
    for schemas in SCHEMAS.values():
        for schema in schemas.values():
            assert is_dataclass(schema) and hasattr(schema, "__slots__")


def test_nearest_words():
    assert nearest("x", []) == "there is none to choose from"
    many = [f"column{i:02d}" for i in range(20)]
    assert nearest("zzzzzz", many).endswith("column11 and 8 more")


def test_configuration_is_found_from_anywhere(tmp_path):
    code = "from leadline.config.compose import compose; print(compose([]).model.name)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "logreg"


def test_runs_that_differ_in_their_seed_alone_are_those_that_are_composed_one_by_one():
    words = ["model=mlp", "data=pbmc68k_reduced", "model.hidden=[8,4]"]
    batches = [[*words, "seed=1"], [*words, "seed=7"], ["seed=7", *words], ["model=logreg"]]
    found = compose_many(batches)
    assert found == [compose(batch) for batch in batches]
    found[0].model.hidden.append(1)
    assert found[1].model.hidden == [8, 4]
    with pytest.raises(UserError, match="seed"):
        compose_many([[*words, "seed=1"], [*words, "seed=9999999999"]])
