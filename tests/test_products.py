"""Products of matrices: the same numbers as torch's, whatever lies where."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.models import linear as products
from leadline.models.linear import linear, product

SIZES = st.integers(1, 40)


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), SIZES, SIZES, SIZES, st.booleans(), st.booleans(), st.booleans())
def test_is_the_product(matrices, rows, columns, inner, turned, cut, biased):
    a = drawn(matrices, rows, inner)
    b = drawn(matrices, inner, columns, seed=1).mT if turned else drawn(matrices, columns, inner)
    if cut:  # neither laid out by rows nor by columns
        b = drawn(matrices, 2 * columns, 2 * inner, seed=2)[:, ::2, ::2]
    bias = drawn(matrices, columns, seed=3) if biased else None
    expected = a.double() @ b.double().mT
    if bias is not None:
        expected = expected + bias.double()[:, None]
    torch.testing.assert_close(product(a, b, bias).double(), expected, rtol=1e-5, atol=1e-5)


def test_one_matrix_serves_many():
    a, b, bias = drawn(3, 5, 7), drawn(4, 7, seed=1), drawn(4, seed=2)
    torch.testing.assert_close(product(a, b, bias), a @ b.T + bias)


def test_nothing_summed_over_nothing():
    assert product(drawn(0, 4), drawn(3, 4)).shape == (0, 3)
    assert not product(drawn(2, 0), drawn(3, 0)).any()


def test_double_stays_double():
    a, b = drawn(6, 5, dtype=torch.float64), drawn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(product(a, b), a @ b.T, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("frozen", [(), ("x",), ("weight",), ("bias",), ("x", "bias")])
def test_gradients_are_those_of_torch(monkeypatch, frozen):
    monkeypatch.setattr(products, "WORTH_IT", 0)
    shapes = {"x": (2, 9, 5), "weight": (7, 5), "bias": (7,)}
    found = []
    for way in (linear, torch.nn.functional.linear):
        own = {name: drawn(*shape).requires_grad_() for name, shape in shapes.items()}
        for name in frozen:
            own[name].requires_grad_(False)
        out = way(own["x"], own["weight"], own["bias"])
        (out * drawn(2, 9, 7, seed=4)).sum().backward()
        found.append([out, *(own[name].grad for name in shapes if name not in frozen)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_small_work_and_half_precision_are_left_to_torch(monkeypatch):
    calls = []
    monkeypatch.setattr(products.LinearMap, "apply", lambda *args: calls.append(args) or args[0])
    linear(drawn(2, 3), drawn(4, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(drawn(512, 200), drawn(800, 200)).dtype == torch.bfloat16
    assert not calls
    linear(drawn(512, 200), drawn(800, 200))
    assert len(calls) == 1


def test_the_compiler_of_torch_sees_plain_products():
    layer = products.Linear(200, 300)
    x, seen = drawn(100, 200), []

    def keep(graph, inputs):
        seen.append(graph.code)
        return graph.forward

    compiled = torch.compile(layer, backend=keep)
    torch.testing.assert_close(compiled(x), layer(x))
    assert "mkldnn" not in seen[0]
    assert "linear" in seen[0]
