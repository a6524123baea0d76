"""Named datasets: embedded, synthetic, the paper's, and anybody's file."""

from leadline.data.datasets.load import files, load

__all__ = ["files", "load"]
