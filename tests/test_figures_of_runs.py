"""Figures of a report: what is drawn equals what was given, and nothing breaks on odd input."""

from dataclasses import replace

import numpy as np
import pytest

from leadline.errors import UserError
from leadline.report import figures
from leadline.report.figures import style
from leadline.report.figures.confusion import SCALE
from leadline.stats import Interval
from test_figures import EVIDENCE, count, frame, labelled

RNG = np.random.default_rng(3)
ARMS = ("scbert/reference", "logreg/logreg")


def curve(arm, seed, mode="", best=None, scores=(0.1, 0.5, 0.7)):
    return figures.Curve(
        arm=arm,
        seed=seed,
        scores={"selection_accuracy": list(scores)},
        epochs=[1, 2, 3],
        best=best,
        mode=mode,
    )


def test_learning_curves_are_coloured_by_mode():
    runs = [curve(ARMS[0], seed, "low" if seed < 2 else "high", best=2) for seed in range(5)]
    runs.append(curve(ARMS[0], 5, "collapsed", scores=(0.1, np.nan, 0.1)))
    drawing = figures.learning_curves(runs)
    axes = drawing.figure.axes[0]
    drawn = {str(lines.get_label()): lines for lines in axes.collections if lines.get_label()}
    assert {k: len(v.get_segments()) for k, v in drawn.items() if k.endswith("runs")} == {
        "low runs": 2,
        "high runs": 3,
        "collapsed runs": 1,
    }
    colours = {tuple(drawn[f"{mode} runs"].get_color()[0]) for mode in ("low", "high", "collapsed")}
    assert len(colours) == 3
    assert "2 of 6 runs end in the lower of two modes" in drawing.caption
    assert "1 runs predict one class" in drawing.caption
    with pytest.raises(UserError, match="learning curves need runs with scores by epoch"):
        figures.learning_curves([])


def test_batch_sizes_stand_in_order_with_every_run():
    scores = {(f"scbert/batch_{size}", 1.0): RNG.normal(0.7, 0.01, 4) for size in (128, 8, 32)}
    runs = frame({arm: list(values) for arm, values in scores.items()})
    sizes = {f"scbert/batch_{size}": size for size in (8, 32, 128)}
    drawing = figures.batch_size(runs, sizes, metrics=("accuracy",))
    axes = drawing.figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "32", "128"]
    for arm in sizes:
        assert count(axes, "runs of", arm) == 4
    middles = [bar.get_ydata()[0] for arm in sizes for bar in labelled(axes, "mean of", arm)]
    theirs = [np.mean(scores[arm, 1.0]) for arm in sizes]
    assert np.allclose(middles, theirs, rtol=1e-12)


def test_the_difference_of_two_confusions_is_a_panel():
    counts = {ARMS[0]: np.array([[8, 2], [0, 5]]), ARMS[1]: np.array([[5, 5], [0, 5]])}
    drawing = figures.confusion(counts, ["A", "B"], less=(ARMS[0], ARMS[1]))
    drawn = [axes for axes in drawing.figure.axes if axes.axison]
    assert len(drawn) == 3
    assert {text.get_text() for text in drawn[2].texts} == {"30", "−30"}
    assert "difference in points" in drawing.caption


def test_confusion_matrices_show_shares_of_the_true_class():
    counts = np.array([[8, 2, 0], [0, 5, 5], [0, 0, 0]])
    drawing = figures.confusion({ARMS[0]: counts}, ["a", "b", "<i>c</i>"])
    axes = drawing.figure.axes[0]
    texts = {tuple(text.get_position()[::-1]): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "80", (0, 1): "20", (1, 1): "50", (1, 2): "50"}
    mesh = axes.collections[0]
    assert np.allclose(mesh.get_array(), [[0.8, 0.2, 0], [0, 0.5, 0.5], [0, 0, 0]])
    assert mesh.get_cmap() is SCALE
    assert "a 80% right, most often confused with b (20%)" in drawing.description


def test_f1_of_classes_stands_in_the_order_of_their_cells():
    scores = {arm: {"rare": [0.2, 0.4], "common": [0.9, 0.8]} for arm in ARMS}
    drawing = figures.per_class(scores, {"rare": 3, "common": 1200})
    axes = drawing.figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["common (1,200)", "rare (3)"]
    assert all(count(axes, "runs of", arm) == 4 for arm in ARMS)
    assert "rare: mean F1 scBERT 0.30" in drawing.description


def test_calibration_bins_hold_every_cell():
    confidence = np.array([0.05, 0.15, 0.95, 0.95, 1.0])
    right = np.array([False, True, True, True, False])
    found = figures.reliability(confidence, right, 0.1)
    assert found.share.sum() == pytest.approx(1) and found.share[9] == pytest.approx(0.6)
    assert found.right[9] == pytest.approx(2 / 3)
    assert np.isnan(found.right[5]) and found.confidence[0] == pytest.approx(0.05)
    drawing = figures.calibration({ARMS[0]: [found, found]})
    assert "mean expected calibration error 0.100 over 2 runs" in drawing.description
    assert "ECE 0.100" in {text.get_text() for text in drawing.figure.axes[0].texts}


def contrast(a, b, verdict="open"):
    return figures.Contrast(
        arm=ARMS[0],
        against=ARMS[1],
        a=np.array(a),
        b=np.array(b),
        interval=Interval(-0.1, 0.2, 0.95, "welch"),
        title="no pretraining",
        title_against="scBERT",
        verdict=verdict,
    )


def test_the_picture_of_an_answer_has_runs_differences_verdicts_and_the_margin():
    one = contrast([0.7, 0.75, 0.8], [0.7, 0.71, 0.69])
    other = replace(one, arm=ARMS[0], title="another", verdict="worse")
    drawing = figures.estimation([one, other], score="accuracy", margin=0.02)
    left, right = drawing.figure.axes
    assert count(left, "runs of", ARMS[0]) == 6 and count(left, "runs of", ARMS[1]) == 3
    points = labelled(right, "difference of", ARMS[0])
    assert points[0].get_xdata()[0] == pytest.approx(0.05)
    # Colour and sign both say what is shown.
    looks = [style.VERDICTS[name] for name in ("open", "worse")]
    assert [each.get_marker() for each in points] == [seen.marker for seen in looks]
    assert [each.get_color() for each in points] == [seen.colour for seen in looks]
    spans = [c.get_segments()[0][:, 0].tolist() for c in right.collections
             if hasattr(c, "get_segments")]  # fmt: skip
    assert [-0.1, 0.2] in spans
    (band,) = right.patches
    assert [band.get_x(), band.get_x() + band.get_width()] == pytest.approx([-0.02, 0.02])
    words = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert words == ["shown: behind", "cannot be told yet", "margin, ±0.02"]
    assert "p =" not in drawing.description + drawing.caption
    assert "no pretraining less scBERT: +0.050, interval -0.100 to +0.200" in drawing.description
    again = figures.estimation([one, other], score="accuracy", margin=0.02)
    assert figures.to_svg(again.figure) == figures.to_svg(drawing.figure)
    flat = contrast([0.7, 0.7], [0.6, 0.6], "untested")
    assert figures.estimation([flat], score="accuracy").figure


def test_many_runs_are_one_path_and_all_there():
    values = RNG.normal(0.8, 0.01, 500)
    drawing = figures.estimation([contrast(values, [0.7, 0.8])], score="accuracy")
    (cloud,) = (
        each
        for each in drawing.figure.axes[0].get_children()
        if str(each.get_label()).startswith(f"runs of {ARMS[0]}")
    )
    at = cloud.get_path().vertices[::2, 0]
    np.testing.assert_allclose(np.sort(at), np.sort(values))
    assert len(figures.to_svg(drawing.figure)) < 90_000


@pytest.mark.parametrize("width", [figures.WIDE, figures.NARROW])
def test_pictures_of_a_single_comparison_have_room(width):
    """A layout that collapses is a warning, and warnings are errors here."""
    one = figures.PlacedDifference(
        panel="Balanced accuracy\nsome cells, 20% of labels", label="an arm of a long name",
        estimate=0.1, low=0.0, high=0.2, verdict="open", primary=True,
    )  # fmt: skip
    other = replace(one, panel="macro-F1\nsome cells, 20% of labels", primary=False)
    for found in ([one], [one, other], [replace(one, panel=f"{k}\nx") for k in range(5)]):
        figures.where_it_holds(found, margin=0.05, width=width)
    figures.estimation([contrast([0.7, 0.8], [0.6])], score="accuracy", margin=0.1, width=width)


def test_small_multiples_have_a_panel_for_each_place_and_count_the_rest():
    found = [
        figures.PlacedDifference(
            panel=f"accuracy\n{share} % of labels", label=label, estimate=0.1, low=0.0, high=0.2,
            verdict=verdict, primary=True,
        )
        for share in range(1, 15)
        for label, verdict in (("a − b", "open"), ("c − b", "better"))
    ]  # fmt: skip
    drawing = figures.where_it_holds(found, margin=0.05)
    drawn = [axes for axes in drawing.figure.axes if axes.axison]
    assert len(drawn) == 12 and "2 more places stand in the table" in drawing.caption
    markers = [line.get_marker() for line in drawn[0].lines if line.get_label().startswith("acc")]
    assert markers == [style.VERDICTS[name].marker for name in ("open", "better")]
    assert "accuracy, 1 % of labels, a − b: +0.100, interval +0.000 to +0.200" in (
        drawing.description
    )


def test_a_forest_of_comparisons_groups_them():
    rows = [
        figures.Compared(group=group, label=label, estimate=0.1, low=low, high=0.3, verdict=verdict,
                         p=".04")
        for group, label, low, verdict in (
            ("cells, accuracy", "a − b", -0.1, "open"),
            ("cells, accuracy", "c − b", 0.05, "better"),
            ("cells, macro-F1", "a − b", None, "untested"),
        )
    ]  # fmt: skip
    drawing = figures.contrasts(rows, family="3 tests")
    axes = drawing.figure.axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a − b", "c − b", "a − b"]
    assert [line.get_label() for line in axes.lines if "cells" in str(line.get_label())] == [
        "cells, accuracy, a − b",
        "cells, accuracy, c − b",
        "cells, macro-F1, a − b",
    ]
    assert "Holm’s correction over 3 tests" in drawing.caption


def test_cost_stands_on_a_logarithmic_axis_with_round_times():
    runs = [
        figures.Spent(arm=arm, hours=hours * (1 + k / 10), value=0.8)
        for arm, hours in zip(ARMS, (2.0, 0.001), strict=True)
        for k in range(3)
    ]
    drawing = figures.cost(runs, score="accuracy", processor="GPU")
    axes = drawing.figure.axes[0]
    assert axes.get_xscale() == "log" and "GPU time" in axes.get_xlabel()
    assert [t.get_text() for t in axes.get_xticklabels()][0] == "2 s"
    assert all(count(axes, "runs of", arm) == 3 for arm in ARMS)
    with pytest.raises(UserError, match="runs whose time is known"):
        figures.cost([], score="accuracy", processor="GPU")


def test_published_runs_stand_beside_ours_in_the_same_colour():
    ours = frame(
        {
            ("scbert/reference", 1.0): [0.7, 0.71, 0.72],
            ("scbert/reference", 0.1): [0.5, 0.55, 0.6],
            ("logreg/logreg", 1.0): [0.8, 0.8, 0.81],
        },
        dataset="zheng68k",
    )
    drawing = figures.few_shot(ours, metrics=("accuracy",), beside=EVIDENCE)
    axes = drawing.figure.axes[0]
    theirs = "scbert/reference" + style.PUBLISHED
    assert count(axes, "runs of", theirs) >= 6
    look = figures.look(theirs)
    assert (look.colour, look.published) == (figures.look("scbert/reference").colour, True)
    for dots in labelled(axes, "runs of", theirs):
        assert tuple(dots.get_facecolors()[0][:3]) == (1, 1, 1)
    assert "Open marks are the paper’s runs" in drawing.caption
    assert "scBERT, published at 100 %: mean 0.7" in drawing.description
    elsewhere = frame({("scbert/reference", 1.0): [0.7, 0.71]}, dataset="mine")
    said = figures.every_run(elsewhere, metrics=("accuracy",), beside=EVIDENCE).caption
    assert "The paper has no runs of these arms" in said


def test_texts_of_narrow_and_wide_figures_lie_inside_them():
    arms = {f"scbert/an arm with a rather long name {k}": None for k in range(3)}
    matrices = {arm: RNG.integers(0, 9, (5, 5)) for arm in arms}
    names = [f"a class with a name of many letters {k}" for k in range(5)]
    scores = {arm: {name: [0.4, 0.5] for name in names} for arm in arms}
    for width in (figures.WIDE, figures.NARROW):
        drawings = [
            figures.confusion(matrices, names, width=width),
            figures.per_class(scores, dict.fromkeys(names, 5), width=width),
            figures.learning_curves([curve(arm, 1) for arm in arms], width=width),
            figures.estimation(
                [contrast([0.7, 0.8], [0.6, 0.5])], score="accuracy", width=width
            ),
        ]  # fmt: skip
        for drawing in drawings:
            box, (wide, high) = drawing.figure.get_tightbbox(), drawing.figure.get_size_inches()
            assert box.x0 > -0.05 and box.y0 > -0.05, (drawing.name, width, box)
            assert box.x1 < wide + 0.05 and box.y1 < high + 0.05, (drawing.name, width, box)
