"""Check a port or an implementation against its original; --help after a word tells more.

`parity.py inference IN.npz OUT.npz`, and so with `zero_shot` and `perturbation`, computes every
value of the golden file of that name from any other inputs; other words are models.
"""

import sys
from importlib import import_module
from pathlib import Path

from leadline.errors import UserError

ARRAYS = ("inference", "zero_shot", "perturbation")


def main():
    words = sys.argv[1:]
    try:
        if words and words[0] in ARRAYS:
            if len(words) != 3:
                sys.exit(print(f"usage: parity.py {words[0]} IN.npz OUT.npz", file=sys.stderr) or 2)
            import_module(f"parity_{words[0]}").main(Path(words[1]), Path(words[2]))
        else:
            import_module("parity_models").main(words)
    except UserError as error:
        sys.exit(print(error, file=sys.stderr) or 2)


if __name__ == "__main__":
    main()
