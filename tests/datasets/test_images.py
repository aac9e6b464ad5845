"""Where pixels go when an image is resized, cropped, mirrored and turned, and what damaged files say."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from bevkit.datasets.images import ImageLoader, decode, reduction


def blob(path, height, width, u, v, spread=6.0):
    """Draws one bright spot at pixel (u, v) of a dark image."""
    rows, columns = np.mgrid[:height, :width]
    bright = 250 * np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / (2 * spread**2))
    cv2.imwrite(str(path), np.repeat(bright.round().astype(np.uint8)[..., None], 3, axis=2),
                [cv2.IMWRITE_JPEG_QUALITY, 98])
    return path


def middle(image):
    """Centre of brightness (u, v) of [3 h w], in pixels."""
    bright = image[0].double()
    bright = (bright - 20).clamp(min=0)
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in bright.shape), indexing="ij")
    return torch.stack(((bright * columns).sum(), (bright * rows).sum())) / bright.sum()


@pytest.mark.parametrize("loader", [
    dict(size=(90, 160)),
    dict(size=(80, 150), zoom=1.13, crop=(0.2, 0.7)),
    dict(size=(80, 150), zoom=1.2, flip=1.0),
    dict(size=(80, 150), zoom=1.1, rotate=9.0, flip=1.0),
    dict(size=(80, 150), zoom=1.1, rotate=-7.0, reduced=False),
    dict(size=(100, 200), zoom=0.8, crop=(0.5, 0.5)),
    dict(size=(360, 640)),
    dict(size=(400, 640), zoom=1.5, crop=(0.4, 0.4)),
    dict(size=(40, 80)),
    dict(size=(90, 160), interpolation="pil"),
    dict(),
], ids=str)
def test_bright_spot_lands_where_the_matrix_says(tmp_path, loader):
    u, v = 330.0, 170.0
    path = blob(tmp_path / "spot.jpg", 360, 640, u, v)
    loader = ImageLoader(**loader)
    plan = loader.plan((360, 640), loader.sample(1, np.random.default_rng(0))[0])
    image = loader.read([path], [plan])[0]
    wanted = loader.matrices([plan])[0] @ torch.tensor([u, v, 1.0], dtype=torch.float64)
    assert image.shape[1:] == (loader.size or (360, 640))
    assert (middle(image) - wanted[:2]).abs().max() < 0.12


def test_corner_origin_is_half_a_pixel_off(tmp_path):
    """The authors' intrinsics, taken as pixel centres, miss by (1 - scale) / 2 of a pixel."""
    exact, authors = ImageLoader((90, 160)), ImageLoader((90, 160), pixel_origin="corner")
    plan = exact.plan((360, 640), exact.sample(1, np.random.default_rng(0))[0])
    point = torch.tensor([330.0, 170.0, 1.0], dtype=torch.float64)
    miss = authors.matrices([plan])[0] @ point - exact.matrices([plan])[0] @ point
    assert torch.allclose(miss, torch.tensor([0.375, 0.375, 0.0], dtype=torch.float64))


def test_reduction_is_used_only_where_exact():
    loader = ImageLoader((224, 480))
    def plan(source, zoom=1.0):
        return loader.plan(source, (zoom, 0.5, 1.0, 0, 0))
    assert reduction(plan((900, 1600))) == 2  # 270x480 fits in 450x800, not in 225x400
    assert reduction(plan((900, 1600), 0.8)) == 4
    assert reduction(plan((900, 1600), 0.5)) == 4  # 900 is no multiple of 8
    assert reduction(plan((901, 1600))) == 1
    assert reduction(plan((450, 800))) == 1


def test_fiery_size_and_crop():
    """1600x900 by 0.3, upper 46 rows cut."""
    plan = ImageLoader((224, 480)).plan((900, 1600), (1.0, 0.5, 1.0, 0, 0))
    assert plan.resized == (270, 480) and plan.corner == (0, 46) and abs(plan.scale - 0.3) < 1e-12


def test_real_images_differ_little_from_pil(nuscenes_real):
    paths = sorted((nuscenes_real / "samples").glob("CAM_[BF]*/*.jpg"))
    paths = [path for path in paths if "HALF" not in path.parent.name][::5]
    read = {}
    for name, options in dict(pil=dict(interpolation="pil"), full=dict(reduced=False), reduced=dict()).items():
        loader = ImageLoader((224, 480), **options)
        plans = [loader.plan((900, 1600), (1.0, 0.5, 1.0, 0, 0)) for _ in paths]
        read[name] = loader.read(paths, plans).int()
    assert (read["full"] - read["pil"]).abs().max() <= 1
    assert (read["reduced"] - read["pil"]).abs().float().mean() < 1


def test_draws_stay_in_their_ranges():
    loader = ImageLoader((50, 100), zoom=(1.0, 1.5), crop=((0, 1), (0.4, 0.6)), flip=0.5, rotate=(-3, 3))
    draws = loader.sample(4000, np.random.default_rng(0))
    assert np.all(draws.min(0) >= [1, 0, 0.4, 0, -3]) and np.all(draws.max(0) <= [1.5, 1, 0.6, 1, 3])
    assert set(draws[:, 3]) == {0, 1} and abs(draws[:, 3].mean() - 0.5) < 0.05
    fixed = ImageLoader((50, 100)).sample(2, np.random.default_rng(0))
    assert np.array_equal(fixed, [[1, 0.5, 1, 0, 0]] * 2)


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (72, 96, 3), np.uint8)
    path = tmp_path / "picture.jpg"
    Image.fromarray(pixels).save(path, quality=90)
    return path


@pytest.mark.parametrize("interpolation", ["bilinear", "pil"])
@pytest.mark.parametrize("damage", ["truncated", "barely", "empty", "text"])
def test_damaged_images_give_one_sentence(picture, interpolation, damage):
    data = picture.read_bytes()
    picture.write_bytes({"truncated": data[: len(data) // 2], "barely": data[:-20], "empty": b"",
                         "text": b"no image"}[damage])
    loader = ImageLoader((36, 48), interpolation=interpolation)
    with pytest.raises(ValueError, match=r"picture.jpg \(\d+ bytes\) is truncated or damaged \(.*\); copy it again"):
        loader.read([picture], [loader.plan((72, 96), (1, 0.5, 1, 0, 0))])


def test_bytes_after_the_end_do_no_harm(picture):
    before = decode(picture, (72, 96))
    picture.write_bytes(picture.read_bytes() + b"trailer")
    assert np.array_equal(before, decode(picture, (72, 96)))


def test_channels_are_red_green_blue(tmp_path):
    path = tmp_path / "red.png"
    Image.new("RGB", (40, 30), (200, 20, 10)).save(path)
    for interpolation in ("bilinear", "pil"):
        loader = ImageLoader((15, 20), interpolation=interpolation)
        image = loader.read([path], [loader.plan((30, 40), (1, 0.5, 1, 0, 0))])
        assert image[0, :, 3, 3].tolist() == [200, 20, 10]


@pytest.mark.parametrize("angle", [0.0, 5.0])
def test_what_lies_outside_has_the_colour_asked_for(tmp_path, angle):
    path = tmp_path / "grey.png"
    Image.new("RGB", (40, 30), (50, 50, 50)).save(path)
    for interpolation in ("bilinear", "pil"):
        loader = ImageLoader((40, 40), crop=(0.5, 0.0), zoom=0.75, interpolation=interpolation, fill=(124, 116, 104))
        image = loader.read([path], [loader.plan((30, 40), (0.75, 0.5, 0, 0, angle))])
        assert image[0, :, -1, 20].tolist() == [124, 116, 104] and image[0, :, 10, 20].tolist() == [50, 50, 50]
    with pytest.raises(ValueError, match="fill = three numbers"):
        ImageLoader(fill=(124, 300, 0))


def test_other_mistakes_give_one_sentence(picture):
    loader = ImageLoader((36, 48))
    with pytest.raises(ValueError, match="expected 160x90 as the tables say, got 96x72"):
        loader.read([picture], [loader.plan((90, 160), (1, 0.5, 1, 0, 0))])
    with pytest.raises(FileNotFoundError, match="none.jpg is missing; .*with_images=False"):
        loader.read([picture.with_name("none.jpg")], [loader.plan((72, 96), (1, 0.5, 1, 0, 0))])
    for options, sentence in ((dict(interpolation="cubic"), "one of bilinear, pil"), (dict(flip=2), "probability"),
                              (dict(size=(3,)), "size = "), (dict(zoom=0), "zoom above 0"),
                              (dict(rotate=(3, -3)), "rotate: expected a number or"),
                              (dict(pixel_origin="left"), "one of centre, corner")):
        with pytest.raises(ValueError, match=sentence):
            ImageLoader(**options)
