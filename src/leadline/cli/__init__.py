"""What a user types: `main`, and the exit codes that it returns."""

from leadline.cli.main import COMMANDS, FAILED, GOOD, MISTAKE, REQUEUE, main

__all__ = ["COMMANDS", "FAILED", "GOOD", "MISTAKE", "REQUEUE", "main"]
