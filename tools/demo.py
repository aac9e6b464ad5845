"""The same as `bevkit demo`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["demo", *sys.argv[1:]]))
