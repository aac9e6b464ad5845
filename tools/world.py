"""The same as `bevkit world`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["world", *sys.argv[1:]]))
