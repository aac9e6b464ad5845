"""The tiny exported model, and the folder deploy/, whose files are scripts that find one another as neighbours."""

import sys
from pathlib import Path

from tests.export.tiny import artefact, clip, model

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy"))

__all__ = ["artefact", "clip", "model"]
