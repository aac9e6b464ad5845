"""The fixtures of the tiny exported model."""

from tests.export.tiny import artefact, clip, model

__all__ = ["artefact", "clip", "model"]
