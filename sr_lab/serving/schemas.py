"""What OpenAPI says of the routes that take or give images, whose bodies are no JSON."""

from typing import Any

from sr_lab.inference.prepared import COLOURS
from sr_lab.serving.pictures import ANSWERS
from sr_lab.serving.problems import MEDIA

RESTORE_PARAMETERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model", {"type": "string", "description": "Name of a model of /v1/models; left out: the server's choice."}),
    ("tier", {"type": "string", "enum": ["auto", "best", "fast"], "default": "auto"}),
    ("scale", {"type": "integer", "minimum": 1, "maximum": 1000000, "description": "Enlargement factor."}),
    ("deadline", {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000, "description": "Seconds."}),
    (
        "background",
        {"type": "string", "enum": list(COLOURS), "description": "Under transparent pixels, of image/jpeg and bmp."},
    ),
    (
        "strip",
        {"type": "boolean", "default": False, "description": "Leaves EXIF, XMP, IPTC and texts out of the answer."},
    ),
    (
        "consistency",
        {"type": "string", "enum": ["exact"], "description": "The image, shrunk again by bicubic, is its input."},
    ),
    ("quality", {"type": "integer", "minimum": 1, "maximum": 100, "default": 95, "description": "Of JPEG and AVIF."}),
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
}
_PARAMETERS = [
    {"name": name, "in": "query", "required": False, "schema": schema} for name, schema in RESTORE_PARAMETERS
]
_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": _BINARY,
        "image/*": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {
                    "image": {"type": "string", "format": "binary"},
                    **dict(RESTORE_PARAMETERS),
                },
            }
        },
    },
}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): {"description": "Refused.", "content": {MEDIA: {"schema": _PROBLEM}}} for status in statuses}


_REFUSED = _refusals(400, 401, 403, 404, 406, 408, 413, 415, 422, 429, 503)
RESTORE = {
    "parameters": _PARAMETERS,
    "requestBody": _BODY,
    "responses": {
        "200": {
            "description": "The restored image.",
            "headers": {
                name: {"schema": {"type": "string"}}
                for name in ("X-Request-ID", "X-Model", "X-Model-Version", "X-Tier", "X-Seconds", "X-LR-Consistency")
            },
            "content": {form.media: _BINARY for form in ANSWERS.values()},
        },
        **_REFUSED,
    },
}
RESTORE_TILES: dict[str, Any] = {
    **RESTORE,
    "responses": {
        "200": {
            "description": "Tiles as they are computed, each with X-Tile (left, top, width, height) and X-Size, and "
            "last what /v1/restore answers.",
            "content": {"multipart/mixed": _BINARY},
        },
        **_REFUSED,
    },
}
JOB = {
    "parameters": _PARAMETERS,
    "requestBody": _BODY,
    "responses": {
        "202": {
            "description": "The job is taken.",
            "content": {"application/json": {"schema": {"type": "object", "required": ["id", "state"]}}},
        },
        **_refusals(400, 401, 403, 406, 408, 413, 415, 422, 429, 503),
    },
}
_IMAGES = {"description": "The restored image.", "content": {form.media: _BINARY for form in ANSWERS.values()}}
_STATE = {"content": {"application/json": {"schema": {"type": "object"}}}}
_TEXT = {"schema": {"type": "string"}}
MODELS = {"responses": {"200": {"description": "The models."}, **_refusals(401, 403)}}
CARD = {
    "responses": {
        "200": {"description": "The card.", "content": {"text/markdown": _TEXT}},
        **_refusals(401, 403, 404, 422),
    }
}
HEALTH = {"responses": {"503": {"description": "The computing thread has ended.", **_STATE}}}
READY = {"responses": {"503": {"description": "Not ready, or ending.", **_STATE}}}
METRICS = {"responses": {"200": {"description": "Numbers.", "content": {"text/plain": _TEXT}}, **_refusals(401, 403)}}
JOB_STATE = {"responses": {"200": {"description": "The job's state.", **_STATE}, **_refusals(401, 403, 404, 422)}}
JOB_RESULT = {"responses": {"200": _IMAGES, **_refusals(401, 403, 404, 409, 422)}}
