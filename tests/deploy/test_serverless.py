"""The bundle as a function and as a container: templates and manifests, against the bundle's own script."""

import re
from typing import Any

import jsonschema
import pytest
import yaml
from manifests import DEPLOY, wrong_by_types

from sr_lab.artefacts.export.bundle import runtime

FOLDER = DEPLOY / "serverless"
SERVICES = ("knative.yaml", "cloudrun.yaml")
SIGNATURE = "def handler(event: dict[str, Any], context: Any = None)"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    return {name: yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")) for name in SERVICES}


def settings_known(names: set[str]) -> None:
    """Each is a variable that the bundle's script reads."""
    known = set(re.findall(r'environ\.get\("(RESTORE_\w+)"', runtime()))
    assert names
    assert names <= known, names - known


def test_services_are_valid_by_the_types_of_knative(services, tmp_path):
    (tmp_path / "right").mkdir()
    assert wrong_by_types(list(services.values()), tmp_path / "right") == ""
    wrong = services["knative.yaml"]
    wrong = {**wrong, "spec": {"template": {"spec": {**wrong["spec"]["template"]["spec"], "timeoutSecond": 3}}}}
    (tmp_path / "wrong").mkdir()
    assert "timeoutSecond" in wrong_by_types([wrong], tmp_path / "wrong")


def test_services_start_what_the_image_has_and_are_capped(services):
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    assert 'ENTRYPOINT ["python", "restore.py"]\nCMD ["--serve", "8080"]' in dockerfile
    (exposed,) = re.findall(r"^EXPOSE (\d+)", dockerfile, re.MULTILINE)
    for name, service in services.items():
        template = service["spec"]["template"]
        spec = template["spec"]
        (container,) = spec["containers"]
        assert container["ports"] == [{"containerPort": int(exposed)}]
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        settings_known(set(given))
        assert float(given["RESTORE_BUDGET"]) + 10 <= spec["timeoutSeconds"], "falls back before the platform gives up"
        assert given["RESTORE_THREADS"] == container["resources"]["limits"]["cpu"]
        assert spec["containerConcurrency"] == 1
        annotations = template["metadata"]["annotations"]
        key = "max-scale" if name == "knative.yaml" else "maxScale"
        assert 1 <= int(annotations[f"autoscaling.knative.dev/{key}"]) <= 10
        probe = container.get("readinessProbe") or container["livenessProbe"]
        assert f'"{probe["httpGet"]["path"]}"' in runtime(), "a path that the server gives out"
        assert container["image"] in dockerfile
    once = services["knative.yaml"]["spec"]["template"]["spec"]["containers"][0]["securityContext"]
    assert (once["readOnlyRootFilesystem"], once["runAsUser"]) == (True, 10001)
    assert "\nUSER 10001:10001\n" in dockerfile


class Filled(yaml.SafeLoader):
    """Reads CloudFormation, with what it would fill in."""


ACCOUNT = "123456789012"
FILLED = {
    "Image": f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/sr-lab-bundle:0.2.0",
    "Hosts": "",
    "Role.Arn": f"arn:aws:iam::{ACCOUNT}:role/restore",
    "Restore.Arn": f"arn:aws:lambda:eu-central-1:{ACCOUNT}:function:restore",
    "Address.FunctionUrl": "https://restore.lambda-url.eu-central-1.on.aws",
}
Filled.add_multi_constructor("!", lambda loader, suffix, node: FILLED[node.value])


def test_the_template_of_aws_is_valid_and_names_the_bundles_function():
    schemas = pytest.importorskip("cfnlint.schema", reason="needs pip install cfn-lint").PROVIDER_SCHEMA_MANAGER
    template = yaml.load((FOLDER / "template.yaml").read_text(encoding="utf-8"), Filled)
    for resource in template["Resources"].values():
        assert wrong(schemas, resource["Type"], resource["Properties"]) == []
    properties = template["Resources"]["Restore"]["Properties"]
    assert "MemorySiz" in str(wrong(schemas, "AWS::Lambda::Function", {**properties, "MemorySiz": 3}))
    dockerfile = (FOLDER / "lambda.Dockerfile").read_text(encoding="utf-8")
    module, name = re.search(r'CMD \["(\w+)\.(\w+)"\]', dockerfile).groups()
    assert (f"{module}.py", f"def {name}(event: dict[str, Any], context: Any = None)") == ("restore.py", SIGNATURE)
    assert SIGNATURE in runtime()
    settings_known(set(properties["Environment"]["Variables"]))
    assert 1 <= properties["ReservedConcurrentExecutions"] <= 10
    assert properties["Timeout"] <= 900
    assert properties["MemorySize"] <= 10240
    assert template["Resources"]["Address"]["Properties"]["AuthType"] == "AWS_IAM", "anybody could have it compute"


def wrong(schemas: Any, kind: str, properties: dict[str, Any]) -> list[str]:
    """What a resource's own schema says of its properties."""
    schema = schemas.get_resource_schema("eu-central-1", kind).schema
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(properties)]
