"""The page at ``/``: drop a picture, see it before and after, read the model's warning."""

from pathlib import Path

from sr_lab.base.page import render
from sr_lab.serving.service import Service

TEMPLATE = Path(__file__).with_name("page.html.j2")


def page(service: Service) -> str:
    """The page's text; it refers to nothing outside of the server."""
    models = [state.current for state in service.shelf.states if state.current is not None]
    return render(TEMPLATE, models=models, main=service.main, fast=service.fast)
