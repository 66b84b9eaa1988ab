"""``srlab rollback`` and ``srlab history`` on a registry with two champions."""

import json
from pathlib import Path

import pytest

from sr_lab.cli import main
from sr_lab.tracking.registry.aliases import aliases, label, promote
from sr_lab.tracking.registry.ledger import PREFIX
from sr_lab.tracking.store import connect


def test_back_in_one_command_with_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    place = ["name=m", f"tracking_uri={uri}"]
    assert main(["history", *place]) == 1
    assert "there is no tracking store" in capsys.readouterr().err
    client = connect(uri)
    client.create_registered_model("m")
    assert main(["history", *place]) == 0
    assert capsys.readouterr().out == "no decision on m yet\nnow: no alias is set\n"
    for version, champion in ((1, None), (2, label("m", 1))):
        client.create_model_version("m", "models/nothing")
        decision = {
            "outcome": "promote",
            "candidate": label("m", version),
            "champion": champion,
            "sha256": "d" * 64,
            "policy_sha256": "p" * 64,
            "reasons": [{"line": "pass  psnr: gain 0.1"}],
        }
        promote(uri, "m", version, decision=decision, who="ann")

    assert main(["rollback", *place, "reason=text got worse", "events=hook", "events.command='cat >&2; exit 3'"]) == 5
    shown = capsys.readouterr()
    assert "m version 1 is models:/m@champion again, instead of version 2" in shown.out
    assert "m version 1 is the champion, that stands; but the hook failed: it ended with exit code 3" in shown.err
    assert aliases(uri, "m") == {"champion": 1}
    assert main(["rollback", *place, "reason=again"]) == 1
    assert "no previous champion" in capsys.readouterr().err
    assert aliases(uri, "m") == {"champion": 1}

    assert main(["notify", *place, f"events.command='cat > {tmp_path}/told.json'"]) == 0
    told = json.loads((tmp_path / "told.json").read_text())
    assert (told["event"], told["version"], told["former"], told["reason"]) == ("rollback", 1, 2, "text got worse")

    assert main(["history", *place]) == 0
    text = capsys.readouterr().out
    heads = [line.strip().split("  ", 2)[-1] for line in text.splitlines() if "version" in line and "->" in line]
    marks = f"  (decision {'d' * 12}, policy {'p' * 12})"
    assert [head.partition("  ")[2] for head in heads][:2] == [
        f"promote: none -> version 1{marks}",
        f"promote: version 1 -> version 2{marks}",
    ]
    assert heads[2].endswith("rollback: version 2 -> version 1")
    assert "text got worse" in text
    assert "pass  psnr: gain 0.1" in text
    assert text.endswith("now: champion is version 1\n")

    client.set_registered_model_tag("m", "audit.notes", "somebody's own")
    assert main(["history", *place]) == 0
    client.set_registered_model_tag("m", f"{PREFIX}0007", client.get_registered_model("m").tags[f"{PREFIX}0001"])
    client.delete_registered_model_tag("m", f"{PREFIX}0003")
    assert main(["history", *place]) == 1
    assert "record 4 does not fit the one before it" in capsys.readouterr().err
    client.delete_registered_model_tag("m", f"{PREFIX}0007")
    client.set_registered_model_alias("m", "champion", "2")
    assert main(["history", *place]) == 1
    assert "the alias champion was changed by something else than srlab" in capsys.readouterr().err
    assert main(["notify", *place, f"events.command=rm {tmp_path}/told.json"]) == 1
    assert "version 1 is the champion, but the alias champion names version 2" in capsys.readouterr().err
    assert (tmp_path / "told.json").exists()
