"""leadline measures how deep a single-cell foundation model really goes."""

__version__ = "0.1.0"
