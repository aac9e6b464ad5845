"""In the vehicle: from what the exported FipTR graph returns to instance maps. Needs numpy, nothing else.

This file twins `bevkit.models.coders.instance_queries.InstanceQueryCoder.decode`; a test holds both to the same maps.
Boxes of the same queries are read by `decode_boxes.decode_query_boxes`.

    ids = decode_queries(probability, query, threshold=0.3)
"""

from __future__ import annotations

import numpy as np


def decode_queries(probability: np.ndarray, query: np.ndarray, threshold: float) -> np.ndarray:
    """Gives each cell to its query, if that is sure enough.

    Args:
        probability: [F+1 Y X] of one sample, how surely the query has an object in the cell.
        query: [F+1 Y X] its number.
        threshold: above which a cell is occupied.

    Returns:
        ids [F+1 Y X] int64 of the present and the future frames, in the order of the queries; 0 is background.
    """
    if probability.ndim != 3 or probability.shape != query.shape:
        raise ValueError(f"decode_queries: expected probability and query [F+1 Y X] of one sample, got "
                         f"{list(probability.shape)} and {list(query.shape)}; take one sample of the batch")
    occupied = probability > np.float32(threshold)
    ids = np.zeros(query.shape, np.int64)
    ids[occupied] = np.unique(query[occupied], return_inverse=True)[1] + 1
    return ids
