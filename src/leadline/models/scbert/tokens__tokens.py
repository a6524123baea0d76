"""Cells → tokens, one module for each model; nothing here is learnt, and nothing needs torch."""
