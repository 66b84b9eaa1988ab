"""What commands say beside their results: on standard error, so that results can be piped."""

import sys
from collections.abc import Iterable


def complain(command: str, problems: Iterable[str]) -> None:
    """Says what went wrong in a command that went on."""
    for problem in problems:
        print(f"srlab {command}: {problem}", file=sys.stderr)


def caution(sentences: Iterable[str]) -> None:
    """Says what somebody should know who uses the result."""
    for sentence in sentences:
        print(f"caution: {sentence}", file=sys.stderr)
