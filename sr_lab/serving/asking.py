"""What a client asks for, and what it is answered."""

from dataclasses import dataclass

from sr_lab.inference.prepared import Colour
from sr_lab.serving.consistency import Check
from sr_lab.serving.keys import ANYBODY, Caller
from sr_lab.serving.models import Served

TIERS = ("auto", "best", "fast")


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What a client asks for.

    Attributes:
        id: Of the request.
        caller: Who asks.
        client: What the client is known by to a rollout: the name of its key, or its address.
        model: A name of the shelf; None: as the route says.
        tier: ``best``: the model; ``fast``: the fast one; ``auto``: the best that meets the deadline.
        scale: Enlargement factor that is wanted; None: the model's.
        deadline: Seconds in which the answer is wanted; None: as the limits say.
        format: Of the answer, a name of ``pictures.ANSWERS``.
        background: Red, green and blue under transparent pixels where the format knows no transparency; None refuses
            them.
        strip: Whether what lies beside the pixels is left out, but for the colour profile.
        quality: Of a lossy format, 1 to 100.
        consistency: ``exact``: the image is projected so that, shrunk again by bicubic interpolation, it is its input.
        rank: 0 where somebody waits, 1 for a job.
        begin: When the request began, on the service's clock.
        parent: The client's span, as its header ``traceparent`` names it.
    """

    id: str
    caller: Caller = ANYBODY
    client: str = "-"
    model: str | None = None
    tier: str = "auto"
    scale: int | None = None
    deadline: float | None = None
    format: str = "png"
    background: Colour | None = None
    strip: bool = False
    quality: int = 95
    consistency: str | None = None
    rank: int = 0
    begin: float = 0.0
    parent: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A restored image.

    Attributes:
        data: Encoded.
        format: Name of its format.
        model: What restored it.
        tier: ``best`` or ``fast``.
        seconds: From the first byte to the answer.
        computed: Computing time of its tiles.
        check: The image beside its input.
        replaced: Why the guard replaced the image by the conservative one's; empty if it did not.
        pixels: Restored pixels.
    """

    data: bytes
    format: str
    model: Served
    tier: str
    seconds: float
    computed: float
    check: Check
    replaced: str
    pixels: int

    @property
    def headers(self) -> dict[str, str]:
        """What is told beside the image."""
        told = {
            "X-Model": self.model.name,
            "X-Model-Version": self.model.version,
            "X-Tier": self.tier,
            "X-Seconds": f"{self.seconds:.4f}",
            "X-Compute-Seconds": f"{self.computed:.4f}",
            "X-LR-Consistency": f"{self.check.decibels:.2f} dB",
        }
        if self.replaced:
            told["X-Guard"] = f"replaced; {self.replaced}"
        if self.model.warning:
            told["X-Warning"] = self.model.warning
        return told
