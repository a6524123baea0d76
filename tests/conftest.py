"""Fixtures for every test; no test touches the user's folders."""

import pytest


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path / "data_dir"))
