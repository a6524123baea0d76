"""The one table of models."""

from dataclasses import is_dataclass
from importlib.metadata import EntryPoint

import pytest

from leadline import models
from leadline.config import SCHEMAS, MlpConfig, ModelConfig, registry
from leadline.config.compose import compose
from leadline.config.shipped import options


@pytest.mark.parametrize("name", registry.ROWS)
def test_each_row_names_a_schema_and_a_class(name):
    row = registry.ROWS[name]
    schema = registry.imported(row.schema)
    assert is_dataclass(schema) and issubclass(schema, ModelConfig)
    assert isinstance(registry.imported(row.model), type)
    assert SCHEMAS["model"][name] is schema
    assert registry.of(compose([f"model={name}"]).model) is row


def test_each_shipped_model_has_its_file():
    assert set(options("model")) == set(registry.ROWS)


def test_titles_are_told_apart():
    titles = [row.title for row in registry.ROWS.values()]
    assert len(set(titles)) == len(titles)


def test_a_kind_of_settings_belongs_to_the_row_of_what_it_extends():
    class Wider(MlpConfig):
        pass

    assert registry.of(Wider(name="wider")) is registry.ROWS["mlp"]
    assert models.learns_by_epochs(Wider(name="wider"))


def test_a_model_of_another_package_is_a_row(monkeypatch):
    point = EntryPoint(name="mine", value="package:Mine", group=registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point])
    row = registry.installed()["mine"]
    assert (row.model, row.kind, row.title) == ("package:Mine", "external", "mine")
    assert not registry.named("mine").deterministic
