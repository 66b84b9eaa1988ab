"""What MLflow and its stores answer when they fail, as one sentence that a user can act on."""

import html
import re
import shutil
import sqlite3
import sys
from pathlib import Path

from sr_lab.base.databases import locked, sqlite_path, without_password
from sr_lab.base.errors import SRLabError

LONGEST = 400
_PAGE = re.compile(r"<(?:!doctype|html|head|body)\b", re.IGNORECASE)


def sentence(error: BaseException, uri: str) -> str:
    """The reason of a failure: one line, no page of HTML, no traceback, not cut within a word, no password.

    Args:
        error: What was raised.
        uri: The resolved store that was asked.
    """
    if isinstance(error, SRLabError):
        return without_password(str(error))
    text = str(getattr(error, "message", "") or error) or type(error).__name__
    path = sqlite_path(uri)
    if path is not None and ("database is locked" in text or "database table is locked" in text):
        return locked(path)
    if path is not None and "readonly database" in text:
        return f"{path} may not be written by this user: copy the project, or ask its owner"
    if isinstance(error, ImportError) or "No module named" in text:
        return f"its driver is not installed ({without_password(text)})"
    if found := re.search(r"downloading one or more artifacts from ([^\s]+?):?\s", text + " "):
        return f"files could not be fetched from {found.group(1)}: {_last_error(text)}"
    if _PAGE.search(text):
        return _of_page(text, uri)
    if sql := re.search(r"\((?:[\w.]+\.)?(?:\w*Error|\w*Exception)\) ([^\n]+)", text):
        text = sql.group(1)
    return shortened(without_password(text))


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text on one line, cut between words where it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[:longest].rsplit(' ', 1)[0]} ..."


def mlflow_tool() -> str:
    """How MLflow's command line is called from here."""
    tool = Path(sys.executable).with_name("mlflow")
    if shutil.which("mlflow") is not None or not tool.exists():
        return "mlflow"
    return str(tool.relative_to(Path.cwd()) if tool.is_relative_to(Path.cwd()) else tool)


def _last_error(text: str) -> str:
    """The last error of a listing of tracebacks."""
    errors = re.findall(r"^\s*((?:[\w.]*Error|[\w.]*Exception)\b.*)$", text, re.MULTILINE)
    if errors:
        return shortened(re.sub(r"^(?:\w+\.)+(?=\w)", "", errors[-1]))
    lines = [line for line in text.splitlines()[1:] if line.strip() and not line.startswith("#")]
    return shortened(lines[-1]) if lines else "no reason was given"


def _of_page(text: str, uri: str) -> str:
    """What a server says that answers with a page for people: most often the address is not MLflow's."""
    code = re.search(r"(?:error code|status code|code)\s*:?\s*(\d{3})", text)
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL)
    named = f" ({shortened(html.unescape(title.group(1)), 80)})" if title else ""
    return (
        f"it answers with a page{named}{f', code {code.group(1)}' if code else ''}: is this the address of an MLflow "
        f"server, with its prefix? It has to be what stands before /api/2.0/mlflow: {without_password(uri)}"
    )


def is_of_database(error: BaseException) -> bool:
    """Whether a database, its driver or its uri failed below MLflow, which lets such errors through."""
    if isinstance(error, sqlite3.Error | ImportError):
        return True
    return type(error).__module__.split(".")[0] in ("sqlalchemy", "alembic", "psycopg2", "requests", "urllib3")
