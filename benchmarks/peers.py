"""Other people's code that the benchmarks are measured against; none of it is copied into this project.

BasicSR 1.4.2 cannot be imported as a package beside a recent torchvision (its ``__init__`` reaches for a module that
was removed), so single modules are loaded from an unpacked source archive: packages become empty namespaces, and only
the files asked for run. The archive is looked for in ``$SR_LAB_PEERS`` (default ``.peers`` in the project's root, which
git ignores), then among the installed packages.
"""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

PEERS = Path(os.environ.get("SR_LAB_PEERS", Path(__file__).resolve().parents[1] / ".peers"))
BASICSR_COMMAND = (
    "pip download --no-deps --no-binary :all: --no-build-isolation --dest .peers basicsr==1.4.2"
    " && tar xzf .peers/basicsr-1.4.2.tar.gz -C .peers"
)


def _basicsr_root() -> Path:
    """Folder that holds BasicSR's modules; ends the program with the command to get it where there is none."""
    for folder in [*sorted(PEERS.glob("basicsr*/basicsr")), PEERS / "basicsr"]:
        if (folder / "utils" / "matlab_functions.py").is_file():
            return folder
    spec = importlib.util.find_spec("basicsr")
    if spec is not None and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    raise SystemExit(
        f"BasicSR is not in {PEERS}. From the project's root, in its environment, run:\n  {BASICSR_COMMAND}"
    )


def basicsr(module: str) -> ModuleType:
    """Load one module of BasicSR without running the package's own ``__init__`` files.

    Args:
        module: dotted name below ``basicsr``, e.g. ``utils.matlab_functions`` or ``metrics.psnr_ssim``.
    """
    root = _basicsr_root()
    for name, folder in (("basicsr", root), *((f"basicsr.{sub}", root / sub) for sub in ("utils", "metrics", "data"))):
        if name not in sys.modules:
            namespace = ModuleType(name)
            namespace.__path__ = [str(folder)]
            sys.modules[name] = namespace
    utils = sys.modules["basicsr.utils"]
    if not hasattr(utils, "bgr2ycbcr"):  # the modules of basicsr.metrics import this name from the package
        utils.bgr2ycbcr = importlib.import_module("basicsr.utils.color_util").bgr2ycbcr
    return importlib.import_module(f"basicsr.{module}")
