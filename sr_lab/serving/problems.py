"""Answers to requests that are refused, in the form of RFC 9457 (problem+json)."""

from collections.abc import Mapping

MEDIA = "application/problem+json"
TITLES = {
    400: "Bad request",
    401: "No valid API key",
    403: "Not allowed",
    404: "Not found",
    406: "No such format",
    408: "The request did not come in time",
    409: "Conflict",
    411: "No length",
    413: "Too large",
    415: "Not an image that can be read",
    422: "Cannot be restored",
    429: "Too much at once",
    500: "The server failed",
    503: "Not ready",
}


class Problem(Exception):
    """A request that is refused.

    Args:
        status: HTTP status.
        detail: What is wrong and what helps, as a sentence.
        kind: A word for programs; the end of the problem's type.
        headers: Further headers of the answer.
        **more: Further members of the answer.
    """

    def __init__(
        self, status: int, detail: str, *, kind: str, headers: Mapping[str, str] | None = None, **more: object
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.kind = status, detail, kind
        self.headers, self.more = dict(headers or {}), more

    def content(self, request_id: str) -> dict[str, object]:
        """The body of the answer."""
        return {
            "type": f"urn:srlab:problem:{self.kind}",
            "title": TITLES.get(self.status, "Refused"),
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:srlab:request:{request_id}",
            **self.more,
        }
