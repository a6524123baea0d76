"""Damaged papers: one line or a correct answer, never a traceback, in bounded time."""

import random

import pytest

import papers_made as made
from leadline import cli
from leadline.errors import UserError
from leadline.papers.drafts.consistency import inconsistencies
from leadline.papers.drafts.draft import draft_claims
from leadline.papers.drafts.read import read_paper
from leadline.papers.drafts.vocabulary import vocabulary
from papers_made import MadeCell

ROWS = [
    [MadeCell("model", header=True), MadeCell("accuracy", columns=2, header=True)],
    [MadeCell("scBERT", rows=2), MadeCell("0.766 ± 0.013"), MadeCell("0.81", mark="a")],
    [MadeCell("−0.5"), MadeCell("78%")],
]
SAID = [
    "scBERT beats logistic regression (Table 1; p &lt; 10<sup>−3</sup>, n = 20).",
    "Also 5 of 9.",
]
ORIGINALS = {
    "paper.xml": made.jats(SAID, made.table_wrap(ROWS, 1, "Table 1", "Accuracy.", ["a Note"])),
    "paper.html": made.html(SAID, made.html_table(ROWS, 1, "Table 1", "Accuracy.")),
    "paper.txt": made.preprint()[:3000] + "\n\n" + made.text_table(ROWS, "Table 1", "Accuracy."),
}
PIECES = (
    "<table>", "</table>", "<tr>", "<td rowspan='9999999999'>", "</p>", "<sup>", "</sec>", "&",
    "<!DOCTYPE a [<!ENTITY x 'y'>]>", "<![CDATA[", "]]>", "<!--", "\0", "\ufffe", "10^{−", "}", "|",
    "\t", "\n\n", "9" * 400, "1e999", "±", "(", "[1, 2", "p = ", "5 of 0", "%",
    "<fn>", "<td colspan='-3'>", "&x;",
)  # fmt: skip


def damaged(content, rng):
    """Cut, double, swap or replace parts of a file, as letters or as bytes."""
    for _ in range(rng.randint(1, 8)):
        at, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        end = min(end, at + rng.choice((1, 5, 60, 1000)))
        act = rng.randrange(5)
        if act == 0:
            content = content[:at] + content[end:]
        elif act == 1:
            content = content[:at] + content[at:end] * rng.choice((2, 3, 40)) + content[end:]
        elif act == 2:
            content = content[:at] + rng.choice(PIECES) + content[at:]
        elif act == 3:
            content = content[:at] + "".join(rng.sample(content[at:end], end - at)) + content[end:]
        else:
            content = content[: max(at, 1)]
    raw = content.encode(errors="surrogatepass")
    if rng.random() < 0.3:
        at = rng.randrange(len(raw) + 1)
        raw = raw[:at] + rng.randbytes(rng.randint(1, 9)) + raw[at:]
    return raw


def look_at(count, first_seed, tmp_path):
    """Read damaged files; a message is one line, and what is read can be found at its address."""
    words = vocabulary()
    refused = 0
    for seed in range(first_seed, first_seed + count):
        rng = random.Random(seed)
        name = rng.choice(sorted(ORIGINALS))
        path = tmp_path / name
        path.write_bytes(damaged(ORIGINALS[name], rng))
        try:
            paper = read_paper(path)
        except UserError as error:
            assert "\n" not in str(error), seed
            refused += 1
            continue
        claims = draft_claims(paper, words)
        assert all(paper.says(claim.sentence.address) for claim in claims), seed
        for found in inconsistencies(paper, claims, words):
            said = [place for place in found.places if place.quote]
            assert said and all(paper.says(place) for place in said), seed
    return refused


def test_damaged_files_are_refused_or_read(tmp_path):
    refused = look_at(200, 0, tmp_path)
    assert 10 < refused < 190


@pytest.mark.slow
def test_two_thousand_damaged_files_are_refused_or_read(tmp_path):
    assert 200 < look_at(2000, 1000, tmp_path) < 1900


@pytest.mark.parametrize(
    "text",
    ["1 " * 10_000, "x@" * 10_000, "(" * 20_000, "Table 1, " * 2_000, "<a href='" * 10_000,
     "<!--" * 10_000, "<td>" * 10_000, "not better than " * 2_000, "95% for training " * 2_000],
    ids=lambda text: text[:8],
)  # fmt: skip
@pytest.mark.parametrize("before", ["", "<html><body><p>"])
def test_texts_made_to_be_slow_are_not(text, before, tmp_path):
    path = tmp_path / "paper"
    path.write_text(before + text)
    try:
        paper = read_paper(path)
    except UserError as error:
        assert "\n" not in str(error)
        return
    words = vocabulary()
    inconsistencies(paper, draft_claims(paper, words), words)


def test_the_command_line_says_one_line(tmp_path, capsys):
    path = tmp_path / "broken.xml"
    path.write_text("<?xml version='1.0'?><article><body>")
    assert cli.main(["claims", "draft", str(path), "-o", str(tmp_path / "c.yaml")]) == cli.MISTAKE
    assert capsys.readouterr().err.count("\n") == 1
