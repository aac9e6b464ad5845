"""The same as `bevkit look`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["look", *sys.argv[1:]]))
