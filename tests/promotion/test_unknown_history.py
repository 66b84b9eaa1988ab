"""A candidate that comes from weights of others: refused, unless the policy says that it accepts that."""

from dataclasses import replace

import pytest

from sr_lab.artefacts.lineage import unknown_history
from sr_lab.promotion import ImageRow, Measurement, Policy, gate
from sr_lab.promotion.quality import Floor

ROWS = [ImageRow(name=name, scene=name, metrics={"psnr_y": 31.0}) for name in ("cat", "cup")]
PUBLIC = Measurement(
    model="photos/1", holdout="sha", protocol="y_crop", rows=ROWS, seen=frozenset(), unknown=("pretrained/x",)
)


def policy(*, accept: bool) -> Policy:
    floor = Floor(metric="psnr_y", better="higher", value=30.0, min_scenes=2)
    return Policy(name="own", checks={"floor": floor}, first_champion="passes_floors", accept_unknown_history=accept)


@pytest.mark.parametrize("candidate", [PUBLIC, replace(PUBLIC, seen=None, unknown=())])
def test_an_unknown_history_is_refused_and_may_be_accepted(candidate: Measurement) -> None:
    decision = gate(candidate, None, policy(accept=False))
    assert decision.outcome == "reject"
    assert "policy.accept_unknown_history=true accepts that" in decision.text
    decision = gate(candidate, None, policy(accept=True))
    assert decision.outcome == "promote"
    assert "is not known, and the policy accepts that" in decision.text


def test_what_is_known_to_have_seen_the_holdout_is_refused_all_the_same() -> None:
    decision = gate(replace(PUBLIC, seen=frozenset({"cat"})), None, policy(accept=True))
    assert decision.outcome == "reject"
    assert "was trained or selected on 1 of 2 images" in decision.text


def test_the_key_leaves_policies_what_they_were() -> None:
    assert policy(accept=False).sha256 != policy(accept=True).sha256
    assert "accept_unknown_history" not in str(policy(accept=False).as_dict())
    assert Measurement.from_dict(PUBLIC.as_dict()) == PUBLIC
    assert "unknown" not in replace(PUBLIC, unknown=()).as_dict()


def test_it_is_inherited() -> None:
    assert unknown_history([{"images": {}}, {"unknown_history": ["b"]}, {"unknown_history": ["a", "b"]}]) == {
        "unknown_history": ["a", "b"]
    }
    assert unknown_history([{"images": {}}]) == {}
