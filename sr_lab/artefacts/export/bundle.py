"""The bundle: a graph with all that is needed to restore by it, and no PyTorch."""

import ast
import shutil
from pathlib import Path

RUNTIME = Path(__file__).parent / "runtime"
IMAGES = Path(__file__).parents[2] / "images"
SCRIPT, PLAIN = "restore.py", ("plain", "consistent")
PAGE = ("index.html", "page.js", "worker.js")
WEB = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
"""What the page needs of onnxruntime-web."""
INSTALL = "npm install onnxruntime-web"


def write_runtime(folder: Path) -> None:
    """The one file that restores, from the command line, as a function, or as a small server."""
    (folder / SCRIPT).write_text(runtime(), encoding="utf-8")


def runtime() -> str:
    """The text of that file: what it imports of sr_lab, modules that need numpy alone, stands in it."""
    text = (RUNTIME / SCRIPT).read_text(encoding="utf-8")
    for name in PLAIN:
        source = (IMAGES / f"{name}.py").read_text(encoding="utf-8")
        first = ast.parse(source).body[1]  # what follows the docstring
        body = "\n".join(source.splitlines()[first.lineno - 1 :])
        line = next(line for line in text.splitlines() if line.startswith(f"from sr_lab.images.{name} import "))
        text = text.replace(f"{line}\n", f"{body}\n")
    return text


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
