"""Fixtures for tests of wandb: no key, no network, no file of the user's, no process left."""

import os

import pytest

from wandb_server import serving

KEY = "0123456789abcdef" * 2 + "leadline"


@pytest.fixture
def at_home(tmp_path, monkeypatch):
    """Give wandb a home of its own without a key, on an address that nobody answers."""
    import wandb

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()
    yield home
    wandb.teardown()


@pytest.fixture
def server(at_home, monkeypatch):
    """Serve what wandb's server would, to somebody with a key."""
    import wandb

    with serving() as running:
        monkeypatch.setenv("WANDB_BASE_URL", running.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        wandb.teardown()
        yield running
        wandb.teardown()
