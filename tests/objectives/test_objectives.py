"""What srlab slo writes is right by the programs that read it, and by a Prometheus that scraped the service."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from services import free_port
from serving.conftest import encoded, make, picture

from sr_lab.config.compose import build, compose
from sr_lab.images.files import write_image
from sr_lab.objectives.dashboards import dashboards, expressions
from sr_lab.objectives.objective import Objectives, Share, duration, seconds
from sr_lab.objectives.rules import alerts, rules
from sr_lab.objectives.scenarios import scenarios
from sr_lab.workflows.golden import make_golden
from sr_lab.workflows.objectives import write_objectives

WAIT = 120
METRIC = re.compile(r"\b(?:srlab|process)_[a-z_0-9]+|\bup\b|\bjob[a-z_]*:srlab_[a-z_0-9]+:[a-z_0-9]+")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's package prometheus")


def objectives(*settings: str) -> Objectives:
    return build(compose("slo", list(settings)).deploy)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Of three objectives, which shows everything: all are tested by ``test_the_shipped_objectives``."""
    given = objectives()
    some = {name: given.shares[name] for name in ("available", "latency_to_one")}
    states = {name: given.states[name] for name in ("down", "memory_full", "hostile_input", "registry_away")}
    folder = tmp_path_factory.mktemp("slo") / "slo"
    small = Objectives(**{**vars(given), "shares": some, "states": states, "records": {}})
    return folder, write_objectives(small, folder)


@needs_promtool
def test_each_alert_is_raised_ends_and_is_silent(written):
    folder, told = written
    assert told.num_alerts == 2 * 2 + 4
    assert {line.split()[0] for line in told.checked} == {"promtool", *(["amtool"] if shutil.which("amtool") else [])}
    stories = [
        test["name"] for file in folder.glob("tests/*.yaml") for test in yaml.safe_load(file.read_text())["tests"]
    ]
    assert sum("is raised" in story for story in stories) == told.num_alerts
    assert sum(story.endswith("is silent") for story in stories) == told.num_alerts


@needs_promtool
@pytest.mark.parametrize(
    ("file", "old", "new"),
    [("down", "< 1", "< 0"), ("memory_full", "> 0.9", "> 0.3"), ("available", "> 0.0144 and", "> 0.5 and")],
)
def test_the_tests_find_a_rule_that_is_wrong(written, tmp_path, file, old, new):
    folder, _ = written
    shutil.copytree(folder, tmp_path / "slo")
    place = tmp_path / "slo" / "rules" / f"{file}.yaml"
    text = place.read_text()
    assert old in text
    place.write_text(text.replace(old, new).replace("> 0.006 and", "> 0.5 and"))
    stem = file.replace("_", "")
    tests = [str(each) for each in (tmp_path / "slo" / "tests").iterdir() if each.stem.lower().startswith(stem)]
    assert tests
    assert subprocess.run(["promtool", "test", "rules", *tests], capture_output=True, check=False).returncode == 1


def test_the_shipped_objectives_name_a_runbook_and_an_indicator():
    given = objectives()
    found = alerts(given)
    assert len({alert.name for alert in found}) == len(found) == 2 * len(given.shares) + len(given.states)
    for alert in found:
        assert re.fullmatch("F[1-8]", alert.failure), alert.name
        assert re.fullmatch("M([1-9]|10)|none", alert.indicator), alert.name
        rule = alert.as_rule(given.runbooks)
        assert rule["keep_firing_for"] != "0s"
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{alert.failure.lower()}"
    assert set(scenarios(given)) == {alert.name for alert in found}


def test_the_page_of_alerts_explains_each_of_them_with_its_bounds():
    given = objectives()
    page = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")
    ]
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert set(told) == {alert.name for alert in alerts(given)}
    assert sum(len(row[0].split(",")) for row in rows) == len(told), "each once"
    for alert in alerts(given):
        row = told[alert.name]
        assert row[-1] == f"[{alert.failure}](runbooks.md#{alert.failure.lower()})", alert.name
        assert len(row[-2]) > 40, alert.name
        share, state = given.shares.get(alert.objective), given.states.get(alert.objective)
        if share is not None:
            assert float(row[1].removesuffix(" %")) == pytest.approx(100 * share.target), alert.name
            assert share.least == 0.01, alert.name
        if state is not None:
            side = "above" if state.below is None else "below"
            assert row[1:3] == [f"{alert.severity}, {side} {state.bound:g}", state.hold], alert.name
    assert f"They stay for {given.keep} after" in page
    assert given.states["cost_idle"].least == 25


def test_an_alert_without_a_wait_is_raised_at_once():
    found = {alert.name: alert.as_rule("x") for alert in alerts(objectives())}
    assert "for" not in found["GoldenPsnrFell"]
    assert found["Down"]["for"] == "2m"


def test_silent_stories_stay_near_the_bound():
    """A story half-way to the bound would not be silent if the bound were twice as low."""
    given = objectives()
    for name, share in given.shares.items():
        for alert in alerts(given):
            if alert.objective == name:
                slowest = min(burn.factor for burn in given.burns.values() if burn.severity == alert.severity)
                assert f"> {slowest * share.budget:.10g} and" in alert.expression


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["deploy.shares.accepted.target=0.9"], "shares.accepted.target=0.9: a burn of 14.4 can never be reached"),
        (["deploy.shares.accepted.target=1.5"], "target=1.5 must lie between 0 and 1"),
        (["+deploy.states.down.above=3"], "give one of above= and below="),
        (["deploy.states.down.hold=soon"], "'soon' is no duration"),
        (["deploy.states.down.value='up and down'"], "is no selector"),
        (["deploy.burns.hour.short=2h"], "short=2h must be shorter than long=1h"),
        (["deploy.speed=0"], "speed=0 must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(settings, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        objectives(*settings)


def test_spans_are_scaled_for_demonstrations():
    given = objectives("deploy.speed=60")
    assert given.span("1h") == "1m"
    assert given.span("5m") == "5s"
    assert duration(seconds("1h30m")) == "90m"
    assert "rate1m > " in alerts(given)[0].expression
    with pytest.raises(ValueError, match="one of good= and bad="):
        Share(title="", target=0.9, total="a", failure="F1", indicator="M1")


def test_grafanas_own_models_take_every_key_of_the_dashboards():
    pytest.importorskip("grafana_foundation_sdk", reason="needs grafana-foundation-sdk")
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()  # panels by their types, targets as queries of Prometheus

    def kept(model):
        return json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(json.loads(json.dumps(model)))))

    def lost(ours, theirs, place=""):
        """Places of what the models do not know: they drop it."""
        if isinstance(ours, dict):
            for key, value in ours.items():
                below = f"{place}.{key}"
                yield from lost(value, theirs[key], below) if key in theirs else [below]
        elif isinstance(ours, list):
            assert len(ours) == len(theirs), place
            for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from lost(one, other, f"{place}[{number}]")
        elif ours != theirs:
            yield place

    made = dashboards(objectives())
    assert set(made) == {"executive", "on_call", "debug"}
    for name, model in made.items():
        assert list(lost(model, kept(model))) == [], name
    wrong = made["debug"]
    wrong["panels"][0]["fieldConfg"] = {}
    wrong["panels"][0]["targets"][0]["exprs"] = "up"
    assert set(lost(wrong, kept(wrong))) == {".panels[0].fieldConfg", ".panels[0].targets[0].exprs"}


def test_maintenance_is_a_time_in_which_nobody_is_told():
    from sr_lab.objectives.receiving import alertmanager

    given = objectives("+deploy.receivers.maintenance.night=[{times: [{start_time: '02:00', end_time: '04:00'}]}]")
    told = alertmanager(given)
    assert told["time_intervals"][0]["name"] == "night"
    assert all(route["mute_time_intervals"] == ["night"] for route in told["route"]["routes"])


def ask(port: int, path: str, **query: str):
    text = urllib.parse.urlencode(query)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}?{text}", timeout=60) as answer:
        return json.load(answer)["data"]


@contextlib.contextmanager
def running(command: list[str], folder: Path, **options):
    """A child process whose output goes into a file of the folder, and that is ended."""
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def until(condition, what: str, log: Path):
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        time.sleep(0.3)
    raise AssertionError(f"{what}: {log.read_text()[-2000:]}")


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_every_expression_is_evaluated_by_a_prometheus_that_scraped_the_service(tmp_path):
    port, service = free_port(), free_port()
    given = objectives(f"deploy.address=127.0.0.1:{service}", "deploy.interval=1s")
    write = ["-m", "sr_lab.cli", "slo", "output=slo", f"deploy.address=127.0.0.1:{service}", "deploy.interval=1s"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, *write], cwd=tmp_path, env={**env, "PATH": ""}, check=True, capture_output=True)
    write_image(tmp_path / "photos" / "a.png", picture(64, 64))
    make_golden(tmp_path / "photos", tmp_path / "golden", side=64)
    serve = [sys.executable, "-m", "sr_lab.cli", "serve", "restorer=bicubic", "scale=2", f"port={service}"]
    serve += ["golden=folder", "cost=prices", "cost.daily=1", "records=folder"]
    serve += ["incoming=default", "incoming.file=incoming.db"]
    watch = ["prometheus", "--config.file=slo/prometheus.yaml", "--storage.tsdb.path=data"]
    with running(serve, tmp_path, env=env), running([*watch, f"--web.listen-address=127.0.0.1:{port}"], tmp_path):
        url = f"http://127.0.0.1:{service}"
        log = tmp_path / f"{Path(sys.executable).name}.log"
        until(lambda: urllib.request.urlopen(f"{url}/readyz", timeout=5).status, "no service", log)
        log = tmp_path / "prometheus.log"
        query = 'srlab_requests_total{route="/v1/restore",status="200"}'

        def scraped() -> bool:
            urllib.request.urlopen(urllib.request.Request(f"{url}/v1/restore", encoded(picture())), timeout=60).read()
            return bool(ask(port, "query", query=query)["result"])

        until(scraped, "nothing is scraped", log)
        until(lambda: ask(port, "query", query="job:srlab_requests:rate5m")["result"], "nothing is recorded", log)
        texts = [rule["expr"] for file in rules(given).values() for group in file["groups"] for rule in group["rules"]]
        texts += [text for model in dashboards(given).values() for text in expressions(model)]
        for text in texts:
            assert ask(port, "query", query=text)["resultType"] in ("vector", "scalar"), text
        health = [rule for group in ask(port, "rules")["groups"] for rule in group["rules"]]
        assert len(health) == sum(len(g["rules"]) for file in rules(given).values() for g in file["groups"])
        assert {rule["health"] for rule in health} <= {"ok", "unknown"}, [r for r in health if r["health"] == "err"]
        names = {f"{rule['name']}" for rule in health} | known(urllib.request.urlopen(f"{url}/metrics").read().decode())
        asked = {name for text in texts for name in METRIC.findall(text)}
        assert {name for name in asked - names if name != "up" and "_gpu_" not in name} == set()


def known(page: str) -> set[str]:
    """The series that a page of numbers may have."""
    found = set()
    for name, kind in re.findall(r"# TYPE (\S+) (\S+)", page):
        found |= {f"{name}{end}" for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return found


@needs_promtool
def test_names_and_units_are_those_that_prometheus_recommends():
    parts, _ = make()
    page = parts.service.measures.page()
    parts.service.close()
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
    assert (done.returncode, done.stdout.decode() + done.stderr.decode()) == (0, "")
