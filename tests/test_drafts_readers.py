"""Papers in JATS, HTML and text: what is in the file comes out at its place, and nothing else."""

import contextlib
import re
import string
import sys
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import papers_made as made
from leadline.errors import UserError
from leadline.papers.drafts import read as reading
from leadline.papers.drafts.consistency_tables import values_of
from leadline.papers.drafts.read import read_paper
from leadline.papers.drafts.sentences import sentences_of
from papers_made import MadeCell


@pytest.fixture
def paper(tmp_path):
    """Write a file and read it as a paper."""

    def read(content, name="paper"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_paper(path)

    return read


# --- tables ---

WORDS = st.text(string.ascii_letters + " é|\\&<>", min_size=1, max_size=12).map(
    lambda text: " ".join(text.split()) or "x"
)
NUMBERS = st.one_of(
    st.integers(-99999, 99999).map(lambda n: f"{n:,}".replace("-", "−")),
    st.floats(-1, 1).map(lambda x: f"{x:.3f}".replace("-", "–")),
    st.tuples(st.floats(0, 1), st.floats(0, 0.2)).map(lambda x: f"{x[0]:.3f} ± {x[1]:.3f}"),
    st.floats(0, 100).map(lambda x: f"{x:.1f}%"),
)
MARKS = st.sampled_from(["", "", "", "a", "*", "b,c", "2"])


@st.composite
def tables(draw):
    """Rows of cells, some of which span, under one or two header rows; none is left open."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 5))
    heads = draw(st.integers(1, min(2, height - 1)))
    taken, rows = set(), []
    for i in range(height):
        row = []
        for k in range(width):
            if (i, k) in taken:
                continue
            # Spans keep to the head or the body, as they must in a file.
            end = heads if i < heads else height
            rowspan = draw(st.integers(1, end - i))
            room = next((x for x in range(k, width) if (i, x) in taken), width) - k
            colspan = draw(st.integers(1, room))
            if draw(st.booleans()):
                rowspan = colspan = 1
            taken |= {(i + y, k + x) for y in range(rowspan) for x in range(colspan)}
            text = draw(WORDS if i < heads or k == 0 else NUMBERS)
            mark = draw(MARKS) if i >= heads and k else ""
            row.append(MadeCell(text, rowspan, colspan, header=i < heads, mark=mark))
        rows.append(row)
    return rows, heads


def read_grid(table):
    return {
        (i, k): cell.text
        for i, line in enumerate(table.grid)
        for k, cell in enumerate(line)
        if cell is not None
    }


RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@RELAXED
@given(tables(), st.booleans())
def test_any_table_survives_the_way_through_jats(paper, drawn, inside):
    rows, heads = drawn
    wrap = made.table_wrap(rows, heads, "Table 1", "A caption.", ["a A footnote."])
    # Inside a paragraph, or at the end of the file.
    content = made.jats([f"Before.{wrap if inside else ''} After."], "" if inside else wrap)
    read = paper(content)
    (table,) = read.tables
    assert read_grid(table) == made.grid_of(rows)
    assert table.header_rows == heads
    assert (table.label, table.caption) == ("Table 1", "A caption.")
    assert [note.text for note in table.footnotes] == ["a A footnote."]
    assert "Before. After." in [each.text for each in read.passages]


@RELAXED
@given(tables(), st.booleans())
def test_any_table_survives_the_way_through_html(paper, drawn, closed):
    rows, heads = drawn
    read = paper(
        made.html(
            ["Said.", "More."], made.html_table(rows, heads, "Table 2", "Scores.", closed=closed)
        )
    )
    (table,) = read.tables
    assert read_grid(table) == made.grid_of(rows)
    assert (table.header_rows, table.label) == (heads, "Table 2")
    assert not [each.text for each in read.passages if "var x" in each.text or "Home" in each.text]


@RELAXED
@given(tables(), st.booleans())
def test_any_table_survives_the_way_through_text(paper, drawn, bars):
    rows, _ = drawn
    read = paper(made.text_table(rows, "Table 3", "Scores of all models.", bars=bars))
    (table,) = read.tables
    assert read_grid(table) == made.grid_of(rows)
    assert table.label == "Table 3"


@RELAXED
@given(tables())
def test_every_text_can_be_found_again_at_its_address(paper, drawn):
    read = paper(made.jats(["One is 0.5. Two is 0.6."], made.table_wrap(*drawn, "Table 1", "C.")))
    for passage in read.passages:
        for sentence in sentences_of(passage):
            assert read.says(sentence.address)
    paths = [passage.path for passage in read.passages]
    paths += [cell.path for table in read.tables for cell in table.cells]
    assert len(set(paths)) == len(paths)


def test_the_papers_tables_come_out_whole(paper):
    wraps, expected = made.boiarsky_tables()
    read = paper(made.jats(["See Table 1."], wraps))
    found = [
        (value.table.label, value.row_name, value.column_name, value.cell.text)
        for table in read.tables
        for value in values_of(table)
    ]
    right = [each for each in expected if each in found]
    assert len(expected) > 100 and len(right) >= 0.99 * len(expected)
    assert not set(found) - set(expected), "invented"
    # The numbers themselves, not only their texts.
    for table in read.tables:
        for value in values_of(table):
            digits = re.findall(r"\d+(?:\.\d+)?(?:e-\d+)?", value.cell.text)
            numbers = [value.number, *value.others]
            assert [f"{abs(each.value):.6g}" for each in numbers] == [
                f"{float(each):.6g}" for each in digits
            ]


def test_a_row_of_one_cell_names_the_group_below(paper):
    rows = [
        [MadeCell("model", header=True), MadeCell("accuracy", header=True)],
        [MadeCell("PBMC", columns=2)],
        [MadeCell("scBERT"), MadeCell("0.766")],
    ]
    (table,) = paper(made.jats(["x"], made.table_wrap(rows, 1, "Table 1", "C"))).tables
    (value,) = values_of(table)
    assert (value.row_name, value.column_name) == ("PBMC / scBERT", "accuracy")


def test_raised_and_lowered_parts_stay_apart(paper):
    text = "p &lt; 10<sup>−5</sup>, H<sub>2</sub>O, 0.81<sup>a</sup>"
    (passage,) = [each for each in paper(made.jats([text])).passages if "H" in each.text]
    assert passage.text == "p < 10^{−5}, H_{2}O, 0.81^{a}"
    power = "<msup><mn>10</mn><mrow><mo>−</mo><mn>3</mn></mrow></msup>"
    formula = f"<inline-formula><math>{power}</math></inline-formula>"
    read = paper(made.jats([f"a {formula}"]))
    assert "a 10^{−3}" in [each.text for each in read.passages]


def test_sections_and_captions_are_known(paper):
    sections = {"Results": ["One."], "Methods": ["Two."]}
    floats = "<fig><label>Fig. 2</label><caption><title>Scores.</title><p>More.</p></caption></fig>"
    read = paper(made.jats([], floats, sections=sections))
    by_text = {each.text: each for each in read.passages}
    assert by_text["Two."].section == "Methods"
    assert (by_text["More."].kind, by_text["More."].artefact) == ("caption", "Figure 2")
    assert read.title == "A made paper"


BIORXIV = """<html><head><title>T</title></head><body><div class="article fulltext-view">
<h1 class="highwire-cite-title" id="page-title">A preprint</h1>
<div class="section" id="sec-1"><h2 class="">Results</h2>
<p id="p-1">Model A reached <em>0.81</em> (<a href="#T1">Table 1</a>)<sup>1</sup>.</p>
<div class="table pos-float" id="T1"><div class="table-inline"></div><div class="table-caption">
<span class="table-label">Table 1:</span> <span class="caption-title">Accuracy.</span>
<p id="p-2">Mean of 10 runs.</p></div>
<table><thead><tr><th>model</th><th>accuracy</th></tr></thead>
<tbody><tr><td>A</td><td>0.81<sup>a</sup></td></tr></tbody></table></div></div>
<div class="section ref-list" id="ref-list-1"><h2>References</h2><ol><li>N 2019 0.99</li></ol></div>
</div></body></html>"""


def test_a_page_of_a_preprint_server(paper):
    read = paper(BIORXIV)
    assert read.title == "A preprint"
    said = [each.text for each in read.passages]
    assert said == [
        "A preprint",
        "Results",
        "Model A reached 0.81 (Table 1)^{1}.",
        "Table 1: Accuracy.",
        "Mean of 10 runs.",
    ]
    (table,) = read.tables
    assert (table.label, table.caption) == ("Table 1", "Table 1: Accuracy.")
    assert [each.cell.text for each in values_of(table)] == ["0.81^{a}"]


def test_plain_text_has_no_tables_and_says_so(paper):
    read = paper(made.preprint())
    assert (read.format, read.absent) == ("text", ("tables",))
    assert len(read.passages) == len(made.PARAGRAPHS)


# --- what is refused ---

BOMB = (
    '<?xml version="1.0"?><!DOCTYPE article [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9))
    + "]><article><body><p>&j;</p></body></article>"
)
OUTSIDE = (
    '<?xml version="1.0"?><!DOCTYPE article [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<article><body><p>&x;</p></body></article>"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "XML of a paper must not declare entities: got paper declares a"),
        (OUTSIDE, "must not declare entities"),
        ("<article>" + "<sec>" * 300 + "</sec>" * 300 + "</article>", "may nest 200 deep"),
        ("<article><body>", "a paper as XML must be well-formed: got paper: no element found"),
        ("<?xml version='1.0'?><TEI><p>x</p></TEI>", "must be JATS, with an element article"),
        ("<html>" + "<div>" * 300, "may nest 200 deep"),
        ("", "a paper must have text: got none in paper, read as text"),
        (b"abc\0def", "must be JATS, HTML, text or PDF: got paper with bytes"),
    ],
)
def test_what_no_paper_needs_is_refused_in_a_line(paper, content, said):
    with pytest.raises(UserError, match=re.escape(said)):
        paper(content)


def test_a_table_that_would_fill_the_memory_is_refused(paper):
    row = "<tr>" + "<td rowspan='999999' colspan='1000'>x</td>" * 3 + "</tr>"
    with pytest.raises(UserError, match="a table of a paper may have 200,000 positions"):
        paper(f"<html><table>{row * 300}</table></html>")


def test_size_is_looked_at_before_the_file_is_read(paper, monkeypatch):
    monkeypatch.setattr(reading, "LARGEST", 10)
    with pytest.raises(UserError, match="a paper may have 0 MB"):
        paper("x" * 11)


def test_a_missing_file_is_a_line(tmp_path):
    with pytest.raises(UserError, match=r"must be a file that can be read: got .*No such file"):
        read_paper(tmp_path / "none.xml")


def test_entities_of_html_need_no_declaration(paper):
    read = paper(made.jats(["a&nbsp;b &alpha; &unknown;"]))
    assert "a b α &unknown;" in [each.text for each in read.passages]


# --- PDF ---


def test_pdf_needs_its_extra(paper, monkeypatch):
    monkeypatch.setitem(sys.modules, "pdfplumber", None)
    with pytest.raises(UserError, match=r'pip install "leadline\[pdf\]"'):
        paper(b"%PDF-1.7 ...")


class _Page:
    """A page as pdfplumber gives it: lines with their boxes, and tables that lines enclose."""

    def __init__(self, lines, tables):
        self.lines, self.tables = lines, tables

    def extract_text_lines(self):
        return [
            {"text": text, "x0": 72.0, "x1": 300.0, "top": top, "bottom": top + 10}
            for text, top in self.lines
        ]

    def find_tables(self):
        return self.tables


def test_pages_of_pdf_have_boxes_and_letters_of_tables_are_not_said_twice(paper, monkeypatch):
    rows = [["model", "accuracy"], ["scBERT", "0.766 ± 0.013"], ["scGPT", None]]
    table = SimpleNamespace(bbox=(72.0, 200.0, 300.0, 240.0), extract=lambda: rows)
    lines = [("scBERT beats", 100), ("scGPT (Table 1).", 111), ("Table 1. Accuracy.", 180)]
    page = _Page([*lines, ("scBERT 0.766 ± 0.013", 215)], [table])
    opened = contextlib.nullcontext(SimpleNamespace(pages=[page], metadata={"Title": "A made one"}))
    plumber = SimpleNamespace(open=lambda file: opened)
    monkeypatch.setitem(sys.modules, "pdfplumber", plumber)
    read = paper(b"%PDF-1.7 ...")
    assert read.title == "A made one"
    assert [(each.path, each.text) for each in read.passages] == [
        ("page[1]/box[72,100,300,121]", "scBERT beats scGPT (Table 1)."),
        ("page[1]/box[72,180,300,190]", "Table 1. Accuracy."),
    ]
    (found,) = read.tables
    assert (found.label, found.path) == ("Table 1", "page[1]/box[72,200,300,240]")
    assert [each.cell.text for each in values_of(found)] == ["0.766 ± 0.013"]


def test_a_broken_pdf_is_a_line(paper, monkeypatch):
    def fail(file):
        raise KeyError("Root")

    monkeypatch.setitem(sys.modules, "pdfplumber", SimpleNamespace(open=fail))
    with pytest.raises(UserError, match="a paper as PDF must be readable: got paper: KeyError"):
        paper(b"%PDF-1.7 ...")
