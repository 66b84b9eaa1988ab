"""A request done again from its record: on the same way, by the same model; and whether the image is the same."""

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any, Literal

import torch

from sr_lab.serving.asking import Ask
from sr_lab.serving.limits import Limits
from sr_lab.serving.pictures import decode
from sr_lab.serving.records import Records, digest, software
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf
from sr_lab.serving.sources import RestorerSource
from sr_lab.workflows.load import choose_device

__all__ = ["Incident", "reproduce"]


@dataclass(frozen=True, kw_only=True)
class Incident:
    """A request that was done again, or could not be.

    Attributes:
        record: What is known of it.
        outcome: ``same``: the pixels are equal; ``differs``; ``unknown``: it could not be done again.
        text: Why, as a sentence.
        data: The restored file of now; None where there is none.
    """

    record: dict[str, Any]
    outcome: Literal["same", "differs", "unknown"]
    text: str
    data: bytes | None = None


def reproduce(
    records: Records, id: str, *, data: bytes | None = None, tracking_uri: str, device: torch.device | str = "cpu"
) -> Incident:
    """Does a request again.

    Args:
        records: Where its record is.
        id: Of the request.
        data: The file that was sent; None: the kept picture.
        tracking_uri: The store that has the registry.
        device: Where to compute.

    Raises:
        ValueError: If there is no record of it, or ``data`` is another file.
    """
    record = records.find(id)
    if data is not None and hashlib.sha256(data).hexdigest() != record["input_sha256"]:
        raise ValueError(f"input: this is not the file of request {id}: its SHA-256 is {record['input_sha256']}")
    if data is None:
        if record["masked"]:
            return Incident(record=record, outcome="unknown", text="the kept picture is masked: give input=FILE")
        data = records.picture(id)
    if data is None:
        return Incident(record=record, outcome="unknown", text="no picture is kept: give input=FILE")
    source = RestorerSource(
        name=record["model"], restorer=record["restorer"],
        scale=record["scale"] if record["restorer"] == "bicubic" else None, device=choose_device(device),
        tracking_uri=tracking_uri, tile=record["tile"], seed=record["seed"], engine=record["engine"],
    )  # fmt: skip
    served = source.load("now")
    weights = dict((served.restorer.metadata or {}).get("sha256", {}))
    if weights != record["weights"]:
        text = f"{record['restorer']} has other files now than version {record['version']} had"
        return Incident(record=record, outcome="unknown", text=text)
    answered = asyncio.run(_restored(source, record, data))
    if digest(decode(answered, max_pixels=1 << 40).pixels) == record["output_pixels"]:
        told = "the restored pixels are the same, to the last bit"
        return Incident(record=record, outcome="same", text=told, data=answered)
    text = "the restored pixels are others"
    if record["software"] != software():
        text += f"; the software is another too: {record['software']} then, {software()} now"
    return Incident(record=record, outcome="differs", text=text, data=answered)


async def _restored(source: RestorerSource, record: dict[str, Any], data: bytes) -> bytes:
    runner = Runner()
    most = record["pixels"] + 1
    service = Service(shelf=Shelf([source]), runner=runner, limits=Limits(pixels=most, job_pixels=most))
    service.shelf.load()
    runner.start()
    try:
        background = record["background"]
        ask = Ask(
            id="incident", format=record["format"], quality=record["quality"], strip=record["strip"], rank=1,
            background=None if background is None else tuple(background), consistency=record["consistency"],
            begin=service.clock(),
        )  # fmt: skip
        return (await service.restore(ask, data)).data
    finally:
        service.close()
