"""HTML pages that stand alone: one environment of templates, one stylesheet with a dark half, pictures inside."""

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("page.css")


def render(template: Path, *, filters: Mapping[str, Callable[..., Any]] | None = None, **values: Any) -> str:
    """A page from its template; whatever is put in is escaped, and a value that is missing is an error.

    Args:
        template: The template's file; ``{{ style }}`` in it is the house's stylesheet.
        filters: Further filters beside ``data_url``.
        **values: What the template shows.

    Returns:
        The page's text, which refers to nothing outside of itself.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here, because it takes a while
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"data_url": data_url, **(filters or {})}
    environment.globals["style"] = Markup(STYLE.read_text(encoding="utf-8"))
    return environment.get_template(template.name).render(**values)


def embed(content: object) -> Any:
    """JSON for a ``<script type="application/json">`` of a template: nothing in it ends the element."""
    from markupsafe import Markup

    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def data_url(picture: Any, kind: str = "PNG") -> str:
    """A picture as an address that holds it.

    Args:
        picture: (H, W, 3) or (H, W) array of uint8, or the bytes of an encoded picture of that kind.
        kind: ``PNG``, or ``JPEG`` where size matters more than the last level.
    """
    content = picture
    if not isinstance(picture, bytes):
        from PIL import Image

        stream = io.BytesIO()
        options: dict[str, Any] = {"optimize": True} if kind == "PNG" else {"quality": 80}
        Image.fromarray(picture).save(stream, kind, **options)
        content = stream.getvalue()
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content).decode()}"
