"""Write a synthetic knock-out screen whose law is known: FOLDER/screen.h5ad and FOLDER/vectors.npz.

    python scripts/planted_screen.py /tmp/screen --coexpression 0.3
    leadline ablate perturbation data.path=/tmp/screen/screen.h5ad data.batch=batch
    leadline run task=perturbation data=h5ad data.path=/tmp/screen/screen.h5ad data.batch=batch \
        data.label=perturbation model=gene_vectors model.vectors=/tmp/screen/vectors.npz

The vectors know the law. Control cells know it as far as `--coexpression` lets them vary along it;
`--strength 0` plants nothing.
"""

import argparse
import inspect
from pathlib import Path

from leadline.data.datasets.synthetic.knockouts import planted_screen, write_planted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for name, parameter in inspect.signature(planted_screen).parameters.items():
        kind = type(parameter.default)
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=kind, default=parameter.default)
    said = vars(parser.parse_args())
    folder = said.pop("folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path in write_planted(folder, planted_screen(**said)):
        print(path)


if __name__ == "__main__":
    main()
