"""The page at ``/``: drop a picture, see it before and after, read the model's warning.

Where the server has a bundle for browsers (``srlab export target=bundle web=``), the picture is restored at once on the
reader's own device, and the server's tiles take the place of those as they come.
"""

from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response

from sr_lab.base.page import embed, render
from sr_lab.serving.answering import Parts
from sr_lab.serving.edge import EdgeBundle
from sr_lab.serving.problems import Problem
from sr_lab.serving.service import Service

TEMPLATE, SCRIPT = (Path(__file__).with_name(name) for name in ("page.html.j2", "page.js"))
ISOLATED = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}
"""With these a browser lets WebAssembly have threads."""
POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'unsafe-inline'; "
    "script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; connect-src 'self'"
)


def page(service: Service, edge: EdgeBundle | None = None) -> str:
    """The page's text; it refers to nothing outside of the server."""
    models = [state.current for state in service.shelf.states if state.current is not None]
    facts = {
        "models": {model.name: {"scale": model.scale, "warning": model.warning} for model in models},
        "edge": None if edge is None else {"scale": edge.scale, "card": edge.card},
    }
    return render(TEMPLATE, models=models, main=service.main, fast=service.fast, facts=embed(facts))


def add_page(app: FastAPI, parts: Parts) -> None:
    """Adds the page, its script, and the files of the model for browsers."""

    @app.get("/", include_in_schema=False)
    async def index() -> HTMLResponse:
        headers = {"Content-Security-Policy": POLICY, **(ISOLATED if parts.edge is not None else {})}
        return HTMLResponse(page(parts.service, parts.edge), headers=headers)

    @app.get("/page.js", include_in_schema=False)
    async def script() -> Response:
        return FileResponse(SCRIPT, media_type="text/javascript", headers=ISOLATED)

    @app.get("/edge/{name:path}", include_in_schema=False)
    async def edge(name: str) -> Response:
        found = None if parts.edge is None else parts.edge.file(name)
        if found is None:
            raise Problem(404, f"there is no file {name[:60]}", kind="route")
        media = {".mjs": "text/javascript", ".js": "text/javascript", ".wasm": "application/wasm"}.get(found.suffix)
        return FileResponse(found, media_type=media, headers=ISOLATED)
