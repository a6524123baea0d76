"""Figures: what is drawn equals the runs and `stats`; equal input gives equal bytes; the page."""

import argparse
import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from leadline import stats
from leadline.cli.parser import add_reproduce
from leadline.errors import UserError
from leadline.papers import boiarsky, claims, reproduce
from leadline.papers import page as verdict_page
from leadline.papers.boiarsky.figures import draw_all
from leadline.papers.claim_figure import rows_of
from leadline.report import figures, page
from leadline.report.figures import marks, style
from leadline.report.frame import COLUMNS

RUNS = boiarsky.runs()
EVIDENCE = claims.Evidence.of(RUNS, boiarsky.aggregates())
FILE = claims.load_claims()


@pytest.fixture(scope="module")
def drawings():
    results = claims.evaluate(EVIDENCE, FILE)
    found, skipped = draw_all(EVIDENCE, FILE, results)
    assert not skipped
    return {drawing.name: drawing for drawing in found}


def frame(scores, *, dataset="cells", metric="accuracy"):
    """Lay out {(model/arm, fraction): scores} as our own results."""
    rows = [
        {
            **dict.fromkeys(COLUMNS),
            "dataset": dataset,
            "model": arm.partition("/")[0],
            "arm": arm.partition("/")[2],
            "fraction": fraction,
            "seed": seed,
            "split": "test",
            "metric": metric,
            "value": value,
            "precision": "full",
        }
        for (arm, fraction), values in scores.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def panel(drawing, title):
    return next(axes for axes in drawing.figure.axes if axes.get_title("left") == title)


def labelled(axes, kind, arm):
    return [a for a in axes.get_children() if a.get_label() == f"{kind} {arm}"]


def count(axes, kind, arm):
    # Many runs are one path, with a stroke of no length for each.
    return sum(
        len(a.get_offsets()) if hasattr(a, "get_offsets") else len(a.get_path().vertices) // 2
        for a in labelled(axes, kind, arm)
    )


# --- what is drawn ----------------------------------------------------------------------------


def test_figure2_holds_every_run_its_intervals_and_named_tests(drawings):
    rows = boiarsky.select(RUNS, artefact="Figure 2", split="validation")
    for metric, word in (("accuracy", "accuracy"), ("macro_f1", "macro-F1")):
        axes = panel(drawings["figure2"], f"PBMC: {word}")
        for arm in ("scbert/reference", "logreg/logreg"):
            model, _, name = arm.partition("/")
            runs = rows[(rows["model"] == model) & (rows["arm"] == name)]
            runs = runs[runs["metric"] == metric]
            assert count(axes, marks.RUNS, arm) == len(runs)
            by_share = [group["value"].to_numpy() for _, group in runs.groupby("fraction")]
            ends = [stats.student_interval(values) for values in by_share]
            drawn = [line.get_segments()[0][:, 1] for line in labelled(axes, marks.INTERVAL, arm)]
            assert np.allclose(drawn, [(each.low, each.high) for each in ends], rtol=1e-12)
            means = [bar.get_ydata()[0] for bar in labelled(axes, marks.AVERAGE, arm)]
            assert np.allclose(means, [values.mean() for values in by_share], rtol=1e-12)
        above = axes.child_axes[0]
        assert above.get_xlabel() == "p: crossed, Holm over 4"
        low, high = axes.get_ylim()
        assert low < min(e.low for e in ends) and high > max(e.high for e in ends)
    corrected = claims.adjusted(EVIDENCE, "figure2", FILE.families["figure2"], FILE.setting)
    below = sum(tests["welch_holm"].p < 0.05 for tests in corrected.values()) / 2
    labels = [
        label
        for axes in drawings["figure2"].figure.axes
        for label in axes.child_axes[0].get_xticklabels()
    ]
    assert len(labels) == 8
    assert sum(label.get_fontweight() == "bold" for label in labels) == below == 3


def test_runs_read_off_an_image_are_hollow_and_printed_ones_are_not(drawings):
    for name, digitised in (("figure2", False), ("figure3", True), ("figure_s6", True)):
        faces = [
            tuple(face[:3])
            for axes in drawings[name].figure.axes
            for dots in axes.collections
            if str(dots.get_label()).startswith(marks.RUNS)
            for face in dots.get_facecolors()
        ]
        assert faces and all((face == (1, 1, 1)) is digitised for face in faces), name


def test_a_mean_of_runs_that_are_not_all_legible_is_the_printed_one():
    cell = claims.Condition("ms", "scgpt", "reference", 0.75, "accuracy", "Figure 3")
    group = figures.gather(EVIDENCE, [cell], "x")[cell]
    printed = EVIDENCE.printed_row(cell)
    assert group.values.size == 8 and group.printed and group.mean == printed["mean"]
    assert group.interval is None and group.n == 10


def test_collapsed_runs_are_crossed_and_counted(drawings):
    axes = panel(drawings["figure_s6"], "multiple sclerosis\naccuracy")
    assert count(axes, marks.CRASHED, "scgpt/no_pretraining") == 7
    assert count(axes, marks.RUNS, "scgpt/no_pretraining") == 3
    assert "7 runs" in {text.get_text() for text in axes.texts}
    assert "7 runs predict one class only" in drawings["figure_s6"].description


def test_two_modes_are_shown(drawings):
    axes = panel(drawings["table2"], "PBMC: accuracy")
    assert Counter(text.get_text() for text in axes.texts) == {"4 runs": 2, "6 runs": 2}
    assert "two modes: 4 runs around 0.635 and 6 around 0.745" in drawings["table2"].description


def test_the_forest_holds_every_difference_that_claims_judge(drawings):
    results = claims.evaluate(EVIDENCE, FILE)
    rows, missing = rows_of(results)
    drawn = [
        line
        for axes in drawings["forest"].figure.axes
        for line in axes.lines
        if re.fullmatch(r"C\d\d \w+", str(line.get_label()))
    ]
    assert len(drawn) == len(rows) == 64 and missing == 8
    for line in drawn:
        seen = style.VERDICTS[str(line.get_label()).split()[1]]
        assert (line.get_marker(), line.get_color()) == (seen.marker, seen.colour)
    looks = [style.VERDICTS[verdict] for verdict in ("holds", "fragile", "fails")]
    assert len({each.marker for each in looks}) == len({each.colour for each in looks}) == 3
    # Logistic regression is always what is subtracted: scGPT is ahead on multiple sclerosis.
    first = next(row for row in rows if row.claim == "C12")
    assert first.estimate > 0 and first.low > 0


# --- colours ----------------------------------------------------------------------------------


def test_an_arm_looks_the_same_in_every_figure(drawings):
    colours = {}
    for drawing in drawings.values():
        for axes in drawing.figure.axes:
            for dots in axes.collections:
                if str(dots.get_label()).startswith(marks.RUNS):
                    colour = tuple(dots.get_edgecolors()[0][:3])
                    colours.setdefault(dots.get_label(), set()).add(colour)
    assert len(colours) == 7 and all(len(found) == 1 for found in colours.values())
    assert figures.look("new/arm") == figures.look("new/arm")
    assert figures.look("mlp/mlp").word == "mlp"


def luminance(colour):
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(parts, [0.2126, 0.7152, 0.0722]))


def test_colours_stand_out_from_white_and_the_fixed_ones_from_one_another():
    fixed = [each.colour for each in style.LOOKS.values()]
    baselines = [each.colour for each in style.BASELINES.values()]
    for colour in (*fixed, *baselines, *style.OTHER_COLOURS, style.MUTED):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour
    # Machado et al. (2009), full deuteranopia and protanopia, on linear RGB.
    deutan = [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    protan = [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    for matrix in (np.eye(3), deutan, protan):
        seen = [np.clip(np.dot(matrix, np.power(to_rgb(c), 2.2)), 0, 1) ** (1 / 2.2) for c in fixed]
        for a, b in itertools.combinations(range(len(fixed)), 2):
            assert np.linalg.norm(seen[a] - seen[b]) > 0.15, (fixed[a], fixed[b])
    known = [*style.LOOKS.values(), *style.BASELINES.values()]
    assert len({each.marker for each in known}) == len(known)
    assert len({each.colour for each in known}) == len(known)


# --- any frame --------------------------------------------------------------------------------


def test_own_runs_with_strange_names_missing_scores_and_single_runs():
    name = "<script>alert(1)</script>/$x^{$ & \x00"
    runs = frame(
        {
            ("logreg/logreg", 1.0): [0.5, 0.5, 0.5],
            (name, 1.0): [0.1, 0.2, np.nan],
            (name, 0.1): [0.3],
        }
    )
    before = runs.copy()
    for build in (figures.few_shot, figures.every_run):
        drawing = build(runs, metrics=("accuracy",))
        svg = figures.to_svg(drawing.figure, drawing.title).decode()
        ElementTree.fromstring(svg)
        assert figures.to_pdf(drawing.figure).startswith(b"%PDF")
        assert "1 runs have no finite score and are not drawn" in drawing.caption
        shown = page.figure(name, drawing.title, drawing.caption, drawing.description, svg, svg)
        assert "<script" not in shown and "&lt;script&gt;" in shown
    pd.testing.assert_frame_equal(runs, before)


def test_every_run_of_a_large_frame_is_drawn():
    rng = np.random.default_rng(1)
    runs = frame({(f"m/arm{k}", 1.0): rng.normal(0.7, 0.01, 60) for k in range(8)})
    axes = figures.every_run(runs, metrics=("accuracy",)).figure.axes[0]
    assert sum(count(axes, marks.RUNS, f"m/arm{k}") for k in range(8)) == 480


def test_missing_runs_are_told_by_the_builder_and_gathered_by_draw_all():
    runs = frame({("logreg/logreg", 1.0): [0.5, 0.6]})
    with pytest.raises(UserError, match="needs runs of scgpt/reference on ms: got none"):
        figures.few_shot(runs, datasets=["ms"], arms=["scgpt/reference"])
    with pytest.raises(UserError, match="got none"):
        figures.every_run(runs.iloc[:0])
    evidence = claims.Evidence.of(runs)
    drawn, skipped = draw_all(evidence, FILE, claims.evaluate(evidence, FILE))
    assert not drawn
    assert set(skipped) == {"forest", "figure2", "figure3", "table2", "figure_s6"}


# --- files ------------------------------------------------------------------------------------


def test_equal_input_gives_equal_bytes_whatever_the_users_settings(tmp_path, drawings):
    def build(folder):
        drawing = figures.few_shot(RUNS, artefact="Figure 2", datasets=["zheng68k"],
                                   arms=["logreg/logreg", "scbert/reference"])  # fmt: skip
        return [path.read_bytes() for path in figures.save(drawing.figure, folder, "f", "t")]

    before = dict(mpl.rcParams)
    first = build(tmp_path / "a")
    with mpl.rc_context({"font.size": 20, "text.parse_math": True, "axes.grid": True}):
        assert build(tmp_path / "b") == first
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["f.pdf", "f.svg"]
    assert b"<dc:date>" not in first[1] and b"CreationDate" not in first[0]
    again = figures.to_svg(drawings["table2"].figure)
    assert again == figures.to_svg(drawings["table2"].figure)


def test_texts_lie_inside_their_figure(drawings):
    for drawing in drawings.values():
        figures.to_svg(drawing.figure)
        tight = drawing.figure.get_tightbbox()
        wide, high = drawing.figure.get_size_inches()
        slack = 0.03
        assert tight.x0 > -slack and tight.y0 > -slack, drawing.name
        assert tight.x1 < wide + slack and tight.y1 < high + slack, drawing.name


def test_reproduce_writes_figures_and_a_page_that_needs_nothing(tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_reproduce(parser)
    out = tmp_path / "out"
    assert reproduce.reproduce(parser.parse_args(["--out", str(out)])) == 0
    names = ("forest", "figure2", "figure3", "table2", "figure_s6")
    written = {path.name for path in (out / "figures").iterdir()}
    assert written == {f"{name}.{end}" for name in names for end in ("pdf", "svg")}
    html = (out / "index.html").read_text()
    assert len(html) < 5e6
    assert "<h1>16 of 40 claims hold</h1>" in html
    assert html.count('role="img"') == 2 * len(names) == html.count("<desc ")
    assert "leadline reproduce --source published --out DIR" in html
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    asked = re.findall(r'(?:url\(|href=")#([^")]+)', html)
    assert asked and set(asked) <= set(ids)
    outside = set(re.findall(r'(?:src|href)="(?!#)([^"]+)"', html))
    outside = {each for each in outside if not each.startswith(("figures/", "data:"))}
    assert not outside and html.count("<script") == 1 and "<!--" not in html
    for section in verdict_page.CONTENTS:
        assert f'<section id="{section}">' in html
    assert 'class="verdict fragile">fragile<' in html
    count = sum(path.is_file() for path in out.rglob("*"))
    assert f"wrote {count} files" in capsys.readouterr().err


def test_without_out_nothing_is_drawn_and_pyplot_is_never_needed():
    program = (
        "import sys; from leadline.papers import reproduce\n"
        "from leadline.cli.parser import add_reproduce\n"
        "reproduce.judge('published')\n"
        "assert 'matplotlib' not in sys.modules\n"
        "from leadline.report import figures\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
