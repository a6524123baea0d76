"""The claims about frozen embeddings, each with a verdict from the published numbers alone.

`holds` and `fails` as everywhere; `fragile` holds by the published comparison and not by a better
one; `not_run` says which number would decide. A number that was read off a figure judges nothing.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

import scipy.stats

from leadline import files as atomic
from leadline.errors import UserError
from leadline.report import tables
from leadline.report.tables import Table
from leadline.stats.embedding_metrics import avg_bio
from leadline.stats.reconstruction import uniform_floor

Verdict = Literal["holds", "fails", "fragile", "not_run"]
SCGPT, GENEFORMER, HVG = "scGPT human", "Geneformer 6L", "HVG 2000"
# AvgBIO of vectors that know nothing: NMI and ARI about 0, and a silhouette of 0, which counts .5.
CHANCE = avg_bio(0.0, 0.0, 0.5)
# Bins of scGPT, zero among them; the cells over which ranks were compared.
BINS, RANKED_CELLS = 51, 500
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class FrozenClaim:
    """A claim in our words, its verdict, and the numbers that decide it."""

    id: str
    statement: str
    verdict: Verdict
    reason: str
    discrepancies: tuple[str, ...] = ()


@cache
def rows() -> tuple[dict[str, str], ...]:
    """Read the published numbers."""
    text = files("leadline.papers.frozen_embeddings").joinpath("published.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def number(method: str, metric: str, dataset: str = "pancreas_scib") -> float:
    """Give a number of the authors' notebooks; the method by the beginning of its name."""
    found = [
        float(row["value"])
        for row in rows()
        if row["study"].startswith("Kedzierska")
        and row["method"].startswith(method)
        and (row["metric"], row["dataset"]) == (metric, dataset)
        and "decimals" in row["precision"]
    ]
    assert len(set(found)) == 1, (method, metric, dataset, found)
    return found[0]


def judged() -> list[FrozenClaim]:
    """Judge every claim."""
    return [claim() for claim in CLAIMS]


def worse_than_baselines() -> FrozenClaim:
    """Both models below HVG, Harmony and scVI by AvgBIO."""
    return FrozenClaim(
        "K01",
        "Without fine-tuning, scGPT and Geneformer separate cell types worse than variable genes, "
        "Harmony and scVI on most sets.",
        "not_run",
        "Printed only as bars of a figure, whose transcription has an unknown error; one run per "
        "arm. Decided by embeddings of both models on the five sets.",
        ("Z01", "Z06", "Z07"),
    )


def geneformer_below_scgpt() -> FrozenClaim:
    """AvgBIO on pancreas."""
    lower, upper = number(GENEFORMER, "avg_bio"), number(SCGPT, "avg_bio")
    return FrozenClaim(
        "K02",
        "On pancreas Geneformer separates cell types worse than scGPT.",
        "holds" if lower < upper else "fails",
        f"AvgBIO {lower:.3f} against {upper:.3f}, on 1,000 cells and in one run each; resolution "
        "chosen with the labels for both.",
        ("Z01", "Z07"),
    )


def geneformer_below_noise() -> FrozenClaim:
    """AvgBIO against what vectors score that know nothing."""
    value, silhouette = number(GENEFORMER, "avg_bio"), number(GENEFORMER, "asw_label")
    return FrozenClaim(
        "K03",
        "On pancreas Geneformer’s AvgBIO is below what noise scores (not claimed by the authors).",
        "holds" if value < CHANCE else "fails",
        f"AvgBIO {value:.3f}; chance is {CHANCE:.3f} or more, since a silhouette of 0 counts .5. "
        f"Its ASW label is {silhouette:.3f}, below .5: cells of a type lie farther from one "
        "another than from other types, as vectors ordered by batch have it.",
    )


def average_is_a_mean() -> FrozenClaim:
    """AvgBIO recomputed from its parts."""
    gaps = []
    for method in (SCGPT, GENEFORMER):
        parts = (number(method, name) for name in ("nmi_oracle", "ari_at_nmi_oracle", "asw_label"))
        gaps.append(abs(avg_bio(*parts) - number(method, "avg_bio")))
    return FrozenClaim(
        "K04",
        "AvgBIO is the mean of NMI, ARI and ASW label.",
        "holds" if max(gaps) < 1e-5 else "fails",
        f"Recomputed from the printed parts, the largest gap is {max(gaps):.1e}.",
    )


def below_the_mean() -> FrozenClaim:
    """ScGPT's decoders against the mean of all bins."""
    mean = number("mean of all non-zero bins", "reconstruction_mse")
    heads = {
        name: number(f"{SCGPT}, {name}", "reconstruction_mse") for name in ("MLM head", "MVC head")
    }
    said = ", ".join(
        f"{name} {value:.1f} ({(1 - value / mean):+.1%})" for name, value in heads.items()
    )
    return FrozenClaim(
        "K05",
        "scGPT reconstructs bins worse than the mean of all bins does.",
        "holds" if min(heads.values()) > mean else "fails",
        f"Mean squared error: mean {mean:.1f}; {said} less error. The notebook contradicts the "
        "prose, by little for the one head; nothing is masked, so both copy what they see.",
        ("Z04",),
    )


def floor_is_empty() -> FrozenClaim:
    """Recompute the floor from the binning alone."""
    floor, published = (
        uniform_floor(BINS),
        number("mean of all non-zero bins", "reconstruction_mse"),
    )
    return FrozenClaim(
        "K06",
        "The floor of scGPT’s reconstruction holds no information (not claimed by the authors).",
        "holds" if abs(published / floor - 1) < 0.05 else "fails",
        f"Quantile bins are uniform by construction: (50² − 1)/12 = {floor:.2f} on any cells, less "
        f"what ties take; published {published:.2f}. On three unrelated sets it is 201 to 204.",
        ("Z04",),
    )


def above_the_gene_mean() -> FrozenClaim:
    """Whether scGPT knows more than the average of each gene."""
    mvc, mlm = (
        number(f"{SCGPT}, {name}", "reconstruction_mse") for name in ("MVC head", "MLM head")
    )
    return FrozenClaim(
        "K07",
        "scGPT reconstructs more than the average bin of each gene.",
        "not_run",
        f"The floor per gene, out of fold, was not computed. On other sets it is 151 to 162; MVC "
        f"({mvc:.1f}) lies there, MLM ({mlm:.1f}) does not reach it with the answer in view.",
        ("Z04",),
    )


def ranks() -> FrozenClaim:
    """Geneformer's ranks against the mean rank."""
    model, floor = (
        number(name, "rank_pearson_mean") for name in (GENEFORMER, "mean rank of the same cells")
    )
    spreads = [
        number(name, "rank_pearson_std") for name in (GENEFORMER, "mean rank of the same cells")
    ]
    error = math.sqrt(sum(each**2 for each in spreads) / RANKED_CELLS)
    # Unpaired: the correlation over cells is not printed, and could only shrink the error.
    p = float(2 * scipy.stats.norm.sf(abs(floor - model) / error))
    return FrozenClaim(
        "K08",
        "The mean rank of each gene orders genes better than Geneformer does.",
        "fragile" if p < ALPHA and floor > model else "fails",
        f"Pearson {floor:.3f} against {model:.3f} over {RANKED_CELLS} cells (p = {p:.0e}, "
        "unpaired): significant, yet the mean rank was taken over the evaluated cells "
        "themselves, and the floor depends on the normaliser (.16 with medians of the "
        "same cells, .63 without).",
        ("Z04",),
    )


def batch_integration() -> FrozenClaim:
    """HVG said to integrate batches best."""
    return FrozenClaim(
        "K09",
        "Variable genes integrate batches best on all sets.",
        "not_run",
        "ASW batch and iLISI rise with the number of dimensions whatever batches do (.848 for "
        "2,000 genes, .635 for their 20 components, .984 for noise on the same cells), and 2,000 "
        "stand against 30 to 512. Decided by scores on as many components for every arm.",
        ("Z02", "Z05"),
    )


def batch_columns() -> FrozenClaim:
    """Batch scores of the two notebooks."""
    pcr = [number(name, "pcr_batch_raw") for name in (SCGPT, GENEFORMER)]
    return FrozenClaim(
        "K10",
        "On pancreas scGPT mixes batches better than Geneformer.",
        "not_run",
        f"PCR {pcr[0]:.3f} and {pcr[1]:.3f} are of two columns: technology with 9 levels, and "
        "batch with 6. Decided by one column for both.",
        ("Z03",),
    )


def below_harmony() -> FrozenClaim:
    """ScGPT below Harmony on all sets but one."""
    return FrozenClaim(
        "K11",
        "scGPT is below Harmony on every set but PBMC 12k.",
        "not_run",
        "A transcription of the figure has scGPT above Harmony on Tabula Sapiens (.43 against "
        ".39), with an unknown error, and the code holds no Harmony.",
        ("Z06", "Z08"),
    )


CLAIMS: tuple[Callable[[], FrozenClaim], ...] = (
    worse_than_baselines,
    geneformer_below_scgpt,
    geneformer_below_noise,
    average_is_a_mean,
    below_the_mean,
    floor_is_empty,
    above_the_gene_mean,
    ranks,
    batch_integration,
    batch_columns,
    below_harmony,
)


def verdict_table(found: list[FrozenClaim]) -> Table:
    """Lay the verdicts out."""
    return Table(
        name="claims",
        title="Claims of Kedzierska et al. (2025)",
        columns=["id", "verdict", "statement", "reason", "discrepancies"],
        rows=[
            [each.id, each.verdict, each.statement, each.reason, ", ".join(each.discrepancies)]
            for each in found
        ],
        notes=["Z01 to Z10: docs/zero_shot.md. Numbers read off figures judge nothing."],
    )


def reproduce(source: str, out: Path | None, *, as_json: bool) -> str:
    """Judge, write what is asked for, and give what is printed."""
    if source != "published":
        raise UserError(
            "claims of kedzierska are judged by published numbers",
            got=f"--source {source}",
            remedy="your own cells are judged by leadline ablate zero_shot",
        )
    found = judged()
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table = verdict_table(found)
        atomic.write_text(out / "claims.csv", tables.to_csv(table))
        atomic.write_text(out / "claims.md", tables.to_markdown(table))
        atomic.write_text(out / "tables.html", tables.html_document(table.title, [table]))
        atomic.write_text(out / "claims.json", told(found) + "\n")
    if as_json:
        return told(found)
    counted = {name: sum(each.verdict == name for each in found) for name in VERDICTS}
    lines = [
        f"{each.id}  {each.verdict:8} {each.statement}\n{'':14}{each.reason}" for each in found
    ]
    return "\n".join([*lines, "", ", ".join(f"{count} {name}" for name, count in counted.items())])


VERDICTS: tuple[Verdict, ...] = ("holds", "fragile", "fails", "not_run")


def told(found: list[FrozenClaim]) -> str:
    """Write the verdicts as one JSON object."""
    return json.dumps({"paper": "kedzierska", "claims": [asdict(each) for each in found]})
