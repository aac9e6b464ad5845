"""`python -m bevkit` is the command `bevkit`; so is `torchrun -m bevkit`."""

import sys

from bevkit.cli.main import main

sys.exit(main())
