"""In the vehicle: from what the exported FipTR graph returns to instance maps. Needs numpy, nothing else.

This file twins `bevkit.models.coders.instance_queries.InstanceQueryCoder.decode`; a test holds both to the same maps.
Boxes of the same queries are read by `decode_boxes.decode_query_boxes`.

    ids = decode_queries(scores, masks, threshold=0.3)
"""

from __future__ import annotations

import numpy as np
from decode_boxes import sigmoid


def decode_queries(scores: np.ndarray, masks: np.ndarray, threshold: float) -> np.ndarray:
    """Gives each cell to the query that most surely has an object there, if it is sure enough.

    Args:
        scores: [L Q K] class logits of one sample; the last decoder layer counts.
        masks: [Q F+1 Y X] logits of one sample.
        threshold: of the best class score times the mask, above which a cell is occupied.

    Returns:
        ids [F+1 Y X] int64 of the present and the future frames; 0 is background.
    """
    if scores.ndim != 3 or masks.ndim != 4 or len(masks) != scores.shape[1]:
        raise ValueError(f"decode_queries: expected scores [L Q K] and masks [Q F+1 Y X] of one sample, got "
                         f"{list(scores.shape)} and {list(masks.shape)}; take one sample of the batch")
    best = sigmoid(scores[-1]).max(axis=1)  # [Q]
    sure = np.flatnonzero(best > threshold)  # a mask is at most 1: no other query can have a cell
    if not len(sure):
        return np.zeros(masks.shape[1:], np.int64)
    product = best[sure, None, None, None] * sigmoid(masks[sure])  # [q F+1 Y X]
    query, occupied = product.argmax(axis=0), product.max(axis=0) > threshold  # [F+1 Y X]
    ids = np.zeros(query.shape, np.int64)
    ids[occupied] = np.unique(query[occupied], return_inverse=True)[1] + 1
    return ids
