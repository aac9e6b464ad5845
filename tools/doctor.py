"""The same as `bevkit doctor`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["doctor", *sys.argv[1:]]))
