"""The bundle: a graph with all that is needed to restore by it, and no PyTorch."""

import shutil
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"
SCRIPT = "restore.py"
PAGE = ("index.html", "page.js", "worker.js")
WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of onnxruntime-web."""
INSTALL = "npm install onnxruntime-web"


def write_runtime(folder: Path) -> None:
    """The one file that restores, from the command line, as a function, or as a small server."""
    shutil.copyfile(RUNTIME / SCRIPT, folder / SCRIPT)


def write_page(folder: Path, web: Path) -> None:
    """The page that restores in a browser, with onnxruntime-web's files.

    Args:
        folder: of the bundle.
        web: where ``npm install onnxruntime-web`` was run, or a folder of its files.

    Raises:
        ValueError: if the files are not there.
    """
    found = find_web(web)
    if found is None:
        raise ValueError(f"web={web}: {WEB[0]} of onnxruntime-web is not below it: run  {INSTALL}  there")
    page = folder / "page"
    (page / "ort").mkdir(parents=True)
    for name in PAGE:
        shutil.copyfile(RUNTIME / name, page / name)
    for name in WEB:
        shutil.copyfile(found / name, page / "ort" / name)


def find_web(web: Path) -> Path | None:
    """The folder of onnxruntime-web's files in or below ``web``; None where they are not all there."""
    for folder in (web, web / "node_modules/onnxruntime-web/dist", web / "onnxruntime-web/dist", web / "dist"):
        if all((folder / name).is_file() for name in WEB):
            return folder
    return None
