"""When two decoded sides count as alike."""

import pytest

from bevkit.export.parity import Parity


@pytest.mark.parametrize("error, counts, alike", [
    (1e-4, dict(boxes=100, unequal_boxes=2), True),
    (1e-4, dict(boxes=100, unequal_boxes=3), False),
    (1e-4, dict(cells=100, unequal_cells=1), False),
    (1e-6, dict(boxes=100, unequal_boxes=40), True),  # ties that rounding resolves
    (1e-6, dict(cells=100, unequal_cells=1), False),  # maps have to be equal
    (1e-6, dict(boxes=100, vehicle=2, vehicle_unequal=1), False),  # of the same outputs
    (float("nan"), dict(boxes=100, unequal_boxes=40), False),
])
def test_rounding_is_forgiven_in_boxes(error, counts, alike):
    assert Parity(instants=1, errors=dict(heatmap=1e-7, size=error), **counts).decoded_alike is alike
