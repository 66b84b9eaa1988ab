"""The one quoting of overrides; it lies in the lowest room, since every storey tells commands that can be run."""

from sr_lab.base.words import counted, line, setting, word

__all__ = ["counted", "line", "setting", "word"]
