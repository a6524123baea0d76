"""Fixtures for tests of wandb: no key, no network, no file of the user's, no process left."""

import os
from contextlib import contextmanager

import pytest

from wandb_server import serving

KEY = "0123456789abcdef" * 2 + "leadline"


def proxies(name):
    return name.lower() in ("http_proxy", "https_proxy", "all_proxy")


@contextmanager
def quiet_home(place):
    """Give wandb a home of its own without a key, on an address that nobody answers."""
    import wandb

    home = place / "home"
    home.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        for name in [name for name in os.environ if name.startswith("WANDB_") or proxies(name)]:
            patched.delenv(name)
        patched.setenv("HOME", str(home))
        patched.setenv("NETRC", str(home / "netrc"))
        for name in ("CACHE", "CONFIG"):
            patched.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
        patched.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
        patched.chdir(place)
        wandb.teardown()
        yield home
        wandb.teardown()


@pytest.fixture
def at_home(tmp_path):
    with quiet_home(tmp_path) as home:
        yield home


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
