"""Named datasets: embedded, synthetic, the paper's, and anybody's file."""

from leadline.catalog.loading import files, load

__all__ = ["files", "load"]
