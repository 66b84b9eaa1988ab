"""Registered models and decisions on them, for the tests of the registry."""

import uuid
from typing import Any

from sr_lab.tracking.registry.aliases import label


def make_model(client: Any, *, num_versions: int) -> str:
    """A registered model with versions of no files; gives its name."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    for _ in range(num_versions):
        client.create_model_version(name, "s3://nowhere/nothing")
    return name


def decide(name: str, version: int, champion: int | None, outcome: str = "promote") -> dict[str, Any]:
    """A decision of the gate as the registry records it."""
    return {
        "outcome": outcome,
        "candidate": label(name, version),
        "champion": None if champion is None else label(name, champion),
        "sha256": "d" * 64,
        "policy_sha256": "p" * 64,
        "reasons": [{"line": "pass  psnr: fine"}],
    }
