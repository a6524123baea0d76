"""Papers made for tests: tables of every kind in JATS, HTML and text, and of published numbers.

All prose is ours; it has the form that preprint servers and BioRxivist give.
"""

# ruff: noqa: E501  a sentence of prose is one line

from dataclasses import dataclass
from html import escape

from leadline.papers import boiarsky, claims
from leadline.papers.boiarsky.tables import paper_tables
from leadline.report.tables import shown


@dataclass(frozen=True)
class MadeCell:
    """A cell as an author writes it; `mark` is a raised letter after it."""

    text: str
    rows: int = 1
    columns: int = 1
    header: bool = False
    mark: str = ""

    @property
    def read(self):
        """The text that a reader must give for it."""
        return self.text + (f"^{{{self.mark}}}" if self.mark else "")


def grid_of(rows):
    """Lay cells out as a reader must: position → the text there."""
    taken = {}
    for i, row in enumerate(rows):
        column = 0
        for cell in row:
            while (i, column) in taken:
                column += 1
            for y in range(cell.rows):
                for x in range(cell.columns):
                    taken[i + y, column + x] = cell.read
            column += cell.columns
    return taken


def _cell(cell, name):
    spans = (f' rowspan="{cell.rows}"' if cell.rows > 1 else "") + (
        f' colspan="{cell.columns}"' if cell.columns > 1 else ""
    )
    mark = f"<sup>{escape(cell.mark)}</sup>" if cell.mark else ""
    return f"<{name}{spans}>{escape(cell.text)}{mark}</{name}>"


def _rows(rows, *, closed=True):
    end = "</tr>" if closed else ""
    return "".join(
        f"<tr>{''.join(_cell(cell, 'th' if cell.header else 'td') for cell in row)}{end}\n"
        for row in rows
    )


def table_wrap(rows, heads, label, caption, notes=()):
    """One table of JATS."""
    foot = "".join(f"<fn><p>{escape(note)}</p></fn>" for note in notes)
    return (
        f"<table-wrap><label>{escape(label)}</label><caption><p>{escape(caption)}</p></caption>"
        f"<table><thead>{_rows(rows[:heads])}</thead><tbody>{_rows(rows[heads:])}</tbody></table>"
        f"{f'<table-wrap-foot>{foot}</table-wrap-foot>' if foot else ''}</table-wrap>"
    )


def jats(paragraphs, floats="", title="A made paper", sections=None):
    """An article; `sections` maps headings to paragraphs instead of one section."""
    given = sections or {"Results": paragraphs}
    body = "".join(
        f"<sec><title>{escape(name)}</title>{''.join(f'<p>{each}</p>' for each in said)}</sec>"
        for name, said in given.items()
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE article PUBLIC "-//NLM//DTD JATS (Z39.96) '
        'Journal Archiving DTD v1.2//EN" "JATS-archivearticle1.dtd">\n<article><front><article-meta>'
        f"<title-group><article-title>{escape(title)}</article-title></title-group></article-meta>"
        f"</front><body>{body}</body><floats-group>{floats}</floats-group></article>"
    )


def html_table(rows, heads, label, caption, *, closed=True):
    """One table as a publisher's page has it; unclosed rows and cells are HTML, too."""
    return (
        f"<div class='table'><table><caption>{escape(label)}. {escape(caption)}</caption>"
        f"<thead>{_rows(rows[:heads])}</thead><tbody>{_rows(rows[heads:], closed=closed)}</tbody>"
        "</table></div>"
    )


def html(paragraphs, tables="", title="A made paper"):
    """A page with what pages have around a paper."""
    said = "\n".join(f"<p>{each}" for each in paragraphs)
    return (
        f"<!DOCTYPE html><html><head><title>{escape(title)}</title><script>var x = '<p>0.5</p>';"
        f"</script><style>p {{ margin: 0 }}</style></head><body><nav><ul><li>Home 1.0</ul></nav>"
        f"<main><h1>{escape(title)}</h1><h2>Results</h2>{said}{tables}</main></body></html>"
    )


def text_table(rows, label, caption, *, bars=True):
    """One table as text: a cell that spans is said at each of its positions."""
    grid = grid_of(rows)
    height, width = (1 + max(place[axis] for place in grid) for axis in (0, 1))
    lines = []
    for i in range(height):
        said = [grid.get((i, k), "") for k in range(width)]
        if bars:
            escaped = [each.replace("\\", "\\\\").replace("|", "\\|") for each in said]
            lines.append(f"| {' | '.join(escaped)} |")
        else:
            lines.append("\t".join(said))
    return f"{label}. {caption}\n\n" + "\n".join(lines) + "\n"


# --- the paper's tables, laid out from its published numbers -------------------------------------

# The labels that readers of the paper know, and in which columns the names of rows stand.
LAID_OUT = {
    "table1": ("Table 1", 1),
    "table2": ("Table 2", 1),
    "table3": ("Table 3", 1),
    "table_s4": ("Supplementary Table 4", 2),
    "table_s5": ("Supplementary Table 5", 2),
    "figure2": ("Table 6", 3),
    "figure3": ("Table 7", 3),
}
CAPTION = (
    "Each model was run with 10 different random seeds; mean ± 95% confidence intervals over runs."
)


def boiarsky_tables():
    """Give JATS of the paper's tables, and what must be read: label, row, column, cell."""
    evidence = claims.Evidence.of(boiarsky.runs(), boiarsky.aggregates())
    wraps, expected = [], []
    for table in paper_tables(evidence, claims.load_claims().setting):
        label, stubs = LAID_OUT[table.name]
        rows = [[MadeCell(name, header=True) for name in table.columns]]
        above = None
        for row in table.rows:
            texts = ["" if value is None else shown(value) for value in row]
            # A name that repeats the one above spans, as authors set it.
            span = above is not None and stubs > 1 and texts[0] == above
            if span:
                first = next(line[0] for line in rows[::-1] if line[0].text == texts[0])
                begin = next(i for i in range(len(rows) - 1, -1, -1) if rows[i][0] is first)
                rows[begin][0] = MadeCell(first.text, rows=first.rows + 1)
            rows.append([MadeCell(each) for each in (texts[1:] if span else texts)])
            above = texts[0]
            names = " / ".join(dict.fromkeys(filter(None, texts[:stubs])))
            for column, said in zip(table.columns[stubs:], texts[stubs:], strict=True):
                if any(letter.isdigit() for letter in said):
                    expected.append((label.replace("Supplementary", "Supp."), names, column, said))
        wraps.append(table_wrap(rows, 1, label, f"{table.title}. {CAPTION}", table.notes))
    return "".join(wraps), expected


# What the 40 claims of boiarsky/claims.yaml say, as a paper might put it: in paragraphs, without
# tables, exponents run into their base. Claim → a sentence of the text; none where a paper of this
# form says nothing that could be checked.
SAID = {
    "C01": "On PBMC cells with all labels, logistic regression beats scBERT in accuracy (Table 1).",
    "C02": "Logistic regression was also superior to scBERT on PBMC in macro F1 score (Table 1).",
    "C03": "Among the cells of both CD8+ classes of PBMC, logistic regression outperforms scBERT in "
    "accuracy on the hard classes (Table 1).",
    "C04": "For the same PBMC cells, logistic regression exceeds scBERT in F1 score for the hard "
    "classes (Table 1).",
    "C05": "Our rerun of scBERT on PBMC came close to what its authors had printed, with an accuracy "
    "of 0.766 and an F1 score of 0.675.",
    "C06": "Of all three families logistic regression trains the fewest weights.",
    "C07": "With 10% of the training labels of PBMC, logistic regression and scBERT did not differ "
    "significantly in accuracy or F1 (Figure 2).",
    "C08": "With 25% of the training labels of PBMC, logistic regression significantly outperformed "
    "scBERT in accuracy and F1 (Figure 2).",
    "C09": "With 50% of the training labels of PBMC, logistic regression significantly outperformed "
    "scBERT, both in accuracy and F1 (Figure 2).",
    "C10": "With 75% of the training labels of PBMC, logistic regression significantly outperformed "
    "scBERT as well, in accuracy and F1 (Figure 2).",
    "C11": "Accuracy and F1 of scBERT and of logistic regression on PBMC rose with every step from "
    "10% to 100% of the training labels (Figure 2).",
    "C12": "Given all labels of multiple sclerosis, scGPT outperformed logistic regression in "
    "accuracy and F1 (Figure 3; Supplementary Table 4);",
    "C13": "given those of myeloid cells, logistic regression outperformed scGPT in accuracy and F1;",
    "C14": "and on pancreas, scGPT and logistic regression were similar in accuracy and F1.",
    "C15": "On multiple sclerosis scGPT stays ahead of logistic regression in accuracy and F1 at 10%, "
    "25%, 50% and 75% of the training labels (Figure 3).",
    "C16": "On multiple sclerosis the gap between scGPT and logistic regression widens with fewer "
    "training labels (Figure 3).",
    "C17": "On pancreas logistic regression surpasses scGPT in accuracy and F1 with 10% or 25% of the "
    "training labels (Figure 3).",
    "C18": "On pancreas scGPT and logistic regression are close in accuracy and F1 with 50%, 75% and "
    "100% of the training labels (Figure 3).",
    "C19": "On myeloid cells logistic regression draws level with scGPT at 10% of the training labels "
    "in accuracy and F1 (Figure 3).",
    "C20": "For scBERT, skipping pre-training did not change accuracy or F1 on PBMC significantly "
    "(Table 2; p = 0.34 and p = 0.59).",
    "C21": "Without gene2vec, scBERT dropped in accuracy and F1 on PBMC (Table 2; p = 3.67 × 10−3 and "
    "8.72 × 10−4).",
    "C22": "Without gene2vec, the accuracy of scBERT on the hard classes of PBMC was not "
    "significantly lower (p = 0.06).",
    "C23": "scBERT without gene2vec still reached an accuracy of 0.701 and an F1 of 0.595 on PBMC "
    "(Table 2).",
    "C24": "On Panglao, scBERT filled in masked genes with 78% masked accuracy (Table 3).",
    "C25": "On Panglao, scBERT without gene2vec reached 72% masked accuracy (Table 3).",
    "C26": "For 99.8% of the 67,880 Panglao cells scBERT without gene2vec named the most common bin.",
    "C27": "Without gene2vec, every masked gene of a cell necessarily gets one prediction.",
    "C28": "In Panglao 95% of the entries lie in the lowest bin, 2% in the second and 1.5% in the "
    "third.",
    "C29": "On multiple sclerosis, myeloid and pancreas cells, scGPT trained from scratch was worse "
    "than scGPT in accuracy and F1 (Supplementary Table 5).",
    "C30": "scGPT from scratch with frozen weights was worse than scGPT on multiple sclerosis, "
    "myeloid and pancreas cells in accuracy and F1 (Supplementary Table 5).",
    "C31": "Freezing reduces the trained parameters of scGPT from 51,342,358 to 19,999,766.",
    "C32": "These results of scGPT from scratch differ clearly from those in the supplement of its "
    "authors (their Supplementary Table S1).",
    "C33": "On PBMC, scBERT with a batch size of 8 or 32 was better than with larger ones "
    "(Figure 4).",
    "C34": "The accuracy of scBERT on PBMC fluctuated more over seeds the larger the batches "
    "(Figure 4).",
    "C35": "With a batch size of 32, some seeds of scBERT learn faster and end with a higher accuracy "
    "on PBMC than others (Figure 5).",
    "C36": "Seeds alone moved the accuracy of scBERT on PBMC by 3.9 points, more than most of its "
    "ablations.",
    "C37": "PBMC: c=0.1",
    "C38": "multiple sclerosis: c=0.1; pancreas: c=100; myeloid: c=0.1",
    "C39": "The PBMC set has 68,450 cells (80% used for training and 20% for validation).",
    "C40": "On liver cells logistic regression again did at least as well.",
}
PARAGRAPHS = (
    ("Large models are pre-trained on unlabeled cells and fine-tuned on few labels [1, 2, 3].", "C06"),
    ("scBERT is pre-trained on 1.12 million cells, with masked genes (see Methods).", "C01", "C02"),
    ("C03", "C04", "Classes of CD8+ T cells are hard to tell apart by eye [7].", "C05"),
    ("C07", "C08", "C09", "C10", "C11"),
    ("C12", "C13", "C14"),
    ("C15", "C16"),
    ("C17", "C18", "C19"),
    ("C20", "C21", "C22", "C23"),
    ("C24", "C25", "C26", "C27", "C28"),
    ("We pre-trained scBERT on Panglao (95% of the data used for training and 5% for validation).",),
    ("Validation used the 67,880 cells of the Panglao pre-training validation set.",),
    ("C29", "C30", "C31", "C32"),
    ("C33", "C34", "C35", "C36"),
    ("We used the Adam optimizer [25] with a learning rate of 1 × 10−4 for 10 epochs.", "C39"),
    ("C37",),
    ("C38",),
    ("C40", "Code is at https://example.org/2024/code-0.5."),
)  # fmt: skip


def preprint():
    """Give the paper's claims in our words, in the form of BioRxivist: paragraphs and no table."""
    return (
        "\n\n".join(" ".join(SAID.get(each, each) for each in said) for said in PARAGRAPHS) + "\n"
    )
