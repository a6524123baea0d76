"""What a run does with its cells: one task a file."""
