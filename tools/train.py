"""The same as `bevkit train`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["train", *sys.argv[1:]]))
