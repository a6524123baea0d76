"""What a report may compare with: a paper, given as an argument."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from leadline.report.compare.evidence import Evidence
from leadline.report.compare.setting import ClaimSettings
from leadline.report.tables import Table


class Reference(Protocol):
    """A paper: its numbers, and how its tables and figures are laid out."""

    @property
    def setting(self) -> ClaimSettings:
        """Give margin, levels, and facts about the models."""

    @property
    def figures(self) -> Mapping[str, tuple[str, str, str]]:
        """Give for each artefact its kind of figure, the name of its file, and its title."""

    def evidence(self) -> Evidence:
        """Give the numbers that were published."""

    def lays_out(self, names: Sequence[str]) -> bool:
        """Say whether any of these artefacts has a table."""

    def tables(self, evidence: Evidence, names: Sequence[str]) -> list[Table]:
        """Lay out the tables of these artefacts from any evidence."""
