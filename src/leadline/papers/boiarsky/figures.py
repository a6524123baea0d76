"""The figures of the paper, from the published runs or from one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leadline.errors import UserError
from leadline.papers.claim_figure import forest
from leadline.papers.claims import ClaimsFile, Evidence, Result
from leadline.report.figures.drawing import Drawing
from leadline.report.figures.fewshot import few_shot
from leadline.report.figures.runs import every_run
from leadline.report.figures.style import WIDE
from leadline.stats.metrics import HEADLINE

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 1.0)
DATASETS = ("ms", "pancreas", "myeloid")
SCBERT = ("scbert/reference", "scbert/no_pretraining", "scbert/no_gene2vec")
SCGPT = ("scgpt/reference", "scgpt/no_pretraining", "scgpt/no_pretraining_frozen")


def draw_all(
    evidence: Evidence, file: ClaimsFile, results: Sequence[Result], width: float = WIDE
) -> tuple[list[Drawing], dict[str, str]]:
    """Draw every figure that there are runs for; give the others' reasons by name."""
    drawings, skipped = [], {}
    for name, builder in _builders(evidence, file, results, width).items():
        try:
            drawings.append(builder())
        except UserError as error:
            skipped[name] = str(error)
    return drawings, skipped


def _builders(
    evidence: Evidence, file: ClaimsFile, results: Sequence[Result], width: float
) -> dict[str, Callable[[], Drawing]]:
    return {
        "forest": lambda: forest(results, width=width),
        "figure2": lambda: _few_shot(
            evidence, file, width, "Figure 2", "scbert/reference", ("zheng68k",), ("figure2",)
        ),
        "figure3": lambda: _few_shot(
            evidence, file, width, "Figure 3", "scgpt/reference", DATASETS, ("figure3", "full_data")
        ),
        "table2": lambda: _runs(
            evidence, file, width, "Table 2", "table2", SCBERT, ("zheng68k",),
            (*HEADLINE, "acc_hard", "f1_hard"),
        ),
        "figure_s6": lambda: _runs(
            evidence, file, width, "Supp. Table 5", "table_s5", SCGPT, DATASETS, HEADLINE
        ),
    }  # fmt: skip


def _few_shot(
    evidence: Evidence,
    file: ClaimsFile,
    width: float,
    artefact: str,
    arm: str,
    datasets: Sequence[str],
    families: Sequence[str],
) -> Drawing:
    return few_shot(
        evidence,
        name=artefact.lower().replace(" ", ""),
        title=f"{artefact}: {TITLES[artefact]}",
        datasets=datasets,
        arms=("logreg/logreg", arm),
        fractions=FRACTIONS,
        artefact=artefact,
        families={name: file.families[name] for name in families},
        setting=file.setting,
        width=width,
    )


def _runs(
    evidence: Evidence,
    file: ClaimsFile,
    width: float,
    artefact: str,
    family: str,
    arms: Sequence[str],
    datasets: Sequence[str],
    metrics: Sequence[str],
) -> Drawing:
    return every_run(
        evidence,
        name="table2" if artefact == "Table 2" else "figure_s6",
        title=TITLES[artefact],
        datasets=datasets,
        arms=arms,
        metrics=metrics,
        artefact=artefact,
        families={family: file.families[family]},
        setting=file.setting,
        width=width,
    )


TITLES = {
    "Figure 2": "scBERT and logistic regression with few labels",
    "Figure 3": "scGPT and logistic regression with few labels",
    "Table 2": "Table 2 as a figure: scBERT without pre-training and without gene2vec",
    "Supp. Table 5": "Supplementary Figure 6: scGPT with and without pre-training",
}
