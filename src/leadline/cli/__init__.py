"""What a user types: `main`, and the exit codes that it returns."""

from leadline.cli.main import main
from leadline.errors import FAILED, GOOD, MISTAKE, REQUEUE

__all__ = ["FAILED", "GOOD", "MISTAKE", "REQUEUE", "main"]
