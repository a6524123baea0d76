"""The demo: the study `quickstart` on the cells that come with leadline, then its report."""

import subprocess
import sys
import textwrap
from pathlib import Path

from leadline.report.write import headline

RUNS, REPORT = Path("demo/runs"), Path("demo/report")


def leadline(*words: str) -> None:
    """Run a command of leadline; end with its exit code if it is not good."""
    said = subprocess.run([sys.executable, "-m", "leadline.cli", *words])
    if said.returncode:
        sys.exit(said.returncode)


def main() -> None:
    two_at_a_time = ("hydra/launcher=local", "hydra.launcher.n_jobs=2")
    leadline("ablate", "quickstart", f"runs_dir={RUNS}", *two_at_a_time)
    leadline("report", "quickstart", "--runs", str(RUNS), "--out", str(REPORT))
    page = REPORT / "index.html"
    question, answer, basis = headline(page)
    print("\n" + "\n".join(textwrap.fill(line, 100) for line in (question, answer, basis)))
    print(f"The page: {page.resolve()}")


if __name__ == "__main__":
    main()
