"""The first line of a report: whether logistic regression is enough, and how sure that is."""

from leadline.report import study_figures
from leadline.report.baseline import judge, places
from leadline.report.baseline_answer import first_line
from leadline.report.compare.study import comparisons
from leadline.report.study import gather
from leadline.report.write import write_report
from records import write_manifest, write_run

MODELS = {"scbert_pretrained": "scbert", "scgpt_pretrained": "scgpt"}


def told(runs, arms, *, cells=1000, seeds=range(1, 6), fraction=1.0, settings=None):
    """Write the runs of a study of these accuracies by arm; give it with its comparisons."""
    made = []
    for arm, values in arms.items():
        own = settings if MODELS.get(arm, arm) in ("scbert", "scgpt") else None
        for seed, value in zip(seeds, values, strict=False):
            run = write_run(
                runs, arm=arm, model=MODELS.get(arm, arm), seed=seed, accuracy=value,
                cells=cells, fraction=fraction, settings=own,
            )  # fmt: skip
            made.append((run, arm))
    return made


def line_of(runs, made, arms):
    against = {arm: None if arm == "logreg" else "logreg" for arm in arms}
    write_manifest(runs, "own_data", against, made, reference="logreg")
    (study,) = gather(runs, ["own_data"], 0.01)
    return first_line(study, comparisons(study)).split("\n")


def brief(first):
    """Say whether an answer is one for a glance: few words, people's names, no test, no p."""
    assert len(first.split()) <= 25 and not any(sign in first for sign in ("_", "p =", "p <"))
    return first


def lines(runs, arms, **more):
    return line_of(runs, told(runs, arms, **more), arms)


def test_enough_is_said_where_no_transformer_can_be_a_point_better(tmp_path):
    arms = {
        "logreg": [0.9] * 5,
        "majority": [0.35] * 5,
        "mlp": [0.95, 0.96, 0.94, 0.95, 0.95],
        "scbert": [0.85, 0.86, 0.84, 0.85, 0.85],
        "scgpt_pretrained": [0.895, 0.9, 0.89, 0.9, 0.895],
    }
    first, basis, more = lines(tmp_path, arms, cells=10_000)
    assert brief(first) == (
        "Yes, logistic regression is enough for these cells: no transformer is more than 1 point "
        "better."
    )
    assert basis.startswith(
        "With all labels it gets 90 % of the 10,000 held-out cells right, the best transformer, "
        "scGPT pretrained 89.6 %; 95 % interval of the difference "
    )
    assert basis.endswith("; 5 seeds each; each competitor judged one-sided at 5 %.")
    assert more == (
        "Of fresh cells like these, logistic regression gets 89.4 % to 90.6 % right (95 % "
        "interval)."
    )


def test_a_transformer_that_is_shown_to_be_better_is_named(tmp_path):
    arms = {
        "logreg": [0.85] * 5,
        "scbert": [0.85, 0.86, 0.84, 0.85, 0.85],
        "scgpt_pretrained": [0.91, 0.92, 0.9, 0.91, 0.91],
    }
    first, basis, _ = lines(tmp_path, arms)
    assert brief(first) == (
        "No, logistic regression is not enough for these cells: scGPT pretrained is 6 points "
        "better."
    )
    assert basis.startswith(
        "With all labels it gets 85 % of the 1,000 held-out cells right, the best transformer, "
        "scGPT pretrained 91 %; 95 % interval of the difference "
    )
    assert basis.endswith("; 5 seeds each; corrected for 2 comparisons.")


def test_too_few_seeds_are_told_with_how_many_would_do(tmp_path):
    arms = {"logreg": [0.85] * 3, "scbert": [0.83, 0.86, 0.845]}
    first, basis, more = lines(tmp_path, arms, seeds=(1, 2, 3))
    assert brief(first) == (
        "It cannot be told yet whether logistic regression is enough for these cells: scBERT may "
        "be 1 point better."
    )
    assert basis == (
        "With all labels it gets 85 % of the 1,000 held-out cells right, scBERT 84.5 %; 95 % "
        "interval of the difference 4.8 points less to 3.8 points more; 3 seeds each."
    )
    assert more.startswith(
        "At one-sided 95 % it is at most 2.7 points more. No number of seeds would tell; about "
        "3,693 held-out cells would. "
    )


PERFECT = {"logreg": [1.0] * 5, "scbert": [1.0] * 5, "scgpt_pretrained": [0.9, 1.0, 0.5, 1.0, 1.0]}


def test_a_perfect_baseline_leaves_nothing_to_be_better_at(tmp_path):
    first, _, more = lines(tmp_path, PERFECT, cells=400)
    assert brief(first) == (
        "Yes, logistic regression is enough for these cells: it gets all 400 right that were held "
        "out."
    )
    assert more.startswith("Of fresh cells like these, logistic regression gets 99")


def test_ninety_cells_cannot_show_that_there_is_no_room(tmp_path):
    first = lines(tmp_path, PERFECT, cells=90)[0]
    assert first.startswith("It cannot be told yet whether logistic regression is enough")


def test_a_baseline_that_learnt_nothing_is_not_called_enough(tmp_path):
    arms = {"logreg": [0.34] * 3, "majority": [0.35] * 3, "scbert": [0.3, 0.31, 0.3]}
    first, basis, more = lines(tmp_path, arms, seeds=(1, 2, 3))
    assert brief(first) == (
        "It cannot be told from these cells whether logistic regression is enough: it has learnt "
        "nothing."
    )
    assert basis.startswith("With all labels it gets 34 %") and "3 seeds each." in basis
    assert more.startswith("To call every cell the commonest type does as well: check the labels.")


def test_a_handful_of_cells_shows_nothing(tmp_path):
    arms = {"logreg": [1.0] * 2, "scbert": [0.5] * 2}
    first, basis, more = lines(tmp_path, arms, cells=4, seeds=(1, 2))
    assert brief(first) == (
        "4 held-out cells are too few to tell whether logistic regression is enough: hold out at "
        "least 30."
    )
    assert basis.startswith("With all labels it gets 100 % of the 4 held-out cells right, scBERT")
    assert more == (
        "Of fresh cells like these, logistic regression gets 39.8 % to 100 % right (95 % interval)."
    )


def test_fewer_labels_and_unpublished_weights_stand_in_the_second_line(tmp_path):
    arms = {"logreg": [0.9] * 3, "scbert_pretrained": [0.85, 0.86, 0.84]}
    tiny = {"model.size": "tiny", "model.pretrained": "scbert-pretrain-1"}
    made = told(tmp_path, arms, seeds=(1, 2, 3), settings=tiny)
    few = {"logreg": [0.8, 0.81, 0.79], "scbert_pretrained": [0.5, 0.52, 0.51]}
    made += told(tmp_path, few, seeds=(1, 2, 3), fraction=0.2, settings=tiny)
    more = line_of(tmp_path, made, arms)[2]
    assert more.startswith("With 20 % of the labels: yes too (80 % against 51 %).")
    assert more.endswith(
        "All transformers here are of size tiny and know these cells only; the published weights "
        "were not tried."
    )
    released = {**tiny, "model.pretrained": "published"}
    made += told(tmp_path, {"scgpt_pretrained": [0.85, 0.86, 0.84]}, settings=released)
    assert "published weights" not in line_of(tmp_path, made, {**arms, "scgpt_pretrained": []})[2]


def test_runs_that_are_missing_are_told_beside_the_answer(tmp_path):
    arms = {"logreg": [0.9] * 3, "scbert": [0.7, 0.71, 0.7]}
    made = told(tmp_path, arms, seeds=(1, 2, 3))
    more = line_of(tmp_path, [*made, ("scbert-cells-0", "scbert")], arms)[2]
    assert more.startswith("1 run has no result yet: this may change. ")


def test_single_runs_of_a_model_with_luck_decide_nothing(tmp_path):
    first, _, more = lines(tmp_path, {"logreg": [0.9], "scbert": [0.7]}, seeds=(1,))
    assert brief(first).startswith("It cannot be told yet whether logistic regression is enough")
    assert "One run says nothing of the next: run more seeds." in more


def test_multiplicity_is_corrected_over_the_competitors_alone(tmp_path):
    arms = {"logreg": [0.85] * 5, "scbert": [0.86, 0.87, 0.85, 0.88, 0.86], "mlp": [0.9] * 5}
    made = told(tmp_path, arms)
    line_of(tmp_path, made, arms)
    (study,) = gather(tmp_path, ["own_data"], 0.01)
    (here,) = places(study, comparisons(study))
    judged = judge(study, here)
    assert [each.a.arm for each in judged.found] == ["scbert"]
    assert judged.found[0].corrected == judged.found[0].p


def test_page_and_markdown_begin_with_the_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(study_figures, "draw_all", lambda *_: ([], {}))
    lines(tmp_path, {"logreg": [0.9] * 3, "scbert": [0.7, 0.71, 0.7]}, seeds=(1, 2, 3))
    html = write_report(tmp_path, tmp_path / "out").read_text()
    assert '<p class="answer">Yes, logistic regression is enough for these cells: ' in html
    assert "<p>Of fresh cells like these, logistic regression gets " in html
    assert '<p class="muted basis">With all labels it gets 90 % of the ' in html
    text = (tmp_path / "out" / "report.md").read_text()
    assert text.splitlines()[2].startswith("**Yes, logistic regression is enough for these cells")
