import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from skimage import data as samples

from sr_lab.images import resize_bicubic
from sr_lab.monitoring import Extractor, compare, measure_folder, read_profile, write_profile
from sr_lab.monitoring.embedding import BackboneEmbedding, ContentEmbedding
from sr_lab.monitoring.features import INPUT, feature_columns
from sr_lab.monitoring.naturalness import naturalness
from sr_lab.monitoring.outputs import RestoredOutputs

pytestmark = pytest.mark.usefixtures("forked")


def test_a_profile_keeps_features_settings_and_versions_but_no_pixels(reference, tmp_path):
    path = tmp_path / "profile.parquet"
    write_profile(reference, path)
    again = read_profile(path)
    pd.testing.assert_frame_equal(again.table, reference.table)
    assert again.settings == reference.settings
    assert again.facts["versions"].keys() >= {"sr_lab", "numpy", "opencv"}
    assert again.facts["images_sha256"] == reference.facts["images_sha256"]
    columns = pq.read_schema(path).names
    assert columns == ["name", *INPUT, *(f"content_{k}" for k in range(6))]
    assert all(reference.table[name].dtype == np.float64 for name in columns[1:])


def test_features_tell_what_was_done(make_folder, extractor):
    clean, spoilt = (
        measure_folder(make_folder(0, 12, **how), extractor).table for how in ({}, {"quality": 40, "noise": 9})
    )
    assert clean["quality"].median() == pytest.approx(90, abs=3)
    assert spoilt["quality"].median() == pytest.approx(40, abs=3)
    assert spoilt["noise"].median() > clean["noise"].median() + 4
    assert (spoilt["blockiness"] > clean["blockiness"]).mean() > 0.7
    content = [name for name in feature_columns(clean) if name.startswith("content")]
    moved = (spoilt[content] - clean[content]).abs().median().mean()
    assert moved < 0.3 * clean[content].std().mean()  # content is still the same


def test_the_middle_of_a_large_image_is_measured_on_its_jpeg_grid(tmp_path):
    photo = Image.fromarray(np.tile(samples.coffee(), (2, 2, 1)))
    photo.save(tmp_path / "large.jpg", quality=50)
    extractor = Extractor(embedding=ContentEmbedding(), crop=128)
    estimate, features = extractor(tmp_path / "large.jpg", name="large")
    assert (estimate.width, estimate.height) == (128, 128)
    assert features["megapixels"] == pytest.approx(1200 * 800 / 1e6)
    assert features["blockiness"] > 0.2


def test_unusable_files_are_named_and_the_others_count(make_folder, extractor, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(make_folder(0, 3), folder)
    (folder / "broken.jpg").write_bytes(b"nothing")
    Image.new("RGB", (8, 8)).save(folder / "tiny.png")
    Image.new("RGB", (64, 64)).save(folder / "flat.png")
    (folder / "empty.png").touch()
    progress = []
    profile = measure_folder(folder, extractor, progress=lambda done, total: progress.append((done, total)))
    assert len(profile) == 3
    assert sorted(profile.facts["skipped"]) == ["broken.jpg", "empty.png", "flat.png", "tiny.png"]
    assert progress[-1] == (7, 7)
    for file in folder.glob("*.jpg"):
        file.unlink()
    with pytest.raises(ValueError, match="none of 3 images could be used"):
        measure_folder(folder, extractor)


def test_several_processes_give_the_same_profile(make_folder, extractor):
    folder = make_folder(0, 6)
    one, two = (measure_folder(folder, extractor, workers=workers) for workers in (1, 2))
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.facts["images_sha256"] == two.facts["images_sha256"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"text", "cannot be read as Parquet"), ("other", "no profile of srlab profile")],
)
def test_a_file_that_is_no_profile_is_refused(tmp_path, content, message):
    path = tmp_path / "profile.parquet"
    if content == "other":
        pd.DataFrame({"a": [1.0]}).to_parquet(path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_profile(path)


def test_naturalness_falls_with_blur_noise_and_compression():
    import cv2

    plane = np.ascontiguousarray(cv2.cvtColor(samples.chelsea(), cv2.COLOR_RGB2GRAY)).astype(np.float32)
    noise = np.random.default_rng(0).normal(0, 1, plane.shape).astype(np.float32)
    clean = naturalness(plane)
    blurred = [naturalness(cv2.GaussianBlur(plane, (0, 0), sigma)) for sigma in (1, 2)]
    noisy = [naturalness(np.clip(plane + sigma * noise, 0, 255)) for sigma in (10, 30)]
    assert clean < blurred[0] < blurred[1]
    assert clean < noisy[0] < noisy[1]
    with pytest.raises(ValueError, match="16x16 image is too small"):
        naturalness(plane[:16, :16])


def test_outputs_tell_consistency_naturalness_and_spread():
    pixels = samples.chelsea()[100:164, 100:164]

    def consistent(low):
        return resize_bicubic(low, scale=2.0)

    def invented(low):
        return (consistent(low) + 0.1 * torch.sin(torch.arange(128) / 9)).clamp(0, 1)

    faithful = RestoredOutputs(restore=consistent, scale=2, identity="a")(pixels)
    assert set(faithful) == {"consistency", "naturalness"}
    assert (
        faithful["consistency"] > RestoredOutputs(restore=invented, scale=2, identity="b")(pixels)["consistency"] + 10
    )
    spread = RestoredOutputs(
        restore=consistent, scale=2, identity="c", variance=lambda low: torch.full_like(low, 4 / 255**2)
    )(pixels)
    assert spread["variance"] == pytest.approx(2, rel=1e-5)


def test_the_backbone_needs_its_weights_and_says_so(tmp_path):
    with pytest.raises(ValueError, match=r"embedding\.weights=.*none\.pth does not exist"):
        BackboneEmbedding(weights=tmp_path / "none.pth")
    torch.save({"features.0.weight": torch.zeros(2)}, tmp_path / "wrong.pth")
    with pytest.raises(ValueError, match="are no weights of alexnet"):
        BackboneEmbedding(weights=tmp_path / "wrong.pth", network="alexnet")


def test_the_backbone_embeds(shared):
    embedding = BackboneEmbedding(weights=shared / "weights" / "squeezenet1_1_features.pth", dims=4)
    cat, cup = (embedding(photo.astype(np.float32)) for photo in (samples.chelsea(), samples.coffee()))
    darker = embedding(samples.chelsea().astype(np.float32) * np.float32(0.9))
    assert cat.shape == (4,)
    assert np.linalg.norm(cat - darker) < 0.3 * np.linalg.norm(cat - cup)
    assert json.dumps(embedding.settings())


def test_profiles_of_other_settings_or_too_few_images_are_refused(reference, make_folder):
    other = Extractor(embedding=ContentEmbedding(dims=3), crop=256)
    with pytest.raises(ValueError, match="crop is 256, in the profile 512; dims is 3, in the profile 6"):
        compare(reference, measure_folder(make_folder(60, 84), other))
    few = measure_folder(make_folder(60, 65), Extractor(embedding=ContentEmbedding()))
    with pytest.raises(ValueError, match="there are 5 usable images, fewer than min_images=20"):
        compare(reference, few)
