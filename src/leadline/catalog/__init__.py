"""Named datasets: embedded, synthetic, the paper's, and anybody's file."""

from leadline.catalog.loading import load

__all__ = ["load"]
