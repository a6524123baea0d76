"""One run, from settings to a sealed record."""
