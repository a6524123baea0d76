"""The paper as what a report compares with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leadline.papers.boiarsky import aggregates, runs
from leadline.papers.boiarsky.tables import paper_tables
from leadline.papers.claims.schema import load_claims
from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings
from leadline.report.tables import Table

# What a study calls its artefacts → the figure that repeats it, the name of its file, its title.
ARTEFACTS = {
    "Figure 2": ("few_shot", "figure2", "Figure 2, repeated: scores with few labels"),
    "Figure 3": ("few_shot", "figure3", "Figure 3, repeated: scores with few labels"),
    "Figure 4": ("batch_size", "figure4", "Figure 4, repeated: scores by batch size"),
    "Figure 5": ("learning_curves", "figure5", "Figure 5, repeated: learning curves of each seed"),
    "Figure 6": (
        "runs",
        "figure_s6",
        "Supplementary Figure 6, repeated: with and without pre-training",
    ),
}
TABLES = {
    "Table 1": "table1",
    "Table 2": "table2",
    "Table 3": "table3",
    "Supp. Table 4": "table_s4",
    "Supp. Table 5": "table_s5",
    "Figure 2": "figure2",
    "Figure 3": "figure3",
}


class PublishedReference:
    """Boiarsky et al. (2024): their numbers and the layout of their tables and figures."""

    @property
    def setting(self) -> ClaimSettings:
        """Give margin, levels, and facts about the models, as claims.yaml declares them."""
        return load_claims().setting

    @property
    def figures(self) -> Mapping[str, tuple[str, str, str]]:
        """Give for each artefact its kind of figure, the name of its file, and its title."""
        return ARTEFACTS

    def evidence(self) -> Evidence:
        """Give the numbers that were published."""
        return Evidence.of(runs(), aggregates())

    def lays_out(self, names: Sequence[str]) -> bool:
        """Say whether any of these artefacts has a table."""
        return any(name in TABLES for name in names)

    def tables(self, evidence: Evidence, names: Sequence[str]) -> list[Table]:
        """Lay out the tables of these artefacts from any evidence."""
        wanted = [TABLES[name] for name in names if name in TABLES]
        if not wanted:
            return []
        made = paper_tables(evidence, self.setting)
        return [table for table in made if table.name in wanted]
