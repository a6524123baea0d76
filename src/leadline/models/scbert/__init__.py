"""scBERT."""
