"""From a paper to drafts, from drafts to what may be judged, and the page between."""

# ruff: noqa: E501  a sentence of prose is one line

import re

import pytest
import yaml

import papers_made as made
from leadline import cli
from leadline.errors import UserError
from leadline.papers import claims as engine
from leadline.papers.drafts.claims_file import approved_claims, read_drafts
from leadline.papers.drafts.consistency import as_lines, inconsistencies
from leadline.papers.drafts.draft import draft_claims
from leadline.papers.drafts.read import read_paper
from leadline.papers.drafts.vocabulary import vocabulary
from papers_made import MadeCell

WORDS = vocabulary()


@pytest.fixture
def read(tmp_path):
    def given(content, name="paper.txt"):
        path = tmp_path / name
        path.write_text(content)
        return read_paper(path)

    return given


def drafts(paper):
    return draft_claims(paper, WORDS)


# --- the 40 claims of Boiarsky et al. ---


def arms_and_places(claim):
    """What a hand-made claim is about: its arms, data sets and metrics, of all checks."""
    arms = {arm for check in claim.checks for arm in (check.a, check.b) if arm}
    datasets = {name for check in claim.checks for name in (*check.datasets, *check.settings)}
    metrics = {name for check in claim.checks for name in check.metrics}
    return arms, datasets, metrics


def is_among(claim, found):
    """Say whether a draft quotes the claim's sentence and guesses nothing that it does not say."""
    arms, datasets, metrics = arms_and_places(claim)
    said = made.SAID[claim.id].rstrip(".;")
    for draft in found:
        quote = draft.sentence.text.rstrip(".;")
        if said not in quote and quote not in said:
            continue
        guessed = {draft.a, draft.b} - {""}
        fits = not arms or guessed <= arms | {"scbert/batch_8", "scbert/batch_32"}
        fits = fits and (not datasets or set(draft.datasets) <= datasets)
        if fits and (not draft.metrics or not metrics or set(draft.metrics) & metrics):
            return True
    return False


def test_at_least_thirty_of_the_forty_claims_are_among_the_drafts(read):
    paper = read(made.preprint())
    found = drafts(paper)
    by_hand = engine.load_claims().claims
    assert len(by_hand) == 40
    among = [claim.id for claim in by_hand if is_among(claim, found)]
    assert len(among) >= 30, among
    assert len(found) <= 45
    assert all(paper.says(draft.sentence.address) for draft in found)


def test_guesses_come_from_the_sentence_and_the_rest_is_blank(read):
    text = (
        "Model X outperformed model Y by 0.03 in recall@5 (Table 1).\n\n"
        "scGPT beats logistic regression on pancreas in macro F1 (Table 2)."
    )
    unknown, known = drafts(read(text))
    assert (unknown.a, unknown.b, unknown.datasets, unknown.metrics) == ("", "", (), ())
    assert (known.criterion, known.a, known.b) == ("below", "logreg/logreg", "scgpt/reference")
    assert (known.datasets, known.metrics, known.artefacts) == (
        ("pancreas",),
        ("macro_f1",),
        ("Table 2",),
    )


@pytest.mark.parametrize(
    ("sentence", "criterion", "a", "b"),
    [
        ("scBERT was outperformed by scGPT (Table 1).", "below", "scbert/reference", "scgpt/reference"),
        ("scBERT is worse than scGPT by 0.1 points.", "below", "scbert/reference", "scgpt/reference"),
        ("scBERT is not better than scGPT (Table 1).", "", "scbert/reference", "scgpt/reference"),
        ("scBERT is significantly better than scGPT (p = 0.01).", "significantly_below", "scgpt/reference", "scbert/reference"),
        ("scBERT and scGPT are comparable (Table 1).", "gap_within", "scbert/reference", "scgpt/reference"),
        ("Accuracy of scBERT drops without gene2vec (p = 0.01).", "below", "scbert/no_gene2vec", "scbert/reference"),
    ],
)  # fmt: skip
def test_directions(read, sentence, criterion, a, b):
    (draft,) = drafts(read(sentence))
    assert (draft.criterion, draft.a, draft.b) == (criterion, a, b)


@pytest.mark.parametrize(
    "sentence",
    [
        "scBERT outperforms scGPT in our hands.",
        "scBERT has three layers and was run with seed 5.",
        "*** p <= 0.001; “ns” not significant (p > 0.05).",
        "Figure 1 gives an overview of the models.",
        "The learning rate was 1 × 10−4.",
    ],
)
def test_what_claims_nothing_that_can_be_checked_is_no_draft(read, sentence):
    assert drafts(read(sentence)) == []


def test_words_of_a_user_and_arms_of_a_study_are_known(tmp_path, read):
    (tmp_path / "words.yaml").write_text("datasets: {lung: [lung atlas]}\n")
    words = vocabulary(tmp_path / "words.yaml", {"scbert": ["wide_head"]})
    paper = read("On the lung atlas scBERT with wide head beats scGPT (Table 1).")
    (draft,) = draft_claims(paper, words)
    assert draft.datasets == ("lung",) and draft.b == "scbert/wide_head"
    (tmp_path / "words.yaml").write_text("datasets: {lung: ['(']}\n")
    with pytest.raises(UserError, match="words of a vocabulary must be regular expressions"):
        vocabulary(tmp_path / "words.yaml")
    (tmp_path / "words.yaml").write_text("datasts: {}\n")
    with pytest.raises(UserError, match="did you mean datasets"):
        vocabulary(tmp_path / "words.yaml")


# --- the commands ---


@pytest.fixture
def drafted(tmp_path, capsys):
    (tmp_path / "paper.txt").write_text(made.preprint())
    words = ["claims", "draft", str(tmp_path / "paper.txt"), "-o", str(tmp_path / "claims.yaml")]
    assert cli.main(words) == 0
    return tmp_path, capsys.readouterr().out


def test_draft_says_what_is_absent_and_what_disagrees(drafted):
    folder, said = drafted
    assert "tables absent from this source" in said
    assert "67,880 as 5 % for validation are of 1,357,600, the text says 1.12 million" in said
    assert said.splitlines()[-1] == str(folder / "claims.yaml")
    file = yaml.safe_load((folder / "claims.yaml").read_text())
    assert file["paper"]["file"] == "paper.txt" and file["paper"]["absent"] == ["tables"]
    assert {each["status"] for each in file["claims"]} == {"draft"}


def test_check_finds_a_changed_paper_and_a_changed_quote(drafted, capsys):
    folder, _ = drafted
    command = ["claims", "check", str(folder / "claims.yaml")]
    assert cli.main(command) == 0
    assert "0 problems" in capsys.readouterr().out
    text = (folder / "paper.txt").read_text()
    (folder / "paper.txt").write_text(text.replace("1.12 million", "1.36 million"))
    assert cli.main(command) == 1
    said = capsys.readouterr().out
    assert "paper.txt has changed: SHA-256" in said and "nowhere" not in said.split("D001")[0]
    (folder / "paper.txt").write_text("A new first paragraph.\n\n" + text)
    assert cli.main(command) == 1
    assert "; it stands at paragraph[3]" in capsys.readouterr().out


def test_nothing_is_judged_until_it_is_approved(drafted):
    folder, _ = drafted
    path = folder / "claims.yaml"
    file = yaml.safe_load(path.read_text())
    assert approved_claims(file["claims"], "claims.yaml") == []
    chosen = next(each for each in file["claims"] if each["checks"][0]["criterion"] == "below")
    chosen["status"] = "approved"
    (kept,) = approved_claims(file["claims"], "claims.yaml")
    assert kept["id"] == chosen["id"] and "source" not in kept
    chosen["checks"][0]["a"] = ""
    with pytest.raises(UserError, match=f"{chosen['id']} is approved and must say a: got nothing"):
        approved_claims(file["claims"], "claims.yaml")
    chosen["checks"][0]["criterion"] = ""
    with pytest.raises(UserError, match="is approved and must say criterion"):
        approved_claims(file["claims"], "claims.yaml")
    chosen["status"] = "aproved"
    with pytest.raises(UserError, match="status must be one of draft, approved, rejected"):
        approved_claims(file["claims"], "claims.yaml")


def test_work_of_a_person_is_not_overwritten(drafted, capsys):
    folder, _ = drafted
    path = folder / "claims.yaml"
    command = ["claims", "draft", str(folder / "paper.txt"), "-o", str(path)]
    assert cli.main(command) == 0
    path.write_text(path.read_text().replace("status: draft", "status: rejected", 1))
    capsys.readouterr()
    assert cli.main(command) == 2
    assert "claims that a person has judged are not overwritten" in capsys.readouterr().err


def test_the_page_shows_each_quote_in_its_context(drafted, capsys):
    folder, _ = drafted
    assert cli.main(["claims", "review", str(folder / "claims.yaml")]) == 0
    page = (folder / "claims.html").read_text()
    file = read_drafts(folder / "claims.yaml")
    assert page.count("<mark>") == len(file.claims)
    first = (folder / "claims.yaml").read_text().splitlines().index("- id: D001") + 1
    assert f"From line {first}:" in page and "(paragraph[11] 20-26; " in page
    assert "status: draft" in page and "tables absent from this source" in page
    assert re.search(r"<blockquote>[^<]+<mark>", page)


def test_files_that_are_no_claims_are_refused(tmp_path):
    path = tmp_path / "claims.yaml"
    for content, said in (
        ("[]", "claims.yaml must say paper and claims"),
        ("paper: {file: x, sha256: y}\nclaims: 3", "claims must be a list"),
        ("paper: {file: x, sha256: y}\nclaims: [{status: draft}]", "each claim must have an id"),
        ("{", "claims.yaml must be YAML"),
    ):
        path.write_text(content)
        with pytest.raises(UserError, match=re.escape(said)):
            read_drafts(path)


# --- numbers that disagree ---


def lines(paper):
    return as_lines(inconsistencies(paper, drafts(paper), WORDS))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("It was t(18) = 2.31, p = .034 there.", ""),
        ("It was t(18) = 2.31, p = .34 there.", "2.31 with 18 degrees of freedom has p 0.033"),
        ("It was F(1, 20) = 4.35, p = .05 there.", ""),
        ("A mean of 0.71 (95% CI: 0.75 to 0.77).", "0.71 lies outside its interval 0.75 to 0.77"),
        ("Mean 5.0, SD = 2.0, n = 25, 95% CI [4.17, 5.83].", ""),
        ("Mean 5.0, SD = 2.0, n = 25, 95% CI [4.9, 5.1].", "an sd of 2.0 over 25 gives"),
        ("In 17% of 20 cells it held.", "17 of 20 is no whole number: 3 would be 15"),
        ("In 15% of 20 cells it held.", ""),
        ("In 17 of 20 folds (85%) it held.", ""),
        ("In 17 of 20 folds (80%) it held.", "17 of 20 is 85 %, not 80 %"),
        (
            "We split 80% for training and 30% for testing.",
            "80 % training and 30 % test come to 110",
        ),
        ("We split 80% for training and 20% for testing.", ""),
        ("There were 4 cell types (alpha, beta, delta).", "4 are announced and 3 listed"),
        ("There were 3 cell types (alpha, beta, and delta).", ""),
    ],
)
def test_disagreements_within_a_sentence(read, text, said):
    found = lines(read(text))
    assert (said == "" and found == []) or (len(found) == 1 and said in found[0])


def table(*rows):
    return [[MadeCell(each) for each in row] for row in rows]


def test_prose_against_tables(read):
    wrap = made.table_wrap(
        table(("model", "accuracy"), ("scBERT", "0.766 ± 0.013"), ("scGPT", "0.859")),
        1,
        "Table 1",
        "C",
    )
    good = "scBERT reached 0.77 and scGPT 85.9% (Table 1)."
    assert lines(read(made.jats([good]), "a.xml")) == []
    assert lines(read(made.jats([good], wrap), "a.xml")) == []
    (found,) = lines(read(made.jats(["scBERT reached 0.786 (Table 1)."], wrap), "a.xml"))
    assert "0.786 stands in no cell of Table 1" in found and "table-wrap[1]/table[1]" in found
    assert lines(read(made.jats(["scGPT led by 0.093 (Table 1)."], wrap), "a.xml")) == []
    (found,) = lines(read(made.jats(["scGPT led by 0.193 (Table 1)."], wrap), "a.xml"))
    other = made.table_wrap(table(("model", "F1"), ("scBERT", "0.786")), 1, "Table 2", "C")
    (found,) = lines(read(made.jats(["scBERT had 0.786 (Table 1)."], wrap + other), "a.xml"))
    assert "0.786 stands in no cell of Table 1, but in Table 2" in found


def test_totals_rates_and_counts_of_tables(read):
    rows = table(
        ("class", "n", "accuracy"), ("A", "30", "0.80"), ("B", "7", "0.80"), ("Total", "40", "0.8")
    )
    found = lines(read(made.jats(["x"], made.table_wrap(rows, 1, "Table 1", "C")), "a.xml"))
    assert any("Table 1, n: the parts come to 37, Total is 40" in each for each in found)
    assert any("0.80 of 7 is no whole number: 6 would be 0.86" in each for each in found)
    assert len(found) == 2


@pytest.mark.parametrize(("p", "wrong"), [("0.34", False), ("0.95", True)])
def test_p_against_means_and_intervals(read, p, wrong):
    rows = table(
        ("model", "accuracy"),
        ("scBERT", "0.766 ± 0.013"),
        ("scBERT without pre-training", "0.758 ± 0.014"),
    )
    wrap = made.table_wrap(rows, 1, "Table 2", made.CAPTION)
    said = f"For scBERT, skipping pre-training did not change accuracy significantly (Table 2; p = {p})."
    found = [each for each in lines(read(made.jats([said], wrap), "a.xml")) if "runs each" in each]
    assert bool(found) == wrong


def test_what_was_found_by_hand_in_boiarsky_is_found(read):
    """Of the discrepancies those that follow from text and tables: D02, and the four p of D07."""
    wraps, _ = made.boiarsky_tables()
    paragraphs = [made.escape(each) for each in made.preprint().strip().split("\n\n")]
    found = lines(read(made.jats(paragraphs, wraps), "a.xml"))
    assert [each.partition(" ")[0] for each in found if "stands in no cell of Table 2" in each] == [
        "0.34",
        "0.59",
        "3.67",
        "8.72",
    ]
    (cells,) = [each for each in found if "stands in no cell" not in each]
    assert "67,880 as 5 % for validation are of 1,357,600, the text says 1.12 million" in cells
