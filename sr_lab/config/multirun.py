"""``srlab COMMAND -m a=1,2``: one configuration for every combination of what is separated by commas."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import named_like_file
from sr_lab.config.compose import compose
from sr_lab.config.tree import config_dir

_OF_RUNS = ("train", "sweep")
"""Commands whose ``name`` is that of a run, and not of a registered model."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One combination.

    Attributes:
        command: The command that it is for.
        overrides: All its settings.
        swept: Those of them that the combinations differ in.
    """

    command: str
    overrides: tuple[str, ...]
    swept: tuple[str, ...]

    @property
    def label(self) -> str:
        """What it differs in, as text."""
        return ",".join(self.swept)

    def compose(self) -> DictConfig:
        """The checked configuration; each job writes where no other one does.

        What is swept becomes part of a run's name, and so of its folder; of a registered model's it does not. Where
        ``output`` or ``report`` is the same for all jobs, it becomes a folder in there, or before a file's name.

        Raises:
            ConfigError: If a key, option, file or argument does not exist.
        """
        config = compose(self.command, list(self.overrides))
        if not self.swept:
            return config
        if self.command in _OF_RUNS:
            config.name = "/".join([str(config.name), self.label])
        keys = {text.partition("=")[0].lstrip("+") for text in self.swept}
        for key in {"output", "report"} & config.keys() - keys:
            if not OmegaConf.is_interpolation(config, key) and config[key] not in (None, "-"):
                config[key] = self._own(str(config[key]))
        return config

    def _own(self, place: str) -> str:
        label = self.label.replace("/", "_")
        if not named_like_file(place):
            return f"{place.rstrip('/')}/{label}"
        folder, slash, name = place.rpartition("/")
        return f"{folder}{slash}{label}/{name}"


def jobs(command: str, overrides: Sequence[str]) -> list[Job]:
    """Every combination, the last setting changing fastest.

    Args:
        command: The command that they are for.
        overrides: Settings as the command line has them: ``a=1,2``, ``a=range(3)``, ``a=choice(x,y)``, ``a=glob(*)``.

    Raises:
        ConfigError: If one cannot be read, or stands for infinitely many values.
    """
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        columns = [list(_values(parser, override)) for override in overrides]
    return [
        Job(
            command=command,
            overrides=combination,
            swept=tuple(text for text, column in zip(combination, columns, strict=True) if len(column) > 1),
        )
        for combination in itertools.product(*columns)
    ]


def _values(parser: OverridesParser, text: str) -> Iterator[str]:
    """The settings that one of the command line stands for; itself where it cannot be read, which is told later."""
    try:
        (override,) = parser.parse_overrides([text])
    except HydraException:
        yield text
        return
    if not override.is_sweep_override():
        yield text
        return
    try:
        if not override.is_discrete_sweep():
            raise ConfigError(f"{text}: an interval has infinitely many values; srlab sweep searches those")
        key = override.get_key_element()
        values = [f"{key}={value}" for value in override.sweep_string_iterator()]
    except HydraException as error:
        raise ConfigError(f"{text}: {str(error).splitlines()[0]}") from error
    if not values:
        raise ConfigError(f"{text}: there is no such value")
    yield from values
