"""Losses: pure functions and the weights between them."""

from bevkit.models.losses.focal import gaussian_focal, sigmoid_focal
from bevkit.models.losses.regression import MaskedRegression, masked_regression
from bevkit.models.losses.segmentation import TopKCrossEntropy, topk_cross_entropy
from bevkit.models.losses.uncertainty import UncertaintyWeight

__all__ = ["MaskedRegression", "TopKCrossEntropy", "UncertaintyWeight", "gaussian_focal", "masked_regression",
           "sigmoid_focal", "topk_cross_entropy"]
