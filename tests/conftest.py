"""Fixtures for every test; no test touches the user's folders."""

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, and nothing of the code.
settings.register_profile("leadline", deadline=None)
settings.load_profile("leadline")


@pytest.fixture(autouse=True)
def own_data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("LEADLINE_DATA", str(tmp_path / "data_dir"))
