"""Switches of the protocol: presets are values of them, and the paper's discrepancies are rows."""

import re
from importlib import resources
from itertools import product

import pytest
import yaml

from leadline.cli import main
from leadline.config.compose import compose_many
from leadline.config.registry import ROWS as MODELS
from leadline.config.switches import AS_SET, ROWS, find
from leadline.errors import UserError
from leadline.runs.identity import identity, resolved
from leadline.stats import tests as stats_tests
from leadline.studies.overrides import to_overrides
from leadline.studies.presets import DATA, PRESETS, SCRIPTS, configuration, differences, values_of
from leadline.studies.universes import settings_of

CELLS = [
    (preset, model, data)
    for preset, data in product(PRESETS, DATA)
    for model in PRESETS[preset].models
]


def test_rows_are_what_they_say():
    for name, row in ROWS.items():
        assert row.tag in "ENU" and row.title and row.why, name
        # A better value belongs to N, and to no other tag.
        assert (row.better != "") == (row.tag == "N"), name
        assert row.better in ("", *row.values), name
        assert len(row.values) >= 2, name
        assert set(row.models) <= {*MODELS, "network", "estimator"}, name
    told = [row.discrepancies for row in ROWS.values()]
    assert all(len(set(each)) == len(each) for each in told)
    assert set(ROWS["test"].values) <= set(stats_tests.ROWS)


def test_every_discrepancy_that_settings_realise_is_a_switch():
    path = resources.files("leadline.papers") / "boiarsky" / "discrepancies.yaml"
    known = yaml.safe_load(path.read_text(encoding="utf-8"))["discrepancies"]
    realised = {each["id"] for each in known if each.get("switch")}
    named = {number for row in ROWS.values() for number in row.discrepancies}
    assert realised <= named
    assert named <= {each["id"] for each in known}


@pytest.mark.parametrize("model", ["scbert", "scgpt", "logreg"])
def test_every_value_is_a_valid_setting_of_the_models_that_it_concerns(model):
    # Liblinear alone draws random numbers.
    base = {"model": model, "data": "ms"} | (
        {"model.solver": "liblinear"} if model == "logreg" else {}
    )
    words = [
        to_overrides(base | dict(row.settings(value)))
        for row in ROWS.values()
        if row.concerns(model) and row.paths and row.where == "run"
        for value in row.values
    ]
    assert len(compose_many(words)) == len(words) > 20


def science_of(config):
    """Give the identity of a run without settings that nothing of it reads."""
    found = identity(config)
    model = config.model.name
    read = {path for row in ROWS.values() if row.concerns(model) for path in row.paths}
    unread = {path for row in ROWS.values() for path in row.paths} - read
    found["protocol"] = {
        key: value for key, value in found["protocol"].items() if f"protocol.{key}" not in unread
    }
    return found


def made_of_values(preset, model, data):
    """Compose a run from the values of switches, on top of another protocol."""
    other = "corrected" if preset != "corrected" else "paper_code"
    words = {"model": model, "data": data, "protocol": other, **SCRIPTS[model]}
    (plain,) = compose_many([to_overrides(words)])
    values = {k: v for k, v in values_of(preset, model, data).items() if ROWS[k].paths}
    return resolved(compose_many([to_overrides(words | settings_of(values, plain))])[0])


@pytest.mark.parametrize(("preset", "model", "data"), CELLS)
def test_a_preset_is_nothing_but_values_of_switches(preset, model, data):
    made = made_of_values(preset, model, data)
    assert science_of(made) == science_of(configuration(preset, model, data))


def test_what_networks_never_read_is_all_that_is_left_out():
    whole = identity(configuration("paper_code", "scbert", "zheng68k"))
    left = science_of(configuration("paper_code", "scbert", "zheng68k"))
    assert set(whole["protocol"]) - set(left["protocol"]) == {"baseline_cells", "regularisation"}


def test_a_preset_with_a_setting_that_is_no_switch_is_noticed(monkeypatch):
    monkeypatch.setitem(PRESETS["corrected"].models, "scbert", {"train.lr": 0.5})
    made = made_of_values("corrected", "scbert", "zheng68k")
    assert science_of(made) != science_of(configuration("corrected", "scbert", "zheng68k"))


def test_the_paper_s_presets_have_the_values_of_the_spec():
    scbert = values_of("paper_code", "scbert", "zheng68k")
    assert scbert["selection"] == "reported" and scbert["class_weights"] == "all"
    assert scbert["stabiliser"] == "batch" and scbert["schedule"] == "as_coded"
    assert values_of("paper_code", "logreg", "zheng68k")["few_labels"] == "plain"
    assert values_of("paper_code", "scgpt", "ms")["select_by"] == "loss"
    original = values_of("scbert_original", "scbert", "zheng68k")
    assert (original["split_seed"], original["trainable_block"]) == ("2021", "last_but_one")
    assert (original["order"], original["class_weights"]) == ("with_replacement", "none")


def test_presets_differ_where_their_values_do():
    found = {each.switch: each for each in differences("paper_code", "paper_prose")}
    assert set(found) == {"schedule", "epochs", "regularisation"}
    assert found["regularisation"].where == ("logreg",)
    assert differences("corrected", "corrected") == []
    forth, back = differences("paper_code", "corrected"), differences("corrected", "paper_code")
    assert {(each.switch, each.first, each.second, each.where) for each in forth} == {
        (each.switch, each.second, each.first, each.where) for each in back
    }


def test_the_command_prints_the_difference_with_reasons(capsys):
    assert main(["protocols", "paper_code", "corrected"]) == 0
    told = capsys.readouterr().out
    assert "selection (scbert): reported → held_out\n    N, held_out is better: " in told
    assert "(D24, D31)" in told
    assert main(["protocols"]) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in [*ROWS, *PRESETS])
    assert main(["protocols", "scbert_original"]) == 0
    assert "logreg" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["paper_cod"], "a preset must be one of .*: got 'paper_cod'; did you mean paper_code"),
        (["corrected", "original"], "a preset must be one of .*: got 'original'"),
        (["a", "b", "c"], "compares two presets: got a b c; name two"),
    ],
)
def test_presets_that_are_not_there_are_refused(words, message, capsys):
    assert main(["protocols", *words]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert re.search(message, told)


def test_numbers_are_values_where_the_switch_takes_any():
    assert ROWS["epochs"].settings("3") == {"train.epochs": 3}
    assert ROWS["warm_up"].settings("0.5") == {"train.warmup_epochs": 0.5}
    assert not ROWS["epochs"].knows("many") and not ROWS["epochs"].knows("-1")
    assert not ROWS["order"].knows("3")
    assert ROWS["gene_identity"].settings(AS_SET) == {}


def test_an_unknown_switch_is_refused():
    with pytest.raises(UserError, match="a switch must be one .*got 'selecton'; did you mean sel"):
        find("selecton")
