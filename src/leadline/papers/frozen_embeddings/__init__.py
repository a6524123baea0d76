"""Kedzierska et al. (2025): published numbers of frozen embeddings, and verdicts on the claims."""
