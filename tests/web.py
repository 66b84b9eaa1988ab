"""Where the tests find onnxruntime-web, which no Python package brings."""

import os
from pathlib import Path

from sr_lab.artefacts.export.bundle import find_web


def web_folder():
    """Where onnxruntime-web is: SRLAB_WEB, or where CI installs it."""
    places = [Path(os.environ["SRLAB_WEB"])] if os.environ.get("SRLAB_WEB") else [Path(__file__).parents[1] / ".web"]
    return next((place for place in places if find_web(place)), None)
