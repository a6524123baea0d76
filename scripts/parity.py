"""Check a port against its original, with your own weights; --help after a model tells more."""

import sys

from leadline.errors import UserError
from leadline.models import parity


def main():
    try:
        parity.main(sys.argv[1:])
    except UserError as error:
        sys.exit(print(error, file=sys.stderr) or 2)


if __name__ == "__main__":
    main()
