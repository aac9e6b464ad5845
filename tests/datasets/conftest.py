"""A tiny data set in nuScenes format, for every test of this folder."""

import pytest

from tests.datasets.tables import write_tables


@pytest.fixture
def tiny(tmp_path):
    """Dataroot of two scenes (8 and 6 keyframes) with two cameras."""
    return write_tables(tmp_path / "data")
