"""Every metric against scikit-learn, or against its definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as peer

from leadline.cli import list as list_command
from leadline.report import answer
from leadline.stats import metrics, tests
from leadline.studies import schema


@st.composite
def predictions(draw):
    n_classes = draw(st.integers(2, 7))
    n_cells = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.integers(0, n_classes, n_cells)
    proba = rng.dirichlet(np.full(n_classes, 0.5), n_cells).astype(np.float16)
    predicted = np.where(rng.random(n_cells) < 0.5, truth, proba.argmax(axis=1))
    return truth, predicted, proba


def macro(truth, predicted, labels):
    return peer.precision_recall_fscore_support(
        truth, predicted, labels=labels, average="macro", zero_division=0
    )[:3]


@given(predictions())
def test_scores_equal_scikit_learn(sample):
    truth, predicted, proba = sample
    everything = np.arange(proba.shape[1])
    for rule, labels in (
        ("observed", None),
        ("truth", np.unique(truth)),
        ("all", everything),
    ):
        ours = metrics.score(truth, predicted, proba, labels=rule)
        expected = macro(truth, predicted, labels)
        found = [ours[f"macro_{name}"] for name in ("precision", "recall", "f1")]
        assert found == pytest.approx(expected, abs=1e-12)
    assert ours["accuracy"] == pytest.approx(peer.accuracy_score(truth, predicted), abs=1e-12)
    recalls = peer.recall_score(truth, predicted, labels=np.unique(truth), average=None)
    assert ours["balanced_accuracy"] == pytest.approx(recalls.mean(), abs=1e-12)
    kept = np.clip(proba.astype(float), metrics.SMALLEST, None)
    kept /= kept.sum(axis=1, keepdims=True)
    assert ours["log_loss"] == pytest.approx(
        peer.log_loss(truth, kept, labels=everything), abs=1e-12
    )


@given(predictions())
def test_scores_do_not_depend_on_the_order_of_cells(sample):
    truth, predicted, proba = sample
    order = np.random.default_rng(0).permutation(len(truth))
    first = metrics.score(truth, predicted, proba, labels="observed")
    second = metrics.score(truth[order], predicted[order], proba[order], labels="observed")
    assert first == pytest.approx(second, abs=1e-12)


def test_the_two_conventions_for_hard_classes_differ_as_the_paper_has_it():
    truth = np.array([0, 0, 1, 1, 2, 2])
    predicted = np.array([0, 1, 1, 1, 0, 2])
    proba = np.eye(3)[predicted]
    hard = metrics.score(truth, predicted, proba, labels="observed", hard=np.array([0, 1]))
    assert hard["acc_hard"] == 3 / 4
    # Over all predictions class 0 has a false positive from class 2; inside the subset it has none.
    assert hard["f1_hard"] == pytest.approx(macro(truth, predicted, [0, 1])[2])
    inside = truth < 2
    assert hard["f1_hard_cells"] == pytest.approx(
        macro(truth[inside], predicted[inside], [0, 1])[2]
    )
    assert hard["f1_hard"] < hard["f1_hard_cells"]


def test_hard_classes_without_cells_give_no_number():
    truth = np.array([0, 0])
    scores = metrics.score(truth, truth, np.eye(3)[truth], labels="truth", hard=np.array([2]))
    assert "acc_hard" not in scores


def test_calibration_error_against_its_definition():
    # Two bins: confidence .95 with accuracy 1/2, confidence .6 with accuracy 1.
    proba = np.array([[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6]])
    truth, predicted = np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])
    expected = 0.5 * abs(0.5 - 0.95) + 0.5 * abs(1 - 0.6)
    found = metrics.expected_calibration_error(truth, predicted, proba)
    assert found == pytest.approx(expected)


def test_perfect_certainty_has_no_calibration_error_and_no_loss():
    truth = np.array([0, 1, 2])
    scores = metrics.score(truth, truth, np.eye(3), labels="truth")
    assert scores["calibration_error"] == 0
    assert scores["log_loss"] == pytest.approx(0, abs=1e-6)


def test_a_class_that_no_model_could_name_bounds_the_loss():
    scores = metrics.score(np.array([1]), np.array([0]), np.array([[1.0, 0.0]]), labels="truth")
    assert scores["log_loss"] == pytest.approx(24 * np.log(2), rel=1e-6)


def test_per_class_counts_cells_and_names_classes():
    truth, predicted = np.array([0, 0, 1]), np.array([0, 2, 1])
    table = metrics.per_class(truth, predicted, ["a", "b", "c", "never"])
    assert set(table) == {"a", "b", "c"}
    assert table["a"] == {"cells": 2, "precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3)}


def test_collapse_is_one_class_for_all_cells():
    assert metrics.collapsed(np.array([3, 3, 3]))
    assert not metrics.collapsed(np.array([3, 3, 2]))
    assert not metrics.collapsed(np.array([3]))


def test_a_row_is_all_that_a_metric_needs(monkeypatch):
    row = metrics.Metric(
        title="error rate",
        of=lambda calls: float((calls.truth_C != calls.predicted_C).mean()),
        higher_is_better=False,
    )
    monkeypatch.setitem(metrics.ROWS, "error_rate", row)
    scores = metrics.score(np.array([0, 1]), np.array([0, 0]), np.eye(2)[[0, 0]], labels="truth")
    assert list(scores)[-1] == "error_rate" and scores["error_rate"] == 0.5
    assert metrics.title("error_rate") == "error rate" and metrics.lower_is_better("error_rate")
    assert answer.scaled(-0.025, "error_rate") == "−2.5 points"
    compare = {
        "family": "f",
        "tests": ["welch"],
        "metrics": ["error_rate"],
        "equivalence_margin": 0.02,
    }
    assert schema.read_compare(compare, ["a", "b"])["metrics"] == ["error_rate"]


def test_metrics_and_tests_are_told_apart_and_spelt_once():
    for rows in (metrics.ROWS, tests.ROWS):
        titles = [row.title for row in rows.values()]
        assert len(set(titles)) == len(titles)
    assert set(metrics.HEADLINE) <= set(metrics.ROWS)
    # `leadline list` does not load scipy for one word.
    assert f'"{metrics.title("macro_f1")}"' in Path(list_command.__file__).read_text()
