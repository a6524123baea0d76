"""Files of weights: what is let in, what is refused, and what the record says of it."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from leadline.errors import UserError
from leadline.models import weights


class Small(nn.Module):
    def __init__(self, width=4, classes=3):
        super().__init__()
        self.layer = nn.Linear(5, width)
        self.register_buffer("counter", torch.zeros((), dtype=torch.int64))
        self.head = nn.Linear(width, classes)


def body(name):
    return not name.startswith("head.")


def state_of(network, **changes):
    return {name: value.clone() for name, value in network.state_dict().items()} | changes


def test_a_full_match_is_loaded_counted_and_told_by_its_fingerprint(tmp_path):
    torch.manual_seed(1)
    source, target, other = Small(), Small(), Small()
    torch.save({"model_state_dict": source.state_dict(), "losses": 0.3}, tmp_path / "a.pth")
    state = weights.read(tmp_path / "a.pth")
    audit = weights.load(target, state, body=body)
    assert torch.equal(target.layer.weight, source.layer.weight)
    facts = audit.facts()
    assert facts["matched"] == 5 and facts["share_of_parameters"] == 1.0
    assert facts["missing"] == facts["unexpected"] == [] and facts["wrong_shape"] == {}
    assert weights.load(other, state_of(source), body=body).fingerprint == audit.fingerprint
    changed = state_of(source)
    changed["layer.bias"][0] += 1e-6
    assert weights.load(other, changed, body=body).fingerprint != audit.fingerprint


@pytest.mark.parametrize("holder", [None, "network", "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("wrapper", ["", "module."])
def test_every_wrapping_is_read(holder, wrapper, tmp_path):
    state = {wrapper + name: value for name, value in Small().state_dict().items()}
    torch.save(state if holder is None else {"epoch": 3, holder: state}, tmp_path / "a.pt")
    assert set(weights.read(tmp_path / "a.pt")) == set(Small().state_dict())


def test_another_precision_is_converted():
    target, source = Small(), state_of(Small())
    source["layer.weight"] = source["layer.weight"].double()
    weights.load(target, source, body=body)
    assert target.layer.weight.dtype == torch.float32
    assert torch.equal(target.layer.weight, source["layer.weight"].float())


def test_missing_heads_keep_their_own_weights_and_heads_can_be_left():
    torch.manual_seed(2)
    target, source = Small(), Small()
    before = target.head.weight.clone()
    whole = state_of(source)
    without = {name: value for name, value in whole.items() if body(name)}
    audit = weights.load(target, without, body=body)
    assert audit.missing == ("head.weight", "head.bias")
    assert audit.parameters_loaded == 24 and audit.parameters == 39
    audit = weights.load(target, whole, body=body, heads=False)
    assert torch.equal(target.head.weight, before)
    assert audit.unexpected == audit.missing == ("head.weight", "head.bias")
    weights.load(target, whole, body=body)
    assert torch.equal(target.head.weight, source.head.weight)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("layer.bias"), r"1 missing in the file \(layer.bias\)"),
        (lambda s: s.update(extra=torch.ones(1)), r"1 unknown to the network \(extra\)"),
        (
            lambda s: s.update({"layer.weight": torch.ones(2, 5)}),
            r"1 of another shape \(layer.weight \[2, 5\] in the file, \[4, 5\] here\)",
        ),
    ],
)
def test_anything_but_a_full_match_of_the_body_is_refused_and_nothing_is_loaded(change, said):
    target, source = Small(), state_of(Small())
    before = state_of(target)
    change(source)
    with pytest.raises(UserError, match=said):
        weights.load(target, source, body=body)
    assert all(torch.equal(before[name], value) for name, value in target.state_dict().items())


def test_what_is_named_may_differ_and_a_misspelt_name_is_refused():
    source = state_of(Small())
    del source["layer.bias"]
    source["old.thing"] = torch.ones(1)
    audit = weights.load(Small(), source, body=body, allow=["layer.bias", "old"])
    assert audit.missing == ("layer.bias",) and audit.unexpected == ("old.thing",)
    with pytest.raises(UserError, match="allow_missing must name weights .* got 'layre'"):
        weights.load(Small(), source, body=body, allow=["layre"])


class RunsCode:
    def __reduce__(self):
        return os.system, ("touch /tmp/leadline_was_here",)


def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(tmp_path):
    mark = Path("/tmp/leadline_was_here")
    torch.save({"network": RunsCode()}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="got one that calls posix.system when it is opened"):
        weights.read(tmp_path / "evil.pt")
    assert not mark.exists()


def test_numpy_numbers_in_a_published_file_are_let_in(tmp_path):
    content = {
        "model_state_dict": Small().state_dict(),
        "losses": np.float64(0.25),
        "best": [np.ones(2)],
    }
    torch.save(content, tmp_path / "a.pth")
    assert "layer.weight" in weights.read(tmp_path / "a.pth")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(kept, tmp_path):
    torch.save({"network": Small(width=64).state_dict()}, tmp_path / "a.pt")
    content = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match="must be a whole file of torch.save") as caught:
        weights.read(tmp_path / "a.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"hello, world" * 99])
def test_a_foreign_file_is_refused(content, tmp_path):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(UserError, match="must be a whole file of torch.save"):
        weights.read(tmp_path / "a.pt")


def test_other_contents_are_named(tmp_path):
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="with a dict of 'epoch', 'lr'"):
        weights.read(tmp_path / "a.pt")
    torch.save(torch.ones(3), tmp_path / "b.pt")
    with pytest.raises(UserError, match="with a Tensor"):
        weights.read(tmp_path / "b.pt")
    with pytest.raises(UserError, match="must exist: got no such file"):
        weights.read(tmp_path / "c.pt")
    with pytest.raises(UserError, match="name the file itself"):
        weights.read(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    state = state_of(Small())
    state["layer.weight"][0, 0] = torch.nan
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match="got layer.weight with infinite values or NaN"):
        weights.read(tmp_path / "a.pt")
