"""Look into one request: what is known of it, and whether its image is the same when it is done again.

    srlab incident request=ID folder=records input=sent.png          # the file that was sent; without: the kept picture
    srlab incident show request=ID folder=records                    # its record: hashes, model, tiles, seed, settings
    srlab incident picture request=ID output=kept.png                # a kept picture; that it was read is noted
    srlab incident delete request=ID                                 # everything that is kept of it
    srlab incident accesses                                          # who kept, read or deleted which picture
    srlab incident clean keep_days=30                                # what is older goes, also where no server runs

Records are kept by  srlab serve ... records=folder  and pictures only with records.share above 0, encrypted by the key
in SRLAB_RECORDS_KEY. Exit codes of reproduce: 0 the pixels are the same, 3 they differ, 4 it could not be done again.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import write_bytes
from sr_lab.commands._actions import chosen
from sr_lab.config.call import called
from sr_lab.serving.incident import reproduce
from sr_lab.serving.records import Records, RecordSettings

CODES = {"same": 0, "differs": 3, "unknown": 4}


def run(cfg: DictConfig) -> int:
    """Does what is asked for; see the module's docstring."""
    action = chosen(cfg, ACTIONS)
    if not (Path(cfg.folder) / "records.db").is_file():
        raise ConfigError(f"folder={cfg.folder}: there are no records: srlab serve ... records=folder keeps them")
    records = Records(RecordSettings(folder=cfg.folder, keep_days=cfg.keep_days if cfg.action == "clean" else 1e6))
    if cfg.request is None and cfg.action not in ("accesses", "clean"):
        raise ConfigError("request: give the request's id, the header X-Request-ID of its answer")
    return action(cfg, records)


def _reproduce(cfg: DictConfig, records: Records) -> int:
    data = None if cfg.input is None else Path(cfg.input).read_bytes()
    found = called(reproduce, cfg, records=records, id=cfg.request, data=data)
    record = found.record
    by = f"{record['model']} version {record['version']}"
    print(f"{cfg.request}: {by}, {record['num_tiles']} tiles, seed {record['seed']}")
    print(f"{found.outcome}: {found.text}")
    if cfg.output is not None and found.data is not None:
        write_bytes(Path(cfg.output), found.data)
    return CODES[found.outcome]


def _show(cfg: DictConfig, records: Records) -> int:
    print(json.dumps(records.find(cfg.request), indent=1))
    return 0


def _picture(cfg: DictConfig, records: Records) -> int:
    if cfg.output is None:
        raise ConfigError("output: name the file for the kept picture")
    data = records.picture(cfg.request)
    if data is None:
        print(f"{cfg.request}: no picture is kept")
        return 1
    write_bytes(Path(cfg.output), data)
    print(f"{cfg.output} is written; that it was read is written down")
    return 0


def _delete(cfg: DictConfig, records: Records) -> int:
    there = records.delete(cfg.request)
    print(f"{cfg.request}: {'deleted' if there else 'there was nothing'}")
    return 0 if there else 1


def _clean(cfg: DictConfig, records: Records) -> int:
    records.clean()
    print(f"what is older than {cfg.keep_days:g} days is deleted")
    return 0


def _accesses(cfg: DictConfig, records: Records) -> int:
    for when, who, action, id in records.accesses:
        print(f"{time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(when))}  {who}  {action}  {id}")
    return 0


ACTIONS: dict[str, Callable[[DictConfig, Records], int]] = {
    "reproduce": _reproduce, "show": _show, "picture": _picture, "delete": _delete, "clean": _clean,
    "accesses": _accesses,
}  # fmt: skip
