"""The same as `bevkit predict`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["predict", *sys.argv[1:]]))
