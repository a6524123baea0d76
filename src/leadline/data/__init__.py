"""From files to cells, splits and batches."""
