"""The demo: the study `quickstart` on the cells that come with leadline, then its report."""

import subprocess
import sys
from pathlib import Path

RUNS, REPORT = Path("demo/runs"), Path("demo/report")


def leadline(*words: str) -> None:
    """Run a command of leadline; end with its exit code if it is not good."""
    said = subprocess.run([sys.executable, "-m", "leadline.cli", *words])
    if said.returncode:
        sys.exit(said.returncode)


def main() -> None:
    two_at_a_time = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")
    leadline("ablate", "quickstart", f"runs_dir={RUNS}", *two_at_a_time)
    print()
    leadline("report", "quickstart", "--runs", str(RUNS), "--out", str(REPORT.resolve()))


if __name__ == "__main__":
    main()
