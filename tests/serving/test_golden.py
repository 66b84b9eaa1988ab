"""The golden set, restored by the service on the way that requests go."""

import numpy as np
import pytest
from serving.conftest import Fixed, make, picture

from sr_lab.cli import main
from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.images.files import read_image, write_image
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.protocol import YCrop
from sr_lab.serving.app import make_app
from sr_lab.serving.golden import GoldenSettings
from sr_lab.serving.rehearsal import make_version
from sr_lab.serving.watch_faults import NAME, promote_by_hand
from sr_lab.workflows.golden import FALLS, FLOORS, check_golden, make_golden, read_golden


def photos(folder):
    for number in range(2):
        write_image(folder / f"{number}.png", picture(64, 72, seed=number))
    still = picture(64, 64, seed=7)
    for frame in range(3):
        write_image(folder / "clip" / f"{frame}.png", np.roll(still, 2 * frame, axis=1))
    return folder


@pytest.fixture
def golden(tmp_path):
    made = make_golden(photos(tmp_path / "photos"), tmp_path / "golden", side=64)
    parts, source = make()
    source.made = lambda version: BicubicRestorer(scale=2)
    parts.service.shelf.follow()
    yield parts.service, made, source
    parts.service.close()


def numbers(service) -> dict[str, float]:
    page = service.measures.page().decode()
    lines = [line for line in page.splitlines() if line.startswith(("srlab_golden", "srlab_rating"))]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_it_is_made_of_the_middle_of_photos_with_hashes(golden, tmp_path):
    _, made, _ = golden
    assert [pair.clip for pair in made.pairs] == ["", "", "clip", "clip", "clip"]
    assert all(pair.intact for pair in made.pairs)
    assert read_golden(made.folder) == made
    assert read_image(made.pairs[0].high).shape == (64, 64, 3)
    assert read_image(made.pairs[0].low).shape == (32, 32, 3)
    with pytest.raises(FileNotFoundError, match="srlab golden makes one"):
        read_golden(tmp_path)


def test_its_numbers_carry_version_and_protocol_and_a_regression_shows(golden):
    service, made, source = golden
    source.now = "5"  # from now on bicubic interpolation
    service.shelf.follow()
    work = GoldenSettings(folder=str(made.folder), protocol=YCrop())(service)
    first = work.restore()
    assert (first.label, first.failures) == ("photos/5", 0)
    assert first.values == pytest.approx(first.floor, abs=0.02)  # but for the levels of its PNG
    assert set(first.values) == {"psnr", "ssim", "flicker"}
    told = numbers(service)
    labels = '{model="photos",protocol="y_crop",version="5"}'
    assert told[f"srlab_golden_psnr_decibels{labels}"] == first.values["psnr"]
    assert told[f"srlab_golden_expected_psnr_decibels{labels}"] == first.values["psnr"]
    assert told["srlab_golden_failures"] == 0

    class Dull(BicubicRestorer):
        """The same version with another image: what nobody has told."""

        def piece(self, low):
            return super().piece(low) * 0.9

    place = service.shelf._places["photos"]
    object.__setattr__(place.current, "restorer", Dull(scale=2))
    second = work.restore()
    assert second.label == "photos/5"
    told = numbers(service)
    fell = told[f"srlab_golden_expected_psnr_decibels{labels}"] - told[f"srlab_golden_psnr_decibels{labels}"]
    assert fell == pytest.approx(first.values["psnr"] - second.values["psnr"])
    assert fell > 1
    again = GoldenSettings(folder=str(made.folder), protocol=YCrop())
    assert again.state is None
    assert 'srlab_requests_total{route="/v1/restore"' not in service.measures.page().decode()
    assert "srlab_images_total{model" not in service.measures.page().decode()  # no client asked for it


def test_a_pair_that_was_changed_is_not_measured_and_the_set_grows_old(golden):
    service, made, _ = golden
    now = [1000.0]
    work = GoldenSettings(folder=str(made.folder), protocol=YCrop())(service)
    work.time = lambda: now[0]
    work.restore()
    now[0] += 50
    assert work._age() == 50
    made.pairs[0].high.write_bytes(made.pairs[1].high.read_bytes())
    made.pairs[1].low.unlink()
    told = work.restore()
    assert told.failures == 2
    assert numbers(service)["srlab_golden_failures"] == 2
    assert work._age() == 50


def test_a_set_of_another_scale_is_refused(golden, tmp_path):
    service, _, _ = golden
    make_golden(tmp_path / "photos", tmp_path / "by4", scale=4, side=64)
    with pytest.raises(ValueError, match="srlab golden scale=2 makes one for it"):
        GoldenSettings(folder=str(tmp_path / "by4"), protocol=YCrop())(service)


def test_ratings_of_people_become_numbers(golden, tmp_path):
    service, made, _ = golden
    file = tmp_path / "result.json"
    file.write_text('{"standings": [{"name": "edge", "score": 1.5, "low": 0.5, "high": null}]}')
    GoldenSettings(folder=str(made.folder), protocol=YCrop(), ratings=str(file))(service)
    told = numbers(service)
    assert told['srlab_rating_score{end="score",restorer="edge"}'] == 1.5
    assert told['srlab_rating_score{end="low",restorer="edge"}'] == 0.5
    assert 'srlab_rating_score{end="high",restorer="edge"}' not in told


def test_it_runs_with_the_application(tmp_path):
    from starlette.testclient import TestClient

    made = make_golden(photos(tmp_path / "photos"), tmp_path / "golden", side=64, num=1)
    parts, _ = make(sources=[Fixed("more")])
    parts.golden = GoldenSettings(folder=str(made.folder), protocol=YCrop())(parts.service)
    with TestClient(make_app(parts)) as client:
        while "srlab_golden_psnr_decibels{" not in client.get("/metrics").text:
            assert parts.golden._thread.is_alive()


def test_without_a_service_the_same_numbers_are_compared_with_the_same_ones(golden):
    service, made, source = golden
    source.now = "5"
    service.shelf.follow()
    first = GoldenSettings(folder=str(made.folder), protocol=YCrop())(service).restore()
    how = {"label": "photos/5", "scale": 2, "protocol": YCrop()}
    found = check_golden(made.folder, BicubicRestorer(scale=2), **how)
    assert found.values == first.values
    assert found.expected == first.values, "by the service's own file"
    assert (found.floor, found.failures, found.fallen) == (first.floor, [], [])
    dull = check_golden(made.folder, lambda low: BicubicRestorer(scale=2)(low) * 0.9, **how)
    assert [text.split()[0] for text in dull.fallen] == ["psnr", "ssim", "psnr"]
    assert dull.expected == first.values
    made.pairs[0].high.write_bytes(made.pairs[1].high.read_bytes())
    changed = check_golden(made.folder, BicubicRestorer(scale=2), **how)
    assert changed.failures == [made.pairs[0].name]
    assert changed.fallen[0] == f"{made.pairs[0].name} was changed, and is not measured"
    with pytest.raises(ValueError, match=r"is of scale 2, photos/5 of 4"):
        check_golden(made.folder, BicubicRestorer(scale=4), label="photos/5", scale=4, protocol=YCrop())


def test_srlab_golden_check_says_by_its_exit_code_that_a_champion_is_bad(golden, tmp_path, capsys):
    _, made, _ = golden
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    words = ["golden", setting("check", made.folder), setting("tracking_uri", store), "device=cpu"]
    versions = [make_version(store, NAME, folder=tmp_path / name, untrained=name == "bad") for name in ("good", "bad")]
    promote_by_hand(store, versions[0])
    assert main([*words, f"name={NAME}"]) == 0
    assert f"{NAME}/1: nothing fell" in capsys.readouterr().out
    promote_by_hand(store, versions[1])
    assert main([*words, f"name={NAME}"]) == 10
    assert "by bicubic interpolation" in capsys.readouterr().out
    for wrong, said in (([], "give name="), ([f"name={NAME}", "alias=none"], f"{NAME} has no none")):
        assert main([*words, *wrong]) == 1
        assert said in capsys.readouterr().err


def test_the_bounds_are_those_of_the_alerts():
    states = build(compose("slo", []).deploy).states
    fell = {name: states[f"golden_{name}_fell"].bound for name in ("psnr", "ssim")}
    assert {**{k: -v for k, v in fell.items()}, "lpips": states["golden_lpips_rose"].bound} == FALLS
    assert {"psnr": -states["golden_below_bicubic"].bound, "flicker": states["golden_flicker_rose"].bound} == FLOORS
