"""What records say: frames, comparisons, tables, figures, pages."""
