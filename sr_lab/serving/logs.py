"""The server's log: text for people, or a line of JSON an event, with the request's id; no pixels, no client's data."""

import contextvars
import json
import logging
import sys
import time
from typing import Literal

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="")
"""The request that is being worked on."""
ANSWERS = logging.getLogger("sr_lab.answers")
"""Told each answer, with its fields; only heard in JSON."""
FIELDS = ("route", "status", "seconds", "model", "tier")
Form = Literal["text", "json"]


class JsonLines(logging.Formatter):
    """One line of JSON a record: time, level, logger, message, request, and the fields that are known.

    Only these are written, whatever else a record carries; of an exception its kind and place, and not its text, which
    may hold what a client sent.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage(),
        }  # fmt: skip
        if request := getattr(record, "request", "") or REQUEST.get():
            told["request"] = request
        told |= {name: getattr(record, name) for name in FIELDS if hasattr(record, name)}
        if record.exc_info and record.exc_info[0] is not None:
            frames, trace = [], record.exc_info[2]
            while trace is not None:
                frames.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
                trace = trace.tb_next
            told["error"] = {"kind": record.exc_info[0].__name__, "frames": frames[-8:]}
        return json.dumps(told, ensure_ascii=False)


def set_up(form: Form) -> None:
    """Sends the log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if form == "json" else plain)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    ANSWERS.setLevel(logging.INFO if form == "json" else logging.WARNING)
