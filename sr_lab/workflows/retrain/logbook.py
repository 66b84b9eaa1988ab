"""The logbook of the retrainings of one model: the one that is going on, and those that have ended."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from sr_lab.base.files import write_text

Stage = Literal["training", "registering", "gate", "rollout"]


@dataclass(kw_only=True)
class Attempt:
    """A retraining that is going on.

    Attributes:
        name: of its folder.
        stage: what comes next; what came before is done.
        champion: version that it starts from.
        cost: estimated.
        tries: times that its stage was begun.
        version: of the candidate, from the stage ``gate`` on.
        reasons: why it was begun.
        checks: of the gate, once it has passed.
    """

    name: str
    stage: Stage
    champion: int
    cost: float
    tries: int = 0
    version: int | None = None
    reasons: list[str] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)

    def enter(self, stage: Stage) -> None:
        """Goes on to the next stage, which is begun for the first time."""
        self.stage, self.tries = stage, 1


@dataclass(kw_only=True)
class Logbook:
    """All of them; written after every change.

    Attributes:
        file: JSON.
        attempt: the one that is going on.
        ended: name, end (ISO 8601, UTC), outcome and estimated cost of the others.
    """

    file: Path
    attempt: Attempt | None = None
    ended: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, file: Path) -> "Logbook":
        """The logbook of a file; empty where there is none.

        Raises:
            ValueError: if the file is no logbook.
        """
        if not file.is_file():
            return cls(file=file)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            attempt = None if content["attempt"] is None else Attempt(**content["attempt"])
            return cls(file=file, attempt=attempt, ended=list(content["ended"]))
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{file} is no logbook of srlab retrain: move it away") from error

    def write(self) -> None:
        """Writes the file, whole or not at all."""
        attempt = None if self.attempt is None else asdict(self.attempt)
        write_text(self.file, json.dumps({"attempt": attempt, "ended": self.ended}, indent=1) + "\n")

    def following(self, now: datetime) -> str:
        """Name of the next retraining: its day and number."""
        day = f"{now:%Y%m%d}"
        return f"{day}-{1 + sum(entry['name'].startswith(day) for entry in self.ended)}"

    def begin(self, name: str, *, champion: int, cost: float, reasons: list[str]) -> Attempt:
        """Opens a retraining; its folder is there."""
        self.attempt = Attempt(name=name, stage="training", champion=champion, cost=cost, reasons=reasons)
        self.write()
        return self.attempt

    def end(self, outcome: str, *, now: datetime) -> None:
        """Closes the retraining that is going on."""
        assert self.attempt is not None
        entry = {"name": self.attempt.name, "end": now.isoformat(timespec="seconds"), "outcome": outcome}
        self.ended.append({**entry, "cost": self.attempt.cost, "version": self.attempt.version})
        self.attempt = None
        self.write()

    def hours_since_last(self, now: datetime) -> float | None:
        """Since the last one ended."""
        if not self.ended:
            return None
        return (now - datetime.fromisoformat(self.ended[-1]["end"])).total_seconds() / 3600

    def spent(self, now: datetime) -> float:
        """Estimated costs of those that ended in the last 30 days."""
        since = now - timedelta(days=30)
        return float(sum(entry["cost"] for entry in self.ended if datetime.fromisoformat(entry["end"]) >= since))


def utc_now() -> datetime:
    """Now, with its zone."""
    return datetime.now(UTC)
