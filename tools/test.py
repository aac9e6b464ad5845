"""The same as `bevkit test`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["test", *sys.argv[1:]]))
