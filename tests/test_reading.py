"""What a reader meets first: the answer on a page and a terminal, what is open, caveats, speed."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leadline import files
from leadline.cli.report import WIDTH, answer_lines
from leadline.report import figure_data, figures, study_figures
from leadline.report.caveat_list import caveats_of
from leadline.report.compare.study import comparisons, leading
from leadline.report.study import gather
from leadline.report.would_settle import would_settle
from leadline.report.write import headline, write_report
from leadline.runs.records import read_done
from leadline.stats.exact import drawn_once, permutation
from leadline.stats.flags import hinges_on_one_run
from leadline.stats.hinges import may_hinge
from leadline.stats.t_tests import paired_t, student, welch
from records import write_manifest, write_run

MODELS = {"no_pretraining": "scbert", "logreg": "logreg", "majority": "majority"}


def a_study(runs, levels, *, seeds=(1, 2, 3), fractions=(1.0,), cells=200, **more):
    made = [
        (
            write_run(
                runs, arm=arm, model=MODELS.get(arm, "scbert"), seed=seed, fraction=fraction,
                accuracy=level + 0.01 * seed, cells=cells, warnings=["something odd"] * (seed == 1),
            ),
            arm,
        )
        for arm, level in levels.items()
        for seed in seeds
        for fraction in fractions
    ]  # fmt: skip
    against = {arm: None if arm == "reference" else "reference" for arm in levels}
    write_manifest(runs, "s", against, made, question="Does it help?", **more)
    (study,) = gather(runs, ["s"], 0.01)
    return study


LEVELS = {"reference": 0.75, "no_pretraining": 0.74, "logreg": 0.77, "majority": 0.3}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    top = tmp_path_factory.mktemp("page")
    study = a_study(top / "runs", LEVELS, fractions=(0.2, 1.0))
    with pytest.MonkeyPatch.context() as patched:
        # One figure of predictions stands for all: each takes a second.
        every = study_figures._of_predictions
        patched.setattr(
            study_figures, "_of_predictions", lambda *asked: {"cost": every(*asked)["cost"]}
        )
        return study, write_report(top / "runs", top / "out", ["s"])


def test_the_page_has_answer_picture_remedy_places_caveats_and_tables_in_this_order(page):
    text = page[1].read_text()
    order = [
        text.index(sign)
        for sign in (
            "<h1>Does it help?", '<p class="answer">', "class=lead", "To settle what is open: ",
            '<section id="where">', '<section id="caveats">', '<section id="figures">',
            '<section id="comparisons">', '<section id="runs">', '<section id="provenance">',
        )
    ]  # fmt: skip
    assert order == sorted(order)
    assert '<section id="flags">' not in text
    assert (page[1].parent / "tables" / "s_flags.csv").is_file()


def test_a_table_shows_what_fits_and_links_to_the_rest(page):
    text = page[1].read_text()
    part = text[text.index('<section id="comparisons">') :]
    part = part[: part.index("</section>")]
    assert '<th scope="col">verdict' in part and "share of runs" not in part.split("<p")[0]
    assert re.search(
        r"\d+ more columns, and all digits: <a href=\"tables/s_comparisons.csv\"", part
    )


def test_what_is_open_is_told_in_one_line_with_names_of_people(page):
    study, _ = page
    first = leading(comparisons(study))
    said = would_settle(study, first)
    open_ = [each for each in first if each.verdict == "open"]
    assert open_ and said.startswith("To settle what is open: ") and "\n" not in said
    assert "_" not in said and "p =" not in said
    assert "no pretraining" in said or "logistic regression" in said
    assert would_settle(study, [each for each in first if each.verdict != "open"]) == ""


def test_each_caveat_stands_once_gravest_first_with_its_arms(page):
    study, _ = page
    found = caveats_of(study, comparisons(study))
    said = [each.said for each in found]
    assert len(set(said)) == len(said)
    severities = [each.severity for each in found]
    assert severities == sorted(severities, key=("severe", "warning", "note").index)
    (few,) = (each for each in found if each.said.startswith("Few runs"))
    assert "no pretraining" in few.said and "scBERT" in few.said and len(few.details) == 4
    (odd,) = (text for text in said if text.startswith("something odd"))
    assert "8 runs of " in odd and "no pretraining" in odd


def test_question_answer_and_basis_are_read_back_from_a_report(page):
    question, answer, basis = headline(page[1])
    assert question == "Does it help?" and len(answer.split()) <= 25
    assert basis.startswith("Accuracy with all labels of cells; 200 cells and 3 runs; ")


@given(st.lists(st.sampled_from(["a", "word", "; ", "long" * 9]), max_size=120))
def test_an_answer_takes_at_most_six_lines(words):
    lines = answer_lines("Yes " * 25, " ".join(["Basis", *words]), "page.html")
    assert len(lines) <= 6 and lines[-1] == "page.html"
    assert all(len(line) <= WIDTH + 40 for line in lines)


def test_a_map_of_cells_says_who_is_right(tmp_path):
    truth = np.arange(40) % 4
    right = {"reference": np.arange(40) < 30, "mlp": np.arange(40) >= 10}
    for arm, known in right.items():
        for seed in (1, 2, 3):
            calls = np.where(known, truth, (truth + seed) % 4)
            write_run(tmp_path, arm=arm, seed=seed, cells=40, truth=truth, calls=calls)
    records = read_done(tmp_path)
    pair = ("scbert/mlp", "scbert/reference")
    found = figure_data.cell_map_of(records, pair, ("a", "b"), tmp_path)
    # Ten cells each are called right by one arm alone, twenty by both.
    assert np.bincount(found.who_C).tolist() == [20, 10, 10] and found.of == 40
    drawing = figures.cell_map(found)
    assert "only a: 10 cells. only b: 10 cells. neither: 0 cells." in drawing.description
    assert len(figures.to_svg(drawing.figure)) < 60_000
    write_run(tmp_path, arm="mlp", seed=9, cells=41)
    assert figure_data.cell_map_of(read_done(tmp_path), pair, ("a", "b"), tmp_path) is None


# --- the same numbers, sooner ---------------------------------------------------------------------


def test_draws_are_made_once_and_leave_the_stream_as_it_would_be():
    calls = []

    def draw(rng):
        calls.append(1)
        return rng.normal(size=4)

    plain = np.random.default_rng(5)
    wanted, after = plain.normal(size=4), plain.normal()
    for _ in range(3):
        rng = np.random.default_rng(5)
        np.testing.assert_array_equal(drawn_once(rng, "test of draws", draw), wanted)
        assert rng.normal() == after
    assert len(calls) == 1


def test_relabelled_runs_are_those_of_a_permutation():
    a, b = np.random.default_rng(1).normal(size=(2, 30))
    pooled = np.concatenate([a, b])
    centred = pooled - pooled.mean()
    sums = np.random.default_rng(9).permuted(np.tile(centred, (20_000, 1)), axis=1)[:, :30].sum(1)
    extreme = (np.abs(sums) >= abs(centred[:30].sum()) - 1e-9).sum()
    assert permutation(a, b, np.random.default_rng(9)).p == (extreme + 1) / 20_001


@given(st.integers(0, 10**6), st.integers(4, 12), st.floats(0, 2), st.sampled_from(["s", "w", "p"]))
def test_a_verdict_that_hinges_on_a_run_is_never_missed(seed, n, shift, kind):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n) + shift
    test = {"s": student, "w": welch, "p": paired_t}[kind]
    whole = test(a, b)
    left = [np.delete(a, i) for i in range(n)]
    if kind == "p":
        p = [test(np.delete(a, i), np.delete(b, i)).p for i in range(n)]
    else:
        p = [test(x, b).p for x in left] + [test(a, np.delete(b, i)).p for i in range(n)]
    turned = any((each < 0.05) != (whole.p < 0.05) for each in p)
    assert may_hinge(a, b, whole, 0.05) or not turned
    flag = hinges_on_one_run(a, b, test, paired=kind == "p")
    assert (flag is not None) == turned


def test_arrays_are_read_as_numpy_reads_them(tmp_path):
    arrays = {
        "names": np.array(["é", "long name"]), "none": np.zeros((0, 3), np.float16),
        "turned": np.asfortranarray(np.arange(6).reshape(2, 3)), "one": np.array(3.5),
    }  # fmt: skip
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = files.read_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype and found[name].flags.writeable
    np.savez(tmp_path / "b.npz", objects=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="pickle"):
        files.read_npz(tmp_path / "b.npz")
