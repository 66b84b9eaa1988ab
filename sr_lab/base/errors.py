"""The errors that a caller may want to tell apart; each names the offender and the remedy."""


class SRLabError(Exception):
    """What every error class of sr_lab is; a wrong argument is a plain ``ValueError`` as everywhere in Python."""


class ConfigError(SRLabError, ValueError):
    """The configuration names something that does not exist."""
