"""The same as `bevkit benchmark`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["benchmark", *sys.argv[1:]]))
