"""Follows a recipe written in Markdown, to the letter.

`Write FILE:`, `Append to FILE:` and `Insert into FILE below LINE…:` say what becomes of the code
block that follows; the lines of `sh` blocks are commands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

STEP = re.compile(
    r"(?P<verb>Write|Append to|Insert into) `(?P<file>[^`]+)`(?: below `(?P<line>[^`]+)`)?"
    r"[^:`]*:\n\n```\w+\n(?P<text>.*?)```"
    r"|```sh\n(?P<commands>.*?)```",
    flags=re.DOTALL,
)


@dataclass(frozen=True)
class Edit:
    """What becomes of a file."""

    verb: str
    file: str
    line: str | None
    text: str

    def make(self, root: Path) -> None:
        path = root / self.file
        if self.verb == "Write":
            assert not path.exists(), f"{self.file} is there already"
            path.write_text(self.text)
            return
        lines = path.read_text().splitlines(keepends=True)
        if self.verb == "Append to":
            path.write_text("".join(lines) + self.text)
            return
        places = [i for i, line in enumerate(lines) if line.strip() == self.line]
        assert places, f"{self.file} has no line {self.line!r}"
        lines.insert(places[0] + 1, self.text)
        path.write_text("".join(lines))


def sections(text: str) -> dict[str, str]:
    """Cut a page at its second-order headings."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def steps(text: str) -> list[Edit | str]:
    """Give edits and commands in their order."""
    found: list[Edit | str] = []
    for step in STEP.finditer(text):
        if step["commands"] is not None:
            found += [line for line in step["commands"].splitlines() if line.strip()]
        else:
            found.append(Edit(step["verb"], step["file"], step["line"], step["text"]))
    return found
