"""The same as `bevkit import-checkpoint`."""

import sys

from bevkit.cli.main import main

sys.exit(main(["import-checkpoint", *sys.argv[1:]]))
