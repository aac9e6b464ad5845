"""`expect` binds axis letters and refuses what does not fit, in one sentence."""

import pytest
import torch

from bevkit.checks import expect


def test_letters_are_bound_and_returned() -> None:
    axes = expect("images", torch.zeros(2, 6, 3, 4, 5), "B N 3 h w")
    assert axes == {"B": 2, "N": 6, "h": 4, "w": 5}
    assert expect("rig", torch.zeros(2, 6, 3, 3), "B N 3 3", axes) == axes
    assert expect("depth", torch.zeros(2, 7), "B D", axes) == {**axes, "D": 7}
    assert "D" not in axes  # what was bound later stays out of the earlier dict


@pytest.mark.parametrize("shape", [(3, 3), (5, 3, 3), (2, 5, 3, 3)])
def test_a_star_stands_for_any_leading_axes(shape: tuple[int, ...]) -> None:
    assert expect("matrix", torch.zeros(shape), "* 3 3") == {}


def test_an_empty_axis_fits() -> None:
    assert expect("centers", torch.zeros(0, 3), "A 3") == {"A": 0}


@pytest.mark.parametrize(("shape", "expected"), [((2, 3, 3), "N 3 4"), ((2, 3), "N 3 3"), ((3,), "* 3 3"),
                                                 ((2, 3), "A A"), ((), "A")])
def test_another_shape_is_refused(shape: tuple[int, ...], expected: str) -> None:
    with pytest.raises(ValueError, match=r"thing: expected shape \[.*\], got \["):
        expect("thing", torch.zeros(shape), expected)


def test_the_sentence_says_what_was_bound_before() -> None:
    with pytest.raises(ValueError) as caught:
        expect("rig.image_aug", torch.zeros(4, 3, 3), "N 3 3", {"N": 6, "B": 2})
    assert str(caught.value) == "rig.image_aug: expected shape [N 3 3] with N=6, got [4, 3, 3]"


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"rig: expected a tensor \[N 3\], got list"):
        expect("rig", [[1, 2, 3]], "N 3")
    with pytest.raises(TypeError, match=r"ids: expected dtype torch.int64, got torch.float32; convert it with"):
        expect("ids", torch.zeros(3), "A", dtype=torch.int64)
