"""The demo: every model on the embedded cells, two label budgets, three seeds; then the page."""

import sys
from pathlib import Path

from leadline.compose import compose
from leadline.report import write_report
from leadline.run import run

MODELS = ("logreg", "knn_pca", "nearest_centroid", "stratified", "majority")


def main() -> None:
    here = Path("demo")
    for fraction in (1.0, 0.25):
        for model in MODELS:
            for seed in (1, 2, 3):
                words = [f"model={model}", f"data.fraction={fraction}", f"seed={seed}"]
                run(compose([*words, f"runs_dir={here / 'runs'}"]))
    print(f"The page: {write_report(here / 'runs', here / 'report').resolve()}", file=sys.stdout)


if __name__ == "__main__":
    main()
