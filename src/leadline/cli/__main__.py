"""`python -m leadline.cli`: the command line, where no script is installed."""

import sys

from leadline.cli import main

sys.exit(main())
