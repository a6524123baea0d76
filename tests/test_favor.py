"""Attention: every way of computing it gives the same, forwards and backwards."""

import builtins
import os
import shutil
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from leadline.cli import main
from leadline.errors import UserError
from leadline.models.scbert import attention, attention_exact
from leadline.runs import record
from networks import CompiledScbert, classifier, fit_and_predict, halves


def problem(seed, batch, tokens, heads, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, tokens, heads, width)
    q, k, v = (
        (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
        for scale in (1.0, 1.3, 1.0)
    )
    projection = attention.draw_projection(width, generator).to(dtype)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    return [q, k, v], projection, weight


def run(attend, vectors, projection, weight, stabiliser):
    """Give the output and the gradients of queries, keys and values."""
    vectors = [x.clone().requires_grad_() for x in vectors]
    out = attend(*vectors, projection, stabiliser)
    (out * weight).sum().backward()
    return [out.detach(), *(x.grad for x in vectors)]


def assert_close(found, expected, limit):
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        assert float((one - other).abs().max()) <= limit * max(1.0, float(other.abs().max()))


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 2**30),
    batch=st.integers(1, 3),
    tokens=st.integers(1, 40),
    heads=st.integers(1, 3),
    width=st.integers(2, 12),
    piece=st.sampled_from([1, 30, 200, 10**5]),
    stabiliser=st.sampled_from(["head", "batch"]),
)
def test_exact_is_the_formula_and_its_gradient_however_it_is_cut(
    seed, batch, tokens, heads, width, piece, stabiliser
):
    words = problem(seed, batch, tokens, heads, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_exact, "PIECE", piece)
        patch.setattr(attention_exact, "PIECE_BACKWARDS", piece)
        found = run(attention.exact, *words, stabiliser)
    assert_close(found, run(attention.plain, *words, stabiliser), 1e-9)


def test_the_gradient_is_that_of_finite_differences():
    vectors, projection, _ = problem(1, 2, 9, 2, 5)
    vectors = [x.requires_grad_() for x in vectors]

    def attend(q, k, v):
        return attention.exact(q, k, v, projection, "batch")

    assert torch.autograd.gradcheck(attend, vectors)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_peer_agrees_under_its_own_stabiliser(dtype):
    words = problem(2, 2, 150, 3, 16, dtype)
    expected = run(attention.performer, *words, "head")
    found = run(attention.exact, *words, "head")
    assert_close(found, expected, 1e-10 if dtype == torch.float64 else 3e-5)


def test_the_peer_knows_no_other_stabiliser_and_may_be_missing(monkeypatch):
    words = problem(2, 1, 5, 1, 4)
    with pytest.raises(UserError, match="of each cell and head only: got model.stabiliser=batch"):
        run(attention.performer, *words, "batch")
    attention.fast_attention.cache_clear()
    real = builtins.__import__

    def without(name, *rest, **named):
        if name == "performer_pytorch":
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r'pip install "leadline\[performer\]"'):
        run(attention.performer, *words, "head")
    attention.fast_attention.cache_clear()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("stabiliser", ["head", "batch"])
def test_compiled_agrees(stabiliser):
    words = problem(3, 2, 50, 2, 16)
    assert_close(
        run(attention.compiled, *words, stabiliser), run(attention.plain, *words, stabiliser), 1e-9
    )


@pytest.fixture
def compiler(monkeypatch):
    """Put something in the place of torch's compiler, and forget what was compiled."""

    real = torch.compile

    def replace(backend):
        monkeypatch.setattr(torch, "compile", lambda *a, **k: real(*a, **k | {"backend": backend}))

    attention.kernel_of_torch.cache_clear()
    torch._dynamo.reset()
    monkeypatch.setattr(attention, "not_compiled", {})
    yield replace
    attention.kernel_of_torch.cache_clear()


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:The .grad attribute")
def test_a_warm_process_compiles_at_most_three_kernels_a_run_and_never_stops_to(compiler):
    graphs = []
    compiler(lambda graph, inputs: graphs.append(graph) or graph)
    runs = [{}, {"width": 6}, {"stabiliser": "batch"}, {"width": 12, "amp": "bf16"}]
    for words in runs:
        amp = words.pop("amp", "none")
        before, taken = len(graphs), {"model": lambda w=words: CompiledScbert(**w), "epochs": 1}
        fit_and_predict(options=taken | {"amp": amp})  # batches of 8 and of 5; predictions
        assert 1 <= len(graphs) - before <= 3
        again = len(graphs)
        fit_and_predict(options=taken | {"amp": amp, "batch_size": 6})
        assert len(graphs) == again


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:The .grad attribute")
def test_without_a_compiler_it_goes_on_cell_by_cell_and_warns(compiler, capsys):
    def missing(graph, inputs):
        raise RuntimeError("Failed to find C compiler")

    compiler(missing)
    train, test = halves()
    learner, plain = classifier(CompiledScbert(), epochs=1), classifier(CompiledScbert(), epochs=1)
    *_, warning = learner.fit(train, test).warnings
    assert "cell by cell, slowly, for want of a compiler: " in warning and "C compiler" in warning
    assert capsys.readouterr().err.count("model.backend=compiled goes without a compiler") == 1
    compiler(lambda graph, inputs: graph)
    attention.not_compiled.clear()
    attention.kernel_of_torch.cache_clear()
    assert not any("compiler" in text for text in plain.fit(train, test).warnings)
    found, expected = (one.predict_proba(test) for one in (learner, plain))
    assert abs(found - expected).max() < 1e-6


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:The .grad attribute")
def test_doctor_tells_whether_kernels_can_be_compiled(compiler, capsys):
    def missing(graph, inputs):
        raise RuntimeError("Failed to find C compiler")

    compiler(lambda graph, inputs: graph)
    main(["doctor", "gpu"])
    assert "ok     torch compiles kernels for the device c" in capsys.readouterr().out
    attention.kernel_of_torch.cache_clear()
    compiler(missing)
    assert main(["doctor", "gpu"]) == 1
    assert "WRONG  torch cannot compile for the device c" in capsys.readouterr().out


def test_an_error_of_the_kernel_is_not_taken_for_a_missing_compiler():
    assert attention.no_compiler(RuntimeError("Failed to find C compiler. Please specify"))
    assert not attention.no_compiler(RuntimeError("CUDA error: an illegal memory access"))
    assert not attention.no_compiler(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.slow
def test_a_run_without_a_compiler_ends_done_with_a_warning(tmp_path):
    words = ["model=scbert", "model.size=tiny", "model.backend=compiled", "train.epochs=1"]
    words += ["model.gene2vec=random", "data.fraction=0.2", f"runs_dir={tmp_path}"]
    command = [sys.executable, "-m", "leadline.cli", "run", "train=scbert_tiny", *words]
    # torch's compiler, if this process has called it, has set the variable itself.
    clean = {key: x for key, x in os.environ.items() if not key.endswith("_CACHE_DIR")}
    without = {"CC": "/bin/false", "CXX": "/bin/false"}
    subprocess.run(command, check=True, env=clean | without)
    (folder,) = tmp_path.glob("scbert*")
    warned = record.read_facts(folder)["warnings"]
    assert [line for line in warned if "for want of a compiler" in line]
    # Where there is a compiler, what it makes is kept below the runs.
    shutil.rmtree(folder)
    subprocess.run(command, check=True, env=clean)
    assert any((tmp_path / ".cache" / "kernels" / "torchinductor").iterdir())


@pytest.mark.parametrize("stabiliser", ["head", "batch"])
def test_extreme_projections_stay_finite(stabiliser):
    """Far below and above what float32 can raise: the constant in the features carries it."""
    vectors, projection, weight = problem(4, 2, 20, 2, 16, torch.float32)
    vectors = [x * scale for x, scale in zip(vectors, (30.0, 30.0, 1.0), strict=True)]
    found = run(attention.exact, vectors, projection, weight, stabiliser)
    assert all(x.isfinite().all() for x in found)
    double = [x.double() for x in vectors]
    expected = run(attention.plain, double, projection.double(), weight.double(), stabiliser)
    assert float((found[0] - expected[0]).abs().max()) < 1e-3


def test_one_cell_depends_on_the_others_only_as_published():
    vectors, projection, _ = problem(5, 3, 30, 2, 8)
    for stabiliser, depends in (("batch", True), ("head", False)):
        together = attention.exact(*vectors, projection, stabiliser)
        alone = [
            attention.exact(*(x[i : i + 1] for x in vectors), projection, stabiliser)
            for i in range(3)
        ]
        difference = float((together - torch.cat(alone)).abs().max())
        assert difference > 1e-6 if depends else difference < 1e-12


def test_half_precision_is_computed_in_full():
    vectors, projection, weight = problem(6, 1, 20, 1, 8, torch.float32)
    halves = [x.to(torch.bfloat16) for x in vectors]
    out = attention.exact(*halves, projection, "head")
    expected = attention.exact(*(x.float() for x in halves), projection, "head")
    assert out.dtype == torch.float32 and torch.equal(out, expected)
    found = run(attention.exact, halves, projection, weight, "head")
    assert found[1].dtype == torch.bfloat16


def test_projections_are_orthogonal_in_blocks_and_long_as_normal_vectors():
    drawn = attention.draw_projection(64, torch.Generator().manual_seed(1))
    assert drawn.shape == (266, 64) == (attention.features_of(64), 64)
    unit = drawn / drawn.norm(dim=1, keepdim=True)
    for block in unit.split(64):
        gram = block @ block.T
        assert torch.allclose(gram, torch.eye(len(block)), atol=1e-5)
    # The length of 64 independent normal numbers: sqrt(64) or a little less, deviation 0.7.
    assert 7.7 < float(drawn.norm(dim=1).mean()) < 8.2
    again = attention.draw_projection(64, torch.Generator().manual_seed(1))
    assert torch.equal(drawn, again)
