"""`leadline protocols`: the switches of the protocol, and how two presets differ."""

from __future__ import annotations

import argparse

from leadline.cli.live_table import aligned
from leadline.config.switches import ROWS, ProtocolSwitch
from leadline.errors import UserError
from leadline.stats.universes import TAGS
from leadline.studies.presets import PRESETS, differences, find_preset, values_of


def call(chosen: argparse.Namespace) -> int:
    """Print the switches, one preset, or the difference of two."""
    match chosen.presets:
        case []:
            lines = listed()
        case [name]:
            lines = of_preset(name)
        case [first, second]:
            lines = compared(first, second)
        case _:
            raise UserError(
                "leadline protocols compares two presets",
                got=" ".join(chosen.presets),
                remedy="name two",
            )
    print("\n".join(lines))
    return 0


def listed() -> list[str]:
    """Give every switch with its tag and its values, then the presets."""
    rows = [(name, row.tag, " ".join(row.values), row.title) for name, row in ROWS.items()]
    tags = [f"{tag}  {meaning}" for tag, meaning in TAGS.items()]
    return [*aligned(rows), "", *tags, "", f"presets: {', '.join(PRESETS)}"]


def of_preset(name: str) -> list[str]:
    """Give the values of a preset for each model, on the paper's PBMC."""
    find_preset(name)
    lines = []
    for model in PRESETS[name].models:
        lines += [f"{model} on zheng68k:", *aligned([*values_of(name, model, "zheng68k").items()])]
    return lines


def compared(first: str, second: str) -> list[str]:
    """Give the switches in which two presets differ, with the reason that there are two values."""
    lines = []
    for each in differences(first, second):
        row = ROWS[each.switch]
        lines.append(f"{each.switch} ({', '.join(each.where)}): {each.first} → {each.second}")
        lines.append(f"    {reason(row)}")
    return lines or [f"{first} and {second} have the same values"]


def reason(row: ProtocolSwitch) -> str:
    """Say why a switch is one: tag, reason, and the discrepancies of the paper."""
    better = f", {row.better} is better" if row.better else ""
    listed = f" ({', '.join(row.discrepancies)})" if row.discrepancies else ""
    return f"{row.tag}{better}: {row.why}{listed}"
