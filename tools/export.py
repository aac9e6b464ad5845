"""The same as `bevkit export`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["export", *sys.argv[1:]]))
