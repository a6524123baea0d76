"""`leadline reproduce`."""

from __future__ import annotations

import argparse


def call(chosen: argparse.Namespace) -> int:
    """Judge the paper's claims."""
    from leadline.papers.reproduce import reproduce

    return reproduce(chosen)
