"""Colours of drawings on a dark page: the same hue, light enough to be seen."""

from __future__ import annotations

import re

# The greys of `figures.style` change places with the paper.
GREYS = {
    "1a1a1a": "--ink",
    "000000": "--ink",
    "5c5c5c": "--muted",
    "e4e4e4": "--faint",
    "ffffff": "--card",
}
DARK_CARD = "1d2024"
CONTRAST = 4.5
COLOUR = re.compile(r"#([0-9a-f]{6})\b")
USED = re.compile(r"var\(--x([0-9a-f]{6})\)")


def variables(style: str) -> str:
    """Write colours as variables of the page, which light and dark set apart."""

    def name(found: re.Match[str]) -> str:
        colour = found[1]
        return f"var({GREYS[colour]})" if colour in GREYS else f"var(--x{colour})"

    return COLOUR.sub(name, style)


def light_colours(body: str) -> str:
    """Give every variable that a page uses its own colour."""
    return " ".join(f"--x{colour}: #{colour};" for colour in sorted(set(USED.findall(body))))


def dark_colours(body: str) -> str:
    """Give every variable the nearest tint that stands out from the dark card."""
    used = sorted(set(USED.findall(body)))
    return " ".join(f"--x{colour}: #{lightened(colour)};" for colour in used)


def lightened(colour: str) -> str:
    """Mix a colour with white until its contrast with the dark card is that of text."""
    channels = [int(colour[at : at + 2], 16) for at in (0, 2, 4)]
    for white in range(0, 101, 2):
        mixed = [round(c + (255 - c) * white / 100) for c in channels]
        tint = "".join(f"{c:02x}" for c in mixed)
        if contrast(tint, DARK_CARD) >= CONTRAST:
            return tint
    return "ffffff"


def contrast(a: str, b: str) -> float:
    """Give the contrast of two colours as WCAG defines it, 1 to 21."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = []
    for at in (0, 2, 4):
        c = int(colour[at : at + 2], 16) / 255
        parts.append(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
