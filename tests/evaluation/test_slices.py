import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage import data

from sr_lab.evaluation.slices import content_slices, flat_share, num_face_like, text_share, texture_share
from sr_lab.images import read_image, to_tensor


def photo(array):
    return to_tensor(array if array.ndim == 3 else array[..., None])


def printed(size, *, ink=(30, 30, 40), paper=(245, 245, 240)):
    image = Image.new("RGB", (256, 192), paper)
    draw = ImageDraw.Draw(image)
    for top in range(0, 192, size + 4):
        draw.text((6, top), "Invoice 2024 total amount 1,250.00 quick fox", fill=ink, font=ImageFont.load_default(size))
    return photo(np.asarray(image))


@pytest.mark.parametrize("size", [10, 14, 20, 28])
def test_print_is_text_in_either_tone(size):
    assert text_share(printed(size)) > 0.8
    assert text_share(printed(size, ink=(240, 240, 230), paper=(20, 30, 60))) > 0.8


def test_scanned_page_is_text():
    assert "content_text" in content_slices(photo(data.page()))


@pytest.mark.parametrize("name", ["astronaut", "camera", "chelsea", "coffee", "grass", "gravel", "moon"])
def test_pictures_without_print_are_not_text(name):
    assert "content_text" not in content_slices(photo(getattr(data, name)()))


@pytest.mark.parametrize("name", ["grass", "gravel"])
def test_grass_and_gravel_are_texture(name):
    slices = content_slices(photo(getattr(data, name)()))
    assert "content_texture" in slices
    assert "content_flat" not in slices


def test_stripes_have_a_direction_and_are_no_texture():
    wave = 0.5 + 0.4 * torch.sin(torch.arange(128) * 0.8)
    stripes = wave.expand(1, 1, 128, 128)
    assert texture_share(stripes) == 0
    noise = 0.5 + 0.2 * torch.randn((1, 1, 128, 128), generator=torch.Generator().manual_seed(0))
    assert texture_share(noise.clamp(0, 1)) == 1


def test_flat_share_counts_even_blocks():
    image = torch.full((1, 3, 64, 64), 0.5)
    image[..., :32] = torch.rand((1, 3, 64, 32), generator=torch.Generator().manual_seed(0))
    assert flat_share(image) == 0.5
    assert "content_flat" in content_slices(photo(data.moon()))


def test_a_face_is_found_in_colour_and_in_grey():
    astronaut = photo(data.astronaut())
    assert "content_face" in content_slices(astronaut)
    assert num_face_like(astronaut.mean(dim=1, keepdim=True)) > 0


def test_a_face_without_skin_colour_is_none():
    blue = photo(data.astronaut())[:, [2, 1, 0]]
    assert num_face_like(blue) == 0


@pytest.mark.parametrize("name", ["coffee", "rocket", "brick", "grass"])
def test_pictures_without_people_show_no_face(name):
    assert num_face_like(photo(getattr(data, name)())) == 0


@pytest.mark.parametrize(("path", "expected"), [
    ("Set5/x4/HR/img_005.png", "content_face"),
    ("Set14/x4/HR/img_008.png", "content_face"),
    ("Set14/x4/HR/img_013.png", "content_text"),
    ("BSD100/x4/HR/img_096.png", "content_texture"),
    ("BSD100/x4/HR/img_067.png", "content_flat"),
])  # fmt: skip
def test_photos_of_the_benchmarks(shared, path, expected):
    assert expected in content_slices(photo(read_image(shared / "datasets" / "benchmark" / path)))


def test_images_smaller_than_a_block_are_in_no_slice():
    assert content_slices(torch.rand(1, 3, 7, 9)) == frozenset()


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 3, 32, 32), (1, 4, 32, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="C = 1 or 3"):
        content_slices(torch.zeros(shape))
