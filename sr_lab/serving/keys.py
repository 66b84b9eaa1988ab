"""API keys: who may do what, and how much of it; kept as hashes in a file that is read again when it changes."""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from sr_lab.serving.problems import Problem

log = logging.getLogger(__name__)
Scope = Literal["restore", "jobs", "models", "metrics", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who calls.

    Attributes:
        name: Of the key; what the audit log says.
        scopes: What it may do.
        plan: What ``conf/route`` chooses models by.
        megapixels_per_second: Restored megapixels that it may ask for, on average over ten seconds; None: any number.
    """

    name: str
    scopes: frozenset[str] = frozenset(SCOPES) - {"admin"}
    plan: str = "default"
    megapixels_per_second: float | None = None


ANYBODY = Caller(name="-")
"""Who calls where there are no keys."""


def new_key() -> tuple[str, str]:
    """A key, which its owner keeps, and its hash, which the file keeps."""
    key = "srlab_" + secrets.token_urlsafe(32)
    return key, hash_of(key)


def hash_of(key: str) -> str:
    """SHA-256 of a key: enough, as keys are drawn at random and too long to be guessed."""
    return hashlib.sha256(key.encode()).hexdigest()


class Keys:
    """The keys of a file: YAML, a mapping of names to ``sha256``, ``scopes``, ``plan``, ``megapixels_per_second``.

    Args:
        file: The file; None: anybody may call.
        clock: Monotonic seconds.

    Raises:
        ValueError: If the file is none of that form.
    """

    def __init__(self, file: Path | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.file, self.clock = file, clock
        self._callers: dict[str, Caller] = {}
        self._stamp: tuple[int, int] | None = None
        self._looked = -1e9
        self._buckets: dict[str, tuple[float, float]] = {}
        if file is not None:
            self._stamp, self._callers = _stamp(file), _read(file)

    def identify(self, headers: Mapping[str, str], scope: Scope) -> Caller:
        """Who calls, by ``Authorization: Bearer KEY`` or ``X-API-Key``.

        Raises:
            Problem: If nobody has that key, or it does not allow this.
        """
        if self.file is None:
            if scope == "admin":
                raise Problem(403, "the server has no API keys, so nobody is its administrator", kind="scope")
            return ANYBODY
        self._read_again()
        scheme, _, given = headers.get("authorization", "").partition(" ")
        key = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        digest, found = hash_of(key), None
        for known, caller in self._callers.items():
            if hmac.compare_digest(known, digest):
                found = caller
        if not key or found is None:
            raise Problem(
                401, "give a valid key: Authorization: Bearer KEY", kind="key", headers={"WWW-Authenticate": "Bearer"}
            )
        if scope not in found.scopes:
            raise Problem(403, f"the key {found.name} has not the scope {scope}", kind="scope")
        return found

    def spend(self, caller: Caller, megapixels: float) -> None:
        """Takes restored megapixels from what a key may ask for.

        Raises:
            Problem: If that is used up; ``Retry-After`` says for how long.
        """
        rate = caller.megapixels_per_second
        if rate is None:
            return
        most, now = 10 * rate, self.clock()
        left, then = self._buckets.get(caller.name, (most, now))
        left = min(most, left + (now - then) * rate)
        if left <= 0:
            wait = max(1, int(-left / rate) + 1)
            raise Problem(
                429, f"the key {caller.name} may restore {rate:g} megapixels a second: wait {wait} s", kind="rate",
                headers={"Retry-After": str(wait)},
            )  # fmt: skip
        self._buckets[caller.name] = (left - megapixels, now)  # a large image may be owed

    def _read_again(self) -> None:
        """Takes over a file that has changed; one that is damaged or gone leaves the keys as they were."""
        now = self.clock()
        if self.file is None or now - self._looked < 1.0:
            return
        self._looked = now
        try:
            stamp = _stamp(self.file)
            if stamp != self._stamp:
                self._callers, self._stamp = _read(self.file), stamp
                log.info("the keys were read again: %d", len(self._callers))
        except (OSError, ValueError) as error:
            log.error("the keys stay as they were: %s", error)


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError as error:
        raise ValueError(f"api_keys={file}: {error.strerror}") from error
    return found.st_mtime_ns, found.st_ino


def _read(file: Path) -> dict[str, Caller]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"api_keys={file} cannot be read: {str(error).splitlines()[0]}") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ValueError(f"api_keys={file}: a mapping of names is needed, as  NAME: {{sha256: ..., scopes: [restore]}}")
    return dict(_caller(file, str(name), node) for name, node in content.items())


def _caller(file: Path, name: str, node: Any) -> tuple[str, Caller]:
    where = f"api_keys={file}: {name}"
    if not isinstance(node, dict) or len(str(node.get("sha256", ""))) != 64:
        raise ValueError(f"{where} needs sha256: the 64 digits of the key's hash")
    if unknown := set(node) - {"sha256", "scopes", "plan", "megapixels_per_second"}:
        raise ValueError(f"{where}: {sorted(unknown)[0]} is not known")
    scopes = frozenset(map(str, node.get("scopes", ["restore", "jobs", "models"])))
    if wrong := scopes - set(SCOPES):
        raise ValueError(f"{where}: there is no scope {sorted(wrong)[0]}; there are {', '.join(SCOPES)}")
    rate = node.get("megapixels_per_second")
    if rate is not None and not (isinstance(rate, int | float) and rate > 0):
        raise ValueError(f"{where}: megapixels_per_second={rate} must be above 0")
    made = Caller(name=name, scopes=scopes, plan=str(node.get("plan", "default")), megapixels_per_second=rate)
    return str(node["sha256"]).lower(), made


@dataclass
class AuditLog:
    """Who called what: a line of JSON for each answer, without pixels.

    Attributes:
        file: The file; None: nothing is kept.
        failures: Lines that could not be written, as the disk was full or gone.
    """

    file: Path | None
    failures: int = field(default=0)

    def write(self, line: str) -> None:
        """Appends a line; a failure is counted, and stops nobody."""
        if self.file is None:
            return
        try:
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError as error:
            if not self.failures:
                log.error("the audit log cannot be written: %s", error)
            self.failures += 1
