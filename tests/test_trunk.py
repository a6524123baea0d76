"""What frozen blocks give, stored: the same bits with and without, within a budget of disk."""

import os

import numpy as np
import pytest
import torch

from leadline import training
from leadline.config import ScbertConfig
from leadline.models.scbert import network as networks_of_scbert
from leadline.models.scbert import trunk
from leadline.models.scbert.model import Scbert
from leadline.models.scbert.trunk import StoredTrunk
from leadline.processes import Preempted, StopRequest
from networks import classifier
from networks import halves as larger_halves

WORDS = {"size": "tiny", "depth": 3, "gene2vec": "random"}


def halves():
    return larger_halves(sizes=(16, 12, 8))


@pytest.fixture(autouse=True)
def in_pieces(monkeypatch):
    """Let small networks be computed cell by cell, as large ones are."""
    monkeypatch.setattr(networks_of_scbert, "POSITIONS_FOR_PIECES", 1)


@pytest.fixture
def computed(monkeypatch):
    """Count the cells that go through each frozen block."""
    counts = []
    change = networks_of_scbert.Block.change

    def counted(block, x_BND):
        if not any(parameter.requires_grad for parameter in block.parameters()):
            counts.append(len(x_BND))
        change(block, x_BND)

    monkeypatch.setattr(networks_of_scbert.Block, "change", counted)
    return counts


def learner(folder=None, freeze="paper", redraw_every=0, gib=1.0, **options):
    words = WORDS | {"redraw_every": redraw_every, "trunk_gib": gib}
    model = Scbert(ScbertConfig(name="scbert", **words), freeze=freeze)
    model.cache = None if folder is None else folder / "tokens"
    return classifier(model, lr=0.01, **options)


def outcome(one, train, test):
    fit = one.fit(train, test)
    return fit.epochs, one.predict_proba(test), one.network.state_dict()


def assert_same_bits(found, expected):
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])
    assert all(torch.equal(x, expected[2][name]) for name, x in found[2].items())


@pytest.mark.parametrize("freeze", ["paper", "original", "all_but_head"])
@pytest.mark.parametrize("redraw_every", [0, 4])
def test_the_same_bits_with_and_without(freeze, redraw_every, tmp_path, computed):
    cells, words = halves(), {"freeze": freeze, "redraw_every": redraw_every}
    expected = outcome(learner(None, **words), *cells)
    plainly = sum(computed)
    computed.clear()
    assert_same_bits(outcome(learner(tmp_path, **words), *cells), expected)
    assert 0 < sum(computed) < plainly
    first = sum(computed)
    computed.clear()
    # As another seed would that starts from the same weights.
    assert_same_bits(outcome(learner(tmp_path, **words), *cells), expected)
    # With freeze=original the last block is frozen too, behind one that learns.
    assert sum(computed) < first and (sum(computed) == 0 or freeze == "original")


def test_a_resume_goes_on_from_what_is_stored(tmp_path):
    cells = halves()
    expected = outcome(learner(None, redraw_every=4), *cells)
    vault, notice = training.CheckpointsInMemory(), StopRequest()

    def stop(text):
        notice.requested = text.startswith("epoch 2")

    first = learner(tmp_path, redraw_every=4, vault=vault, notice=notice)
    object.__setattr__(first.setting, "tell", stop)
    with pytest.raises(Preempted):
        first.fit(*cells)
    assert_same_bits(outcome(learner(tmp_path, redraw_every=4, vault=vault), *cells), expected)


@pytest.mark.parametrize(
    ("freeze", "stabiliser", "gib"),
    [("none", "head", 1), ("paper", "batch", 1), ("paper", "head", 0)],
)
def test_nothing_is_stored_where_cells_learn_or_see_one_another(freeze, stabiliser, gib, tmp_path):
    words = WORDS | {"stabiliser": stabiliser, "trunk_gib": gib}
    model = Scbert(ScbertConfig(name="scbert", **words), freeze=freeze)
    model.cache = tmp_path / "tokens"
    classifier(model, epochs=1).fit(*halves())
    assert not (tmp_path / "trunk").exists()


CELL = 5 * 4 * 4  # bytes of a cell of 5 positions and width 4


def ask(store, tokens, weight):
    """Ask for cells; give how many had to be computed."""
    made = []

    def compute(tokens_BN):
        made.append(len(tokens_BN))
        return tokens_BN[..., None] * weight

    found = store.encodings(tokens, [weight], "test", compute)
    assert torch.equal(found, tokens[..., None] * weight)
    return sum(made)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.glob("*/*"))


def test_the_budget_of_disk_is_kept_and_what_is_of_use_stays(tmp_path):
    tokens, weight = torch.arange(6)[:, None].expand(6, 5) % 7, torch.rand(4)
    store = StoredTrunk(tmp_path, 4 * CELL)
    assert ask(store, tokens, weight) == 6 and size_of(tmp_path) == 4 * CELL
    # More than fits, again and again: the part that stays is of use.
    assert [ask(store, tokens, weight) for _ in range(3)] == [2, 2, 2]
    assert size_of(tmp_path) == 4 * CELL
    # Another process has other weights; what nobody has read since makes room, oldest first.
    for age, path in enumerate(sorted(tmp_path.glob("*/*"))):
        os.utime(path, (age, age))
    newest = path
    other = StoredTrunk(tmp_path, 4 * CELL)
    assert ask(other, tokens[:3], weight + 1) == 3 and ask(other, tokens[:3], weight + 1) == 0
    assert newest.exists() and size_of(tmp_path) == 4 * CELL


def test_weights_in_place_are_noticed_and_broken_files_are_made_anew(tmp_path):
    tokens, weight = torch.arange(3)[:, None].expand(3, 5) % 7, torch.rand(4)
    store = StoredTrunk(tmp_path, 100 * CELL)
    assert ask(store, tokens, weight) == 3
    weight.mul_(2)
    assert ask(store, tokens, weight) == 3
    weight.div_(2)
    assert ask(store, tokens, weight) == 0
    for path in store.place.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    assert ask(store, tokens, weight) == 3 and ask(store, tokens, weight) == 0


def test_a_folder_that_cannot_be_written_to_costs_nothing_but_time(tmp_path, monkeypatch, capsys):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trunk.files, "write_bytes", full)
    tokens, weight = torch.arange(3)[:, None].expand(3, 5) % 7, torch.rand(4)
    store = StoredTrunk(tmp_path, 100 * CELL)
    assert [ask(store, tokens, weight) for _ in range(2)] == [3, 3]
    assert capsys.readouterr().err.count("is not kept: ") == 1
