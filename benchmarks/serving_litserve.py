"""The work of benchmarks/serving_others.py as LitServe has it: a class that its worker processes import."""

import litserve
from fastapi import Request, Response
from serving_others import Work


class Api(litserve.LitAPI):
    """A PNG in, a PNG out."""

    def setup(self, device: str) -> None:
        """Loads the model."""
        self.work = Work()

    def decode_request(self, request: Request) -> bytes:
        """The file of the form."""
        return request["image"].file.read()

    def predict(self, data: bytes) -> bytes:
        """The work."""
        return self.work(data)

    def encode_response(self, output: bytes) -> Response:
        """The file."""
        return Response(output, media_type="image/png")
