"""Where the parts are joined, through the registry."""

from bevkit.models.architectures.base import Architecture
from bevkit.models.architectures.dense import DenseBEV
from bevkit.models.architectures.preprocessor import BEVPreprocessor
from bevkit.models.architectures.sparse import SparseDetector

__all__ = ["Architecture", "BEVPreprocessor", "DenseBEV", "SparseDetector"]
