"""Records of requests, kept pictures, and a request that is done again."""

import numpy as np
import pytest
from serving.conftest import decoded, encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.base.errors import ConfigError
from sr_lab.commands import incident
from sr_lab.config.compose import compose
from sr_lab.images.files import read_image
from sr_lab.serving.app import make_app
from sr_lab.serving.records import KEY, Records, RecordSettings
from sr_lab.serving.sources import RestorerSource

DAY = 86400.0


@pytest.fixture
def key(monkeypatch):
    fernet = pytest.importorskip("cryptography.fernet")
    monkeypatch.setenv(KEY, fernet.Fernet.generate_key().decode())
    return fernet.Fernet


def serve(folder, ids, image, *, low=None, **settings):
    """Requests that a service with records has answered, and the restored pictures."""
    import torch

    records = Records(RecordSettings(folder=str(folder), **settings))
    parts, _ = make(records=records)
    place = parts.service.shelf._places["photos"]
    place.source = RestorerSource(
        name="photos", restorer="bicubic", scale=2, tracking_uri="", device=torch.device("cpu"), tile=32
    )
    parts.service.shelf.follow()
    answers = []
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        for id in ids:
            answers.append(client.post("/v1/restore", content=encoded(image), headers={"X-Request-ID": id}))
    assert [answer.status_code for answer in answers] == [200] * len(ids)
    return records, [decoded(answer.content) for answer in answers]


def run(folder, *settings) -> int:
    return incident.run(compose("incident", [f"folder={folder}", *settings]))


def test_a_request_is_done_again_and_is_the_same(tmp_path, capsys):
    image = picture(70, 50)
    records, (restored,) = serve(tmp_path / "records", ["one"], image)
    kept = records.find("one")
    assert kept["num_tiles"] > 1
    assert not {"client", "key", "address", "pixels_data"} & set(kept)
    (tmp_path / "sent.png").write_bytes(encoded(image))
    (tmp_path / "other.png").write_bytes(encoded(picture(70, 50, seed=3)))
    output = tmp_path / "again.png"
    assert run(tmp_path / "records", "request=one", f"input={tmp_path}/sent.png", f"output={output}") == 0
    assert "same: the restored pixels are the same" in capsys.readouterr().out
    np.testing.assert_array_equal(read_image(output), restored)
    with pytest.raises(ValueError, match="this is not the file of request one"):
        run(tmp_path / "records", "request=one", f"input={tmp_path}/other.png")
    assert run(tmp_path / "records", "request=one") == 4
    assert "no picture is kept: give input=FILE" in capsys.readouterr().out


def test_a_result_that_is_another_is_told(tmp_path, capsys):
    records, _ = serve(tmp_path / "records", ["one"], picture())
    records.keep("one", {**records.find("one"), "output_pixels": "0" * 64, "software": "sr_lab 0.0"})
    (tmp_path / "sent.png").write_bytes(encoded(picture()))
    assert run(tmp_path / "records", "request=one", f"input={tmp_path}/sent.png") == 3
    told = capsys.readouterr().out
    assert "differs: the restored pixels are others; the software is another too: sr_lab 0.0 then" in told


def test_pictures_are_kept_encrypted_only_where_asked_and_each_look_is_written_down(tmp_path, key, capsys, monkeypatch):
    image = picture()
    records, _ = serve(tmp_path / "records", ["one", "two"], image, share=1.0)
    files = list((tmp_path / "records" / "pictures").iterdir())
    assert len(files) == 2
    assert all(b"\x89PNG" not in file.read_bytes() for file in files)  # "PNG" alone is in a ciphertext now and then
    assert run(tmp_path / "records", "request=one") == 0  # from the kept picture
    output = tmp_path / "kept.png"
    assert run(tmp_path / "records", "action=picture", "request=one", f"output={output}") == 0
    np.testing.assert_array_equal(read_image(output), image)
    assert [action for _, _, action, id in records.accesses if id == "one"] == ["keep", "read", "read"]
    assert run(tmp_path / "records", "action=delete", "request=one") == 0
    assert run(tmp_path / "records", "action=delete", "request=one") == 1
    assert len(list((tmp_path / "records" / "pictures").iterdir())) == 1
    assert records.accesses[-1][2:] == ("delete", "one")
    with pytest.raises(ValueError, match="has no record of it"):
        run(tmp_path / "records", "request=one")
    monkeypatch.setenv(KEY, key.generate_key().decode())
    with pytest.raises(ValueError, match="not the key"):
        run(tmp_path / "records", "request=two")
    capsys.readouterr()
    assert run(tmp_path / "records", "action=accesses") == 0
    assert "delete  one" in capsys.readouterr().out


def test_a_masked_picture_hides_its_part_and_cannot_be_done_again(tmp_path, key, capsys):
    image = picture()
    records, _ = serve(tmp_path / "records", ["one"], image, share=1.0, mask={"top": [0, 0, 0.5, 1]})
    output = tmp_path / "kept.png"
    assert run(tmp_path / "records", "action=picture", "request=one", f"output={output}") == 0
    kept = read_image(output)
    assert len(np.unique(kept[:20].reshape(-1, 3), axis=0)) == 1
    np.testing.assert_array_equal(kept[20:], image[20:])
    assert records.find("one")["masked"] == ["top"]
    assert run(tmp_path / "records", "request=one") == 4
    assert "the kept picture is masked: give input=FILE" in capsys.readouterr().out


def test_what_is_too_old_goes(tmp_path, key):
    now = [1e9]
    records = Records(RecordSettings(folder=str(tmp_path), keep_days=2), time=lambda: now[0])
    records.keep("old", {}, picture())
    now[0] += 1.5 * DAY
    records.keep("new", {}, picture())
    numbers = {family.name: family.samples[0].value for family in records.collect()}
    assert (numbers["srlab_kept_pictures"], numbers["srlab_kept_expired"]) == (2, 0)
    now[0] += DAY
    assert {f.name: f.samples[0].value for f in records.collect()}["srlab_kept_expired"] == 1  # until it is cleaned
    assert records.clean() == 1
    assert [action for _, _, action, id in records.accesses if id == "old"] == ["keep", "expire"]
    assert {f.name: f.samples[0].value for f in records.collect()}["srlab_kept_pictures"] == 1


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"share": 2.0}, "share=2.0 must lie between 0 and 1"),
        ({"keep_days": 0.0}, "keep_days=0.0 must be above 0"),
        ({"mask": {"a": [0, 0, 2, 1]}}, "mask.a="),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        RecordSettings(**settings)


def test_without_a_key_no_picture_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    with pytest.raises(ValueError, match=f"{KEY} must hold a key"):
        Records(RecordSettings(folder=str(tmp_path), share=0.1))
    monkeypatch.setenv(KEY, "short")
    pytest.importorskip("cryptography")
    with pytest.raises(ValueError, match="is no key of Fernet's"):
        Records(RecordSettings(folder=str(tmp_path), share=0.1))
    with pytest.raises(ConfigError, match="there are no records"):
        run(tmp_path / "none", "request=one")
