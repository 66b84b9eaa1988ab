"""The one quoting of overrides."""

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException


def setting(key: str, value: object) -> str:
    """The override that gives ``key`` this text as it is: in quotes where Hydra would read something else (a comma)."""
    text = str(value)
    try:
        plainly = OverridesParser.create().parse_override(f"{key}={text}").value() == text
    except HydraException:
        plainly = False
    return f"{key}={text}" if plainly else f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"
