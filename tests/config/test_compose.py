"""A typo anywhere in the configuration is an error that names the key and the nearest valid one."""

import math
import shlex
from typing import Any

import pytest
from omegaconf import OmegaConf

from sr_lab.base.errors import ConfigError
from sr_lab.cli import commands
from sr_lab.config import compose as composing
from sr_lab.config.compose import build, compose
from sr_lab.config.kinds import kind_of, wrong_values
from sr_lab.config.targets import locate
from sr_lab.config.tree import config_dir, stamp
from sr_lab.config.words import setting


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("max_stepps=3", r"'max_stepps'.*'max_steps'"),
        ("+max_stepps=3", r"'max_stepps'.*'max_steps'"),
        ("optimizer.lrr=1", r"'optimizer.lrr'.*'optimizer.lr'"),
        ("+optimizer.lrr=1", r"'optimizer.lrr'.*'lr'"),
        ("+model.network.num_block=3", r"'model.network.num_block'.*'num_blocks'"),
        ("model/network=edsr_tinny", r"edsr_tinny'.*'edsr_tiny'"),
        ("modle/network=edsr_tiny", r"'modle/network'.*'model.network'"),
        ("losses.l11.weight=2", r"'losses.l11.weight'.*'losses.l1.weight'"),
        ("+trainer.max_step=3", r"'trainer.max_step'.*'max_steps'"),
        ("+losses.ssim.weight=2", r"'losses.ssim'"),
        ("model.network._target_=sr_lab.networks.edsr.EDRS", r"'EDRS'.*'EDSR'"),
        ("model.network._target_=sr_lab.networks.edrs.EDSR", r"'sr_lab.networks.edrs'.*'edsr'"),
        ("experiment=nothing", r"'(experiment/)?nothing'"),
        ("max_steps", r"'max_steps'"),
        ("max_steps=many", r"^max_steps=many: give a number$"),
    ],
)
def test_typo_is_named_with_the_nearest_key(override, said):
    with pytest.raises(ConfigError, match=said):
        compose("train", [override])


@pytest.mark.parametrize(
    ("command", "override", "prefix"),
    [
        ("train", "model.network.value_range=1.0", "+"),
        ("register", "tags.by=ann", "+"),
        ("promote", "policy.holdout.photos.degradation=bsrgan", "+degradation@"),
    ],
)
def test_a_key_that_may_be_added_says_how(command, override, prefix):
    required = {"train": [], "register": ["run=R", "name=N"], "promote": ["name=N"]}[command]
    with pytest.raises(ConfigError) as caught:
        compose(command, [*required, override])
    assert str(caught.value).endswith(f"to add it, write {prefix}{override}")
    compose(command, [*required, prefix + override])


@pytest.mark.parametrize("text", ["runs/a", "a b", "a (1), b=2", "it's", 'a"b', "\\'", "naïve", "null", "7", " "])
def test_a_setting_is_taken_as_it_is(text):
    assert compose("history", [setting("name", text)]).name == text
    assert setting("name", "runs/a") == "name=runs/a"


@pytest.mark.parametrize("text", ["photos (1)", "a=b", "a,b", "it's", "(x", "100%", "a: b", "[a", "x ${", "nan", "-1"])
def test_one_text_needs_no_quotes_of_its_own_whatever_it_holds(text):
    assert compose("history", [f"name={text}"]).name == text
    assert compose("evaluate", [f"restorer={text}", "benchmark=b", "scale=2", "report=r"]).restorer == text


def test_a_value_that_cannot_be_read_is_shown_in_the_quotes_it_needs():
    with pytest.raises(ConfigError, match="cannot read") as caught:
        compose("register", ["run=r", "name=n", "tags.by=photos (1)"])
    quoted = str(caught.value).rpartition(" as ")[2]
    assert (
        compose("register", ["run=r", "name=n", *(f"+{word}" for word in shlex.split(quoted))]).tags.by == "photos (1)"
    )


ODD: list[Any] = ["", None, math.nan, math.inf, 0, -1, 0.5, 1e30, True, "text", [], [1, 2], [None], {}, {"a": 1}]


@pytest.mark.parametrize("command", commands())
def test_every_key_of_every_command_has_a_kind_and_refuses_what_is_of_another(command):
    content = OmegaConf.load(config_dir() / f"{command}.yaml")
    entries = [str(key) for entry in content.pop("defaults", []) if OmegaConf.is_dict(entry) for key in entry]
    groups = {entry.partition("@")[2] or entry for entry in entries}
    known = OmegaConf.to_container(content, resolve=False)
    for key, default in known.items():
        if key in groups or isinstance(default, dict):
            continue
        kind = kind_of(command, key)
        assert kind or isinstance(default, bool | int | float), f"{command}.{key} stands in no table of kinds.py"
        passed = [value for value in ODD if not list(wrong_values(command, {**known, key: value}, known))]
        if kind == "text":
            assert not [value for value in passed if value == "" or isinstance(value, list | dict)], f"{command}.{key}"
            assert None not in passed or default in (None, "???"), f"{command}.{key}"
        elif kind == "texts":
            assert passed in ([None, "text"], ["text"]), f"{command}.{key}: {passed}"
        elif kind in ("list", "mapping"):
            kinds = (list if kind == "list" else dict, type(None if default == "???" else default))
            assert all(isinstance(value, kinds) for value in passed), f"{command}.{key}: {passed}"
        elif isinstance(default, bool):
            assert passed == [0, True], f"{command}.{key}: {passed}"
        elif kind != "word":
            number = [value for value in passed if isinstance(value, int | float) and not isinstance(value, bool)]
            assert [value for value in passed if value is not None] == number, f"{command}.{key}: {passed}"


@pytest.mark.parametrize(
    ("command", "override", "said"),
    [
        ("train", "resume=off", "resume=off: give true or false"),
        ("train", "data.crop=large", "data.crop=large: give a number"),
        ("train", "max_steps=1e5", "max_steps=100000.0: give a whole number, as 100000"),
        ("train", "seed=nan", "seed=nan: give a number"),
        ("train", "optimizer.lr=nan", "optimizer.lr=nan: give a number"),
        ("train", "scale=true", "scale=true: give a number"),
        ("train", "max_seconds=soon", "max_seconds=soon: give a number"),
        ("train", "val_every=null", "val_every=null: give a number"),
        ("train", "data.batch_size=1.5", "data.batch_size=1.5: give a whole number"),
        ("train", "data.num_workers=inf", "data.num_workers=inf: give a whole number"),
        ("train", "model.network.num_features=null", "model.network.num_features=null: give a number"),
        ("train", "model.ema_decay=much", "model.ema_decay=much: give a number"),
        ("train", "model.channels_last=3", "model.channels_last=3: give true or false"),
        ("evaluate", "benchmark=[a]", r"benchmark=\[a\]: give one"),
        ("evaluate", "benchmark=''", "benchmark=: it is empty"),
        ("evaluate", "report={a: 1}", "report=.*: give one"),
        ("evaluate", "missing=maybe", "missing=maybe: give error or skip"),
        ("sync", "directory=5", None),
        ("train", "degradation.scale=wide", "degradation.scale=wide: give a number"),
        ("evaluate", "num_pictures=-1", "num_pictures=-1: give a number of at least 0"),
        ("serve", "port=99999", "port=99999: give a number from 0 to 65535"),
        ("serve", "batch_size=0", "batch_size=0: give a number of at least 1"),
        ("serve", "tile=0", "tile=0: give a number of at least 1"),
        ("serve", "poll=0", "poll=0: give a number of at least 0.01"),
        ("gallery", "num_images=0", "num_images=0: give a number of at least 1"),
        ("study", "margin=0.9", "margin=0.9: give a number from 0 to 0.5"),
        ("export", "num_runs=0", "num_runs=0: give a number of at least 1"),
        ("train", "data.num_workers=-1", "data.num_workers=-1: give a number of at least 0"),
        ("train", "seed=-1", None),
        ("evaluate", "scale=true", "scale=true: give a number"),
        ("evaluate", "num_steps=4.5", "num_steps=4.5: give a whole number"),
        ("promote", "version=two", "version=two: give a number"),
        ("promote", "policy.checks.psnr.min_scenes=0.5", "policy.checks.psnr.min_scenes=0.5: give a whole number"),
        ("drift", "num_images=many", "num_images=many: give a number"),
        ("history", "name=no", None),
        ("train", "model.compile_network=max-autotune", None),
        ("train", "trainer.devices=auto", None),
        ("train", "max_steps=${val_every}", None),
    ],
)
def test_a_word_is_no_number_and_no_switch(command, override, said):
    if said is None:
        compose(command, [override])
    else:
        with pytest.raises(ConfigError, match=said):
            compose(command, [override])


def test_misspelt_key_of_an_experiment_file(tmp_path, monkeypatch):
    root = tmp_path / "conf"
    import shutil

    shutil.copytree(config_dir(), root)
    (root / "experiment" / "typo.yaml").write_text("# @package _global_\nmax_stepps: 3\n")
    monkeypatch.setattr(composing, "config_dir", lambda: root)
    with pytest.raises(ConfigError, match=r"'max_stepps'.*'max_steps'"):
        compose("train", ["experiment=typo"])


def test_named_components_may_be_added_and_removed():
    added = compose("train", ["+losses.again._target_=sr_lab.losses.pixel.L2"])
    assert set(added.losses) == {"l1", "again"}
    both = compose("train", ["losses=[l1,frequency]", "losses.frequency.weight=0.2"])
    assert list(both.losses) == ["l1", "frequency"]
    assert both.losses.frequency.weight == 0.2


def test_a_group_left_empty_is_named():
    with pytest.raises(ConfigError, match=r"^losses is empty: give losses=... \(srlab train --help\)$"):
        compose("train", ["losses=[]"])
    with pytest.raises(ConfigError, match=r"^metrics is empty"):
        compose("evaluate", ["restorer=bicubic", "metrics=[]"])


def test_settings_of_an_experiment_for_a_component_that_is_not_chosen_are_named_with_the_remedy():
    words = ["experiment=esrgan_debug_x4_t91_bsds400", "losses=[l1,ldl]"]
    with pytest.raises(ConfigError) as caught:
        compose("train", words)
    assert "unknown key 'losses.perceptual'. Keys here: l1, ldl." in str(caught.value)
    assert "'losses.ldl'" not in str(caught.value), "it is chosen"
    assert list(compose("train", [*words, "~losses.perceptual"]).losses) == ["l1", "ldl"]
    with pytest.raises(ConfigError, match=r"unknown key 'losses.l1'.*~losses\.l1"):
        compose("train", [words[0], "losses=[perceptual_squeeze]"])


def test_valid_configuration_passes_unchanged():
    config = compose("train", ["max_steps=7", "optimizer.lr=0.5", "+model.network.value_range=1.0"])
    assert (config.max_steps, config.optimizer.lr, config.model.network.value_range) == (7, 0.5, 1.0)


def test_locate_finds_what_exists():
    from sr_lab.networks.edsr import EDSR

    assert locate("sr_lab.networks.edsr.EDSR") is EDSR


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "degradation.ops.second.ops.blur.sigma=[3,1]",
            r"^degradation.ops.second.ops.blur: sigma=\[3, 1\]: must",
        ),
        ("degradation.ops.first.ops.resize.factor=[0.001,1]", "^degradation: ops.first.ops.resize could shrink"),
        ("degradation.ops.first.ops.blur.sigma=wide", "^degradation.ops.first.ops.blur: "),
    ],
)
def test_a_value_that_is_refused_is_named_with_its_place(override, said):
    config = compose("degrade", ["degradation=realesrgan_sharp", "output=out", override])
    with pytest.raises(ValueError, match=said):
        build(config.degradation)


def test_what_has_to_be_given_is_named_at_once_and_null_is_none_of_it():
    with pytest.raises(ConfigError, match=r"restorer, benchmark, scale, report have no value: give restorer=\.\.\."):
        compose("evaluate", [])
    with pytest.raises(ConfigError, match="name has no value"):
        compose("register", ["run=x", "name=null"])


@pytest.mark.parametrize("text", ["1e3", "7", "true", "nan"])
def test_a_name_is_text_whatever_it_looks_like(text):
    assert compose("history", [f"name={text}"]).name == text


def test_a_choice_that_is_null_says_how_it_is_left_out():
    with pytest.raises(ConfigError, match="leave it out by ~embedding"):
        compose("profile", ["input=a", "output=b", "embedding=null"])


def test_a_link_that_leads_back_and_a_closed_folder_in_an_own_tree_hold_nothing_up(tmp_path, monkeypatch):
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "own.yaml").write_text("own: 1")
    (tmp_path / "metrics" / "back").symlink_to(tmp_path)
    (tmp_path / "closed").mkdir(mode=0)
    monkeypatch.setenv("SRLAB_CONF", str(tmp_path))
    ours = [file for file, _ in stamp() if file.startswith(str(tmp_path))]
    assert ours == [str(tmp_path / "metrics" / "own.yaml")]
    (tmp_path / "closed").chmod(0o700)
