"""Numbers of one's own manuscript against records: equal within rounding, stale, without a run."""

import re

import pytest

from leadline import cli
from leadline.errors import UserError
from leadline.papers.manuscript import Fate, bind_manuscript
from records import write_run

WHERE = "dataset=lung arm=scbert/reference metric=accuracy"


@pytest.fixture
def runs(tmp_path):
    for seed, accuracy in ((1, 0.80), (2, 0.82), (3, 0.84)):
        write_run(tmp_path / "runs", seed=seed, accuracy=accuracy, dataset="lung")
    return tmp_path / "runs"


def bound(tmp_path, runs, text, name="paper.tex"):
    (tmp_path / name).write_text(text)
    return bind_manuscript(tmp_path / name, runs)


@pytest.mark.parametrize(
    ("printed", "more", "fate"),
    [
        ("0.82", "", Fate.EQUAL),
        ("0.8", "", Fate.EQUAL),
        (r"82\%", "", Fate.EQUAL),
        ("$0.820$", "", Fate.EQUAL),
        ("0.83", "", Fate.STALE),
        (r"82.5\%", "", Fate.STALE),
        ("0.02", " of=sd", Fate.EQUAL),
        ("3", " of=n", Fate.EQUAL),
        ("4", " of=n", Fate.STALE),
        ("0.80", " of=min", Fate.EQUAL),
        ("0.84", " seed=3", Fate.EQUAL),
        ("0.82", " fraction=0.1", Fate.WITHOUT_RUN),
        ("0.82", " protocol=corrected", Fate.EQUAL),
    ],
)
def test_marks_of_latex_and_markdown(tmp_path, runs, printed, more, fate):
    (latex,) = bound(tmp_path, runs, rf"It was \leadline{{{printed}}}{{{WHERE}{more}}} here.")
    plain = printed.replace("\\", "").replace("$", "")
    text = f"It was\n(**{plain}**<!-- leadline: {WHERE}{more} -->)."
    (markdown,) = bound(tmp_path, runs, text, "paper.md")
    assert (latex.fate, markdown.fate) == (fate, fate)
    assert (latex.place, markdown.place) == ("paper.tex:1", "paper.md:2")


def test_the_command_fails_if_one_number_is_stale(tmp_path, runs, capsys):
    good = rf"\leadline{{0.82}}{{{WHERE}}} \leadline{{0.5}}{{{WHERE.replace('lung', 'liver')}}}"
    (tmp_path / "a.tex").write_text("\\newcommand{\\leadline}[2]{#1}\n% \\leadline{1}{x}\n" + good)
    command = ["claims", "bind", str(tmp_path / "a.tex"), "--runs", str(runs)]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "2 numbers: 1 equal, 0 stale, 1 without a run" in said
    (tmp_path / "a.tex").write_text(good.replace("0.82", "0.81"))
    assert cli.main(command) == 1
    assert "a.tex:1: 0.81 stale, records give 0.82" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "no mark",
            "a manuscript must mark the numbers that come from runs: got none in paper.tex",
        ),
        (
            r"\leadline{high}{dataset=x arm=a metric=m}",
            "paper.tex:1: a mark must stand at one number",
        ),
        (r"\leadline{0.5 ± 0.1}{dataset=x arm=a metric=m}", "a mark must stand at one number"),
        (r"\leadline{1}{dataset=x arm=a}", "must say dataset, arm, metric: got no metric"),
        (r"\leadline{1}{datset=x}", "did you mean dataset?"),
        (r"\leadline{1}{dataset}", "a mark must consist of KEY=VALUE"),
        (rf"\leadline{{1}}{{{WHERE} of=media}}", "of must be one of mean, sd, min, max, n"),
        (rf"\leadline{{1}}{{{WHERE} seed=one}}", "seed must be a number"),
    ],
)
def test_marks_that_cannot_be_understood_are_refused(tmp_path, runs, text, said):
    with pytest.raises(UserError, match=re.escape(said)):
        bound(tmp_path, runs, text)


def test_protocols_are_not_mixed(tmp_path, runs):
    write_run(runs, seed=9, dataset="lung", protocol="paper_code")
    with pytest.raises(UserError, match="add protocol=corrected to the mark"):
        bound(tmp_path, runs, rf"\leadline{{0.82}}{{{WHERE}}}")
    with pytest.raises(UserError, match="must be a text file in UTF-8"):
        bind_manuscript(tmp_path / "none.tex", runs)
