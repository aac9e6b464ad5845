"""Where the parts are joined, through the registry."""

from bevkit.models.architectures.dense import DenseBEV
from bevkit.models.architectures.preprocessor import BEVPreprocessor

__all__ = ["BEVPreprocessor", "DenseBEV"]
