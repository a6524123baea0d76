"""A finding that printed numbers disagree, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leadline.papers.drafts.document import Address
from leadline.papers.drafts.numbers import PrintedNumber


@dataclass(frozen=True, slots=True, kw_only=True)
class Inconsistency:
    """What disagrees, in a sentence, and the places of all numbers that are involved."""

    said: str
    places: tuple[Address, ...]

    def as_entry(self) -> dict[str, Any]:
        """Give it as it is written into claims.yaml."""
        return {
            "said": self.said,
            "at": [
                {"path": each.path, "start": each.start, "end": each.end, "quote": each.quote}
                for each in self.places
            ],
        }


def place_of(sentence: Address, number: PrintedNumber) -> Address:
    """Give the address of a number in a sentence or cell."""
    return Address(
        path=sentence.path,
        start=sentence.start + number.start,
        end=sentence.start + number.end,
        quote=number.text,
    )
