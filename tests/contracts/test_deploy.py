"""conf/deploy: the compose file is whole, holds no secret, and starts MLflow by options and settings that it has."""

import configparser
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sr_lab.config.tree import config_dir

FOLDER = config_dir() / "deploy"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_services_volumes_and_conditions_refer_to_what_is_there(compose: dict[str, Any]) -> None:
    assert set(compose) == {"name", "services", "volumes"}
    services = compose["services"]
    for name, service in services.items():
        assert ("image" in service) != ("build" in service), name
        for volume in service.get("volumes", []):
            assert volume.split(":")[0] in compose["volumes"]
        for other, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert services[other]["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), "passwords travel without TLS"


def test_secrets_come_from_the_environment(compose: dict[str, Any]) -> None:
    secrets = 0
    for service in compose["services"].values():
        for key, value in service["environment"].items():
            if re.search("PASSWORD|KEY", key):
                assert re.fullmatch(r"\$\{SRLAB_\w+:\?[^}]+\}", value), key
                secrets += 1
    assert secrets == 5
    for file in (file for file in FOLDER.rglob("*") if file.is_file()):
        assert "://mlflow:" not in file.read_text(encoding="utf-8")


def test_mlflow_knows_the_options_and_settings(compose: dict[str, Any]) -> None:
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
    assert {key for key in service["environment"] if key.startswith("MLFLOW_")} <= names


def test_accounts_lie_in_the_same_database(compose: dict[str, Any]) -> None:
    from mlflow.server.auth.config import AuthConfig

    settings = configparser.ConfigParser()
    settings.read(FOLDER / "basic_auth.ini")
    assert set(settings["mlflow"]) <= set(AuthConfig._fields)
    assert settings["mlflow"]["default_permission"] == "READ"
    option = f"--backend-store-uri={settings['mlflow']['database_uri']}"
    assert option in compose["services"]["mlflow"]["command"]
    assert (
        "COPY basic_auth.ini /etc/mlflow/basic_auth.ini" in compose["services"]["mlflow"]["build"]["dockerfile_inline"]
    )
    assert Path(compose["services"]["mlflow"]["environment"]["MLFLOW_AUTH_CONFIG_PATH"]).name == "basic_auth.ini"
