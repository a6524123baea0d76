"""Tables: what they say of the paper, and that no cell breaks a format."""

import csv
import io
import shutil
import subprocess
from html.parser import HTMLParser
from importlib.resources import files

import pandas as pd
import pytest

from leadline.papers import boiarsky, claims
from leadline.papers.boiarsky.tables import paper_tables
from leadline.papers.claim_tables import (
    discrepancies_table,
    numbers_table,
    our_tables,
    reasons_table,
    summary,
    verdicts_table,
)
from leadline.report import tables
from leadline.report.frame import COLUMNS
from leadline.report.tables import Table

FILE = claims.load_claims()
EVIDENCE = claims.Evidence.of(boiarsky.runs(), boiarsky.aggregates())
PAPER = {table.name: table for table in paper_tables(EVIDENCE, FILE.setting)}
OURS = {table.name: table for table in our_tables(EVIDENCE, FILE)}
NASTY = (
    "a|b & c% $d_e #f {g} ~h^i \\j <script>alert('k')</script> \"l\" `m` *n* [o](p) ± ≤ é 細胞\nq"
)


def raw_tables():
    text = (
        files("leadline.papers.boiarsky")
        .joinpath("published_tables.csv")
        .read_text(encoding="utf-8")
    )
    return list(csv.DictReader(text.splitlines()))


# --- the paper's layout -----------------------------------------------------------------------


def test_every_table_of_the_paper_is_laid_out():
    assert list(PAPER) == [
        "table1", "table2", "table3", "table_s4", "table_s5", "figure2", "figure3"
    ]  # fmt: skip
    for table in PAPER.values():
        assert table.rows and all(len(row) == len(table.columns) for row in table.rows)


@pytest.mark.parametrize(
    "name, artefact", [("table_s4", "Supp. Table 4"), ("table_s5", "Supp. Table 5")]
)
def test_supplementary_cells_equal_the_printed_strings(name, artefact):
    words = {
        "scGPT (pre-trained)": "pre-trained",
        "scGPT no pre-training (all trainable)": "no pre-training (all trainable)",
        "scGPT no pre-training (freeze weights)": "no pre-training (freeze weights)",
        "full data": None,
    }
    cells = {(row[0], row[1]): dict(zip(("accuracy", "macro_f1"), row[2:], strict=True))
             for row in PAPER[name].rows}  # fmt: skip
    checked = 0
    for row in raw_tables():
        if artefact in row["artefact"].split("; "):
            model = words[row["variant"]] or row["model"]
            assert cells[row["dataset"], model][row["metric"]] == row["value"]
            checked += 1
    assert checked == (12 if name == "table_s4" else 18)


def test_stars_of_the_figures_equal_the_printed_ones():
    fractions = ["0.1", "0.25", "0.5", "0.75"]
    for name, model in (("figure2", "scBERT vs LR"), ("figure3", "scGPT vs LR")):
        signs = {
            (row[0], row[1]): dict(zip(fractions, row[3:], strict=False))
            for row in PAPER[name].rows
            if row[2] == "test"
        }
        for row in raw_tables():
            if (
                row["model"] == model
                and row["artefact"].startswith("Figure")
                and (row["fraction"] in fractions)
            ):
                dataset = {"PBMC Zheng68K": "PBMC (Zheng68K)"}.get(row["dataset"], row["dataset"])
                metric = {"macro_f1": "macro-F1"}.get(row["metric"], row["metric"])
                assert signs[dataset, metric][row["fraction"]] == row["value"], row


def test_first_three_tables_say_what_the_paper_says():
    table1 = {row[0]: row[1:] for row in PAPER["table1"].rows}
    assert table1["scBERT (reported)"][:2] == ["0.759", "0.691"]
    assert table1["scBERT (reproduced)"][:2] == ["0.766 ± 0.013", "0.675 ± 0.011"]
    assert table1["logistic regression"] == ["0.812", "0.707", "0.848", "0.828"]
    table2 = {row[0]: row[1:] for row in PAPER["table2"].rows}
    assert table2["no gene2vec"][0] == "0.701 ± 0.040"
    assert table2["no gene2vec"][1] == pytest.approx(0.0036212, abs=5e-8)
    assert table2["scBERT"][1] is None
    assert PAPER["table3"].rows == [
        ["scBERT", "78%", None],
        ["scBERT without gene2vec", "72%", "99.9%"],
    ]


# --- our layout -------------------------------------------------------------------------------


def test_our_tables_have_n_test_interval_effect_and_flags():
    table = OURS["table2_compared"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    row = next(r for r in rows if "no_gene2vec" in r["a"] and r["metric"] == "accuracy")
    assert (row["n a"], row["n b"], row["test"]) == (10, 10, "welch")
    assert row["p"] == pytest.approx(0.006736, abs=5e-7)
    assert row["p (Holm)"] == pytest.approx(0.0472, abs=5e-5)
    assert row["p (printed)"] == pytest.approx(0.0036745, abs=5e-8)
    assert row["95 % from"] < row["a - b"] < row["95 % to"] < 0
    assert row["Hedges g"] == pytest.approx(-1.43, abs=5e-3)
    assert "two_modes" in row["flags"] and "printed_p_not_reproduced" in row["flags"]
    few = OURS["figure2_compared"]
    assert all("few_runs" in row[-1] for row in few.rows)


def test_missing_runs_show_as_ranges_and_single_numbers_as_such():
    by_test = {row[12] for row in OURS["table1_compared"].rows}
    assert by_test == {"welch", "one_sample"}
    p = OURS["figure3_compared"].columns.index("p")
    assert any(
        isinstance(row[p], str) and " ... " in row[p] for row in OURS["figure3_compared"].rows
    )


def test_tables_of_nothing_have_gaps_and_no_errors():
    nothing = claims.Evidence.of(pd.DataFrame(columns=list(COLUMNS)))
    for table in [*paper_tables(nothing, FILE.setting), *our_tables(nothing, FILE)]:
        assert tables.to_markdown(table).count("–") >= len(table.rows)
        assert "nan" not in tables.to_csv(table)


def test_numbers_of_claims_stand_side_by_side():
    discrepancies = claims.load_discrepancies()
    results = claims.evaluate(EVIDENCE, FILE, discrepancies)
    table = numbers_table(results)
    rows = {(row[0], row[1]): row[2:] for row in table.rows}
    printed, ours, difference, remark = rows["C21", "zheng68k accuracy, no_gene2vec - reference, p"]
    assert difference == ours - printed and "D07" in remark
    assert summary(results) == "40 claims: 16 hold, 16 are fragile, 2 fail, 6 were not run."
    worth = {d.id: claims.worth_of(EVIDENCE, d, FILE.setting) for d in discrepancies}
    listed = {row[0]: row for row in discrepancies_table(discrepancies, worth).rows}
    assert len(listed) == 65 and "protocol.selection" in listed["D24"][6]
    assert "+4.39" in listed["D44"][7] and listed["D48"][7].startswith("none: ")
    assert len(verdicts_table(results).rows) == len(reasons_table(results).rows) == 40


# --- formats ----------------------------------------------------------------------------------


@pytest.fixture
def nasty():
    return Table(
        name="x<y",
        title=NASTY,
        columns=["a", NASTY],
        rows=[[NASTY, 0.12345678], [None, 3], ["", 1.5e-7]],
        notes=[NASTY],
    )


def test_numbers_are_shown_for_readers():
    assert [tables.shown(x) for x in (0.12345, 0.0, 1.5e-7, 3, None, "x", -0.5)] == [
        "0.1235", "0.0000", "1.50e-07", "3", "–", "x", "-0.5000"
    ]  # fmt: skip


def test_csv_keeps_every_digit_and_every_sign(nasty):
    rows = list(csv.reader(io.StringIO(tables.to_csv(nasty))))
    assert rows == [["a", NASTY], [NASTY, "0.12345678"], ["", "3"], ["", "1.5e-07"]]


def test_markdown_rows_keep_their_columns(nasty):
    lines = [line for line in tables.to_markdown(nasty).splitlines() if line.startswith("|")]
    assert len(lines) == 5
    for line in lines:
        assert line.replace("\\\\", "").replace("\\|", "").count("|") == 3
    assert "<script>" not in tables.to_markdown(nasty)


class Counter(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text.append(data)


def test_html_escapes_every_cell(nasty):
    page = Counter()
    page.feed(tables.html_document("t & <i>", [nasty]))
    assert "script" not in page.tags and "i" not in page.tags
    assert page.tags.count("td") == 6 and page.tags.count("th") == 2
    assert page.text.count(NASTY) == 4
    assert "–" in page.text


def test_latex_escapes_every_cell(nasty):
    text = tables.to_latex(nasty)
    for sign, escaped in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#"), ("±", r"$\pm$")):
        assert escaped in text, sign
    assert "細" not in text and "é" in text and r"\textbackslash{}j" in text
    # Every row ends its line; the ampersands left are the ones between columns.
    bare = text.replace(r"\&", "")
    assert bare.count("&") == 4


def test_a_row_of_the_wrong_width_is_our_mistake():
    with pytest.raises(AssertionError, match="2 columns"):
        Table(name="x", title="", columns=["a", "b"], rows=[["a"]])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_compiles(nasty, tmp_path):
    wide = Table(name="w", title="wide", columns=list("abcdefghijkl"), rows=[[NASTY] * 12])
    everything = [*PAPER.values(), *OURS.values(), nasty, wide]
    (tmp_path / "t.tex").write_text(
        tables.latex_document(list(map(tables.to_latex, everything))), encoding="utf-8"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 10_000


def test_no_cell_of_a_csv_is_a_formula():
    table = Table(
        name="t", title="t", columns=["arm", "p"], rows=[["=1+1", -0.5], ["@x", 1], ["-a", 2]]
    )
    assert tables.to_csv(table).splitlines()[1:] == ["'=1+1,-0.5", "'@x,1", "'-a,2"]
