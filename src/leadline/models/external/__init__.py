"""Models made elsewhere."""
