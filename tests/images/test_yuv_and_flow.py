"""Planes of frames and RGB against swscale; flow, warping and occlusion on known motion."""

import cv2
import numpy as np
import pytest

from sr_lab.images.flow import dis_flow, enlarge_flow, occluded, warp
from sr_lab.images.yuv import PixelLayout, planes_to_rgb, rgb_to_planes

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 65535, (37, 51, 3)).astype(np.uint16), (0, 0), 4)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("shifts", [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("full", [False, True])
def test_there_and_back(bits, shifts, matrix, full):
    layout = PixelLayout("yuv", bits, shifts, matrix, full)
    planes = rgb_to_planes(SMOOTH, layout)
    assert planes[1].shape == (37 + shifts[1] >> shifts[1], 51 + shifts[0] >> shifts[0])
    apart = np.abs(planes_to_rgb(planes, layout).astype(int) - SMOOTH) / 257
    assert apart.max() < 3
    assert apart.mean() < (0.6 if bits == 8 else 0.3)


@pytest.mark.parametrize(("matrix", "name"), [("bt601", "ITU601"), ("bt709", "ITU709")])
@pytest.mark.parametrize(("full", "range"), [(False, "MPEG"), (True, "JPEG")])
def test_the_matrices_are_those_of_swscale(matrix, name, full, range):
    av = pytest.importorskip("av")
    frame = av.VideoFrame.from_ndarray((SMOOTH[:36, :50] >> 8).astype(np.uint8), format="rgb24")
    theirs = frame.reformat(format="yuv444p", dst_colorspace=name, dst_color_range=range).to_ndarray()
    ours = rgb_to_planes((SMOOTH[:36, :50] >> 8) * np.uint16(257), PixelLayout("yuv", 8, (0, 0), matrix, full))
    assert max(np.abs(theirs[place].astype(int) - ours[place]).max() for place in (0, 1, 2)) <= 1


def test_grey_and_rgb_planes():
    grey = rgb_to_planes(np.full((2, 3, 1), 65535, np.uint16), PixelLayout("grey", 10, (0, 0)))
    assert grey[0].tolist() == [[940] * 3] * 2
    rgb = rgb_to_planes(SMOOTH, PixelLayout("rgb", 16, (0, 0), full=True))
    assert np.array_equal(np.stack([rgb[2], rgb[0], rgb[1]], axis=-1), SMOOTH)
    assert np.array_equal(planes_to_rgb(rgb, PixelLayout("rgb", 16, (0, 0), full=True)), SMOOTH)


def test_flow_of_a_pan_and_its_occlusion():
    ground = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 255, (64, 96), dtype=np.uint8), (9, 9), 2)
    first, second = ground[:, :-4], ground[:, 4:]
    forward, backward = dis_flow(first, second), dis_flow(second, first)
    inner = np.s_[16:-16, 16:-16]
    assert np.abs(forward[inner] - (-4, 0)).mean() < 0.1
    assert np.abs(warp(second, forward)[inner].astype(int) - first[inner]).mean() < 1
    hidden = occluded(forward, backward)
    assert hidden[:, :3].mean() > 0.9  # what lies outside of the second frame
    assert hidden[inner].mean() < 0.05
    assert np.abs(enlarge_flow(forward, (128, 184))[32:-32, 32:-32] - (-8, 0)).mean() < 0.2


def test_flow_of_tiny_frames_and_of_frames_that_do_not_fit():
    assert dis_flow(np.zeros((3, 5), np.uint8), np.zeros((3, 5), np.uint8)).shape == (3, 5, 2)
    with pytest.raises(ValueError, match="two grey frames"):
        dis_flow(np.zeros((3, 5), np.uint8), np.zeros((3, 6), np.uint8))
