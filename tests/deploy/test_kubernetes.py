"""The Kubernetes manifests, without a cluster: strict by their schemas, and true of the program that they start."""

import copy
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifests import KUBERNETES, MODELS, built, container, pods, settings, wrong_by_types
from serving.conftest import make
from starlette.testclient import TestClient

from sr_lab.config.compose import compose
from sr_lab.serving.app import make_admin_app, make_app

OVERLAYS = ("overlays/cpu", "overlays/gpu", "overlays/canary", "archive")
VERSIONS = ("1.32.0", "1.37.0")
MIB = 2**20
PEAK = 2413 * MIB
"""What srlab serve held at the most, see docs/deploying.md."""


@pytest.fixture(scope="module")
def wholes() -> dict[str, list[dict[str, Any]]]:
    """What each overlay sends."""
    return {name: built(name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, wholes) -> list[dict[str, Any]]:
    return copy.deepcopy(wholes[request.param])


def of(manifests: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = (m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"]))
    return found


@functools.cache
def composed(*args: str) -> Any:
    """The configuration of a command; an error if srlab does not take it."""
    return compose(args[0], list(args[1:]))


def group(manifest: dict[str, Any]) -> str:
    return str(manifest["apiVersion"]).partition("/")[0]


def amount(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]


def test_every_kustomization_is_built_by_one_of_these():
    reached, left = set(), [KUBERNETES / name for name in OVERLAYS]
    while left:
        folder = left.pop().resolve()
        reached.add(folder)
        given = yaml.safe_load((folder / "kustomization.yaml").read_text())
        assert given["apiVersion"] == "kustomize.config.k8s.io/v1beta1"
        left += [folder / name for name in given["resources"] if (folder / name).is_dir()]
    assert {file.parent.resolve() for file in KUBERNETES.rglob("kustomization.yaml")} == reached


def test_the_kinds_of_kubernetes_are_valid_by_its_strict_schemas(manifests):
    import kubernetes_validate  # takes seconds

    own = [m for m in manifests if group(m) not in MODELS]
    assert len(own) >= 6
    for manifest in own:
        for version in VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
    misspelt = next(m for m in own if m["kind"] in ("Deployment", "Job"))
    first = container(misspelt["spec"]["template"])
    misspelt["spec"]["template"]["spec"]["containers"] = [{**first, "redinessProbe": {}}]
    with pytest.raises(kubernetes_validate.ValidationError, match="redinessProbe"):
        kubernetes_validate.validate(misspelt, VERSIONS[-1], strict=True)


def test_the_other_kinds_are_valid_by_the_types_of_their_definitions(wholes, tmp_path):
    others = [m for name in OVERLAYS[:3] for m in wholes[name] if group(m) in MODELS]
    assert {m["kind"] for m in others} == {"ScaledObject", "ServiceMonitor"}
    (tmp_path / "right").mkdir()
    assert wrong_by_types(others, tmp_path / "right") == ""
    wrong = copy.deepcopy(others[0])
    wrong["spec"]["maxReplicas"] = 3
    (tmp_path / "wrong").mkdir()
    assert "maxReplicas" in wrong_by_types([wrong], tmp_path / "wrong")


def test_every_command_is_one_that_srlab_takes_on_paths_that_are_mounted(manifests):
    found = dict(pods(manifests))
    assert found
    for name, template in found.items():
        spec, one = template["spec"], container(template)
        assert one["image"].startswith("registry.example.org/sr-lab:"), name
        assert "command" not in one, "the image's entry point is srlab"
        composed(*one["args"])
        mounts = {mount["mountPath"]: mount for mount in one["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in spec["volumes"]}
        for key, value in settings(template).items():
            if value.startswith("/"):
                mount = mounts["/" + value.split("/")[1]]
                assert key == "api_keys" or not mount.get("readOnly"), f"{name}: {key}={value}"
        writable = {mount["mountPath"] for mount in mounts.values() if not mount.get("readOnly")}
        assert {"/tmp", "/cache"} <= writable, "HOME and SRLAB_CACHE"


def test_pods_keep_the_restricted_standard_and_name_what_exists(manifests):
    def names(kind: str) -> set[str]:
        return {m["metadata"]["name"] for m in manifests if m["kind"] == kind}

    maps = {m["metadata"]["name"]: m["data"] for m in manifests if m["kind"] == "ConfigMap"}
    for name, template in pods(manifests):
        spec, one = template["spec"], container(template)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert template["metadata"]["labels"]["app.kubernetes.io/part-of"] == "sr-lab", "what the network is closed for"
        assert set(one["resources"]["requests"]) >= {"cpu", "memory"}
        assert one["resources"]["requests"]["memory"] == one["resources"]["limits"]["memory"], (
            "else it is evicted first"
        )
        if "serviceAccountName" in spec:
            assert spec["serviceAccountName"] in names("ServiceAccount")
        for volume in spec["volumes"]:
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in names("PersistentVolumeClaim"), name
        for source in one["envFrom"]:
            if "configMapRef" in source:
                data = maps[source["configMapRef"]["name"]]
                assert set(data) == {"MLFLOW_TRACKING_URI", "SRLAB_CACHE", "HOME", "OMP_NUM_THREADS"}
        if "priorityClassName" in spec:
            assert spec["priorityClassName"] in names("PriorityClass")


@pytest.mark.parametrize("overlay", OVERLAYS[:3])
def test_ports_probes_and_times_agree_with_the_server(wholes, overlay):
    manifests = wholes[overlay]
    parts, _ = make()
    public, admin = TestClient(make_app(parts)), TestClient(make_admin_app(parts))
    servers = [m for m in manifests if m["kind"] == "Deployment"]
    assert {m["metadata"]["name"] for m in servers} == {
        "srlab", "srlab-keeper", *(["srlab-canary"] if overlay.endswith("canary") else []),
    }  # fmt: skip
    for server in servers:
        template = server["spec"]["template"]
        one, given = container(template), settings(template)
        config = composed(*one["args"])
        ports = {port["name"]: port["containerPort"] for port in one["ports"]}
        assert ports == {"http": config.port, "admin": config.admin_port}
        assert (config.host, config.admin_host) == ("0.0.0.0", "0.0.0.0")
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = one[probe]["httpGet"]
            assert asked["port"] == "http"
            assert public.get(asked["path"]).status_code == 200
        assert one["startupProbe"]["httpGet"] == one["readinessProbe"]["httpGet"]
        assert one["livenessProbe"]["httpGet"]["path"] == "/healthz", "a server that ends must not be killed for it"
        ends = config.notice_seconds + config.drain_seconds
        assert template["spec"]["terminationGracePeriodSeconds"] >= ends + 15
        failing = one["readinessProbe"]["periodSeconds"]
        assert config.notice_seconds >= failing, "so that one look at /readyz falls into it"
        assert config.limits.deadline <= config.drain_seconds
        assert amount(one["resources"]["limits"]["memory"]) >= 1.2 * PEAK
        assert given["limits.memory_bytes"] == str(1024 * MIB), "what the peak was measured with"
        assert given["limits.pixels"] == str(2048**2)
        strategy = server["spec"]["strategy"]
        assert strategy["type"] == "RollingUpdate" or set(strategy) == {"type"}, "which Kubernetes refuses"
        labels = server["spec"]["template"]["metadata"]["labels"]
        assert server["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for service in (m for m in manifests if m["kind"] == "Service"):
            assert service["spec"]["selector"].items() <= labels.items()
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)
        for policy in (m for m in manifests if m["kind"] == "NetworkPolicy"):
            for rule in policy["spec"].get("ingress", []):
                assert {port["port"] for port in rule["ports"]} <= set(ports)
    (endpoint,) = of(manifests, "ServiceMonitor")["spec"]["endpoints"]
    administration = of(manifests, "Service", "srlab-admin")
    (port,) = administration["spec"]["ports"]
    objectives = yaml.safe_load((KUBERNETES.parent / "slo.yaml").read_text(encoding="utf-8"))
    label = of(manifests, "ServiceMonitor")["spec"]["jobLabel"]
    assert administration["metadata"]["labels"][label] == objectives["job"], "which the rules of srlab slo ask for"
    assert endpoint["port"] == port["name"]
    assert admin.get(endpoint["path"]).status_code == 200
    parts.service.close()
    distinct = [tuple(sorted(server["spec"]["selector"]["matchLabels"].items())) for server in servers]
    assert len(set(distinct)) == len(distinct), "a Deployment takes another's pods"
    selector = of(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    assert selector.items() <= of(manifests, "Deployment", "srlab")["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("overlay", OVERLAYS[:3])
def test_replicas_follow_a_number_that_the_service_has_and_have_a_hard_cap(wholes, overlay):
    manifests = wholes[overlay]
    scaled = of(manifests, "ScaledObject")["spec"]
    target = of(manifests, "Deployment", scaled["scaleTargetRef"]["name"])
    assert "replicas" not in target["spec"], "each time it is applied it would undo the scaling"
    others = [m for m in manifests if m["kind"] == "Deployment" and m is not target]
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]
    assert scaled["maxReplicaCount"] + sum(other["spec"]["replicas"] for other in others) <= 8 + overlay.endswith(
        "canary"
    )
    assert scaled["fallback"]["replicas"] <= scaled["maxReplicaCount"]
    (trigger,) = scaled["triggers"]
    metadata = trigger["metadata"]
    assert set(metadata) == {"serverAddress", "query", "threshold", "ignoreNullValues"}
    assert metadata["ignoreNullValues"] == "false", "a dead Prometheus would count as an empty queue"
    parts, _ = make()
    exported = parts.service.measures.page().decode()
    names = re.findall(r"srlab_\w+", metadata["query"])
    assert names == ["srlab_queue_seconds"]
    assert f"\n{names[0]} " in exported
    namespace = re.search(r'namespace="([^"]+)"', metadata["query"])[1]
    assert {m["metadata"]["namespace"] for m in manifests if m["kind"] != "Namespace"} == {namespace}
    deadline = composed(*container(target["spec"]["template"])["args"]).limits.deadline
    assert float(metadata["threshold"]) < deadline / 2, "more are started before requests are refused"
    parts.service.close()


def test_what_ends_a_job_is_an_exit_code_that_says_so(wholes):
    jobs = {
        m["metadata"]["name"]: m["spec"].get("jobTemplate", m)["spec"]
        for overlay in OVERLAYS
        for m in wholes[overlay]
        if m["kind"] in ("Job", "CronJob")
    }
    codes = {
        name: next(rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "FailJob")["onExitCodes"][
            "values"
        ]
        for name, job in jobs.items()
    }
    assert codes == {
        "srlab-drift": [2, 10], "srlab-golden": [2, 10], "srlab-rollout": [2, 3, 4, 5],
        "srlab-archive-best": [2], "srlab-archive-fast": [2],
    }  # fmt: skip
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    for code in ("2", "10", "3, 4, 5"):
        assert f"\n| {code} |" in readme
    assert composed(*container(jobs["srlab-drift"]["template"])["args"]).on_drift == 10
    assert composed(*container(jobs["srlab-golden"]["template"])["args"]).on_fall == 10
    for name, job in jobs.items():
        assert job["template"]["spec"]["restartPolicy"] == "Never", "what a podFailurePolicy asks for"
        ignored = [rule for rule in job["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"]
        gone = {"type": "DisruptionTarget", "status": "True"}
        assert ignored == [{"action": "Ignore", "onPodConditions": [gone]}], name


@pytest.mark.parametrize("overlay", OVERLAYS[:3])
def test_the_jobs_read_what_the_replica_beside_them_keeps_and_compare_as_it_does(wholes, overlay):
    found = dict(pods(wholes[overlay]))
    keeper, drift, golden = (
        found[name] for name in ("Deployment/srlab-keeper", "CronJob/srlab-drift", "CronJob/srlab-golden")
    )
    kept, looked, checked = (composed(*container(template)["args"]) for template in (keeper, drift, golden))
    assert looked.current == kept.incoming.file
    assert checked.check == kept.golden.folder
    assert checked.state == kept.golden.state, "what a version reached first is known to both"
    assert {each.name for each in (kept, looked, checked)} == {"photos"}
    assert checked.alias == kept.alias == "champion"
    assert looked.reference is None, "that of the champion, as the service's"
    assert kept.incoming.reference is None
    for key in ("crop", "embedding", "clear_after", "horizon", "alpha", "min_images", "max_unusable"):
        assert looked[key] == kept.incoming[key], key
    assert checked.protocol == kept.golden.protocol
    assert checked.lpips == kept.golden.lpips
    assert kept.incoming.window >= looked.min_images
    claims = []
    for template in (keeper, drift, golden):
        spec = template["spec"]
        claims += [v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if v["name"] == "data"]
    assert claims == ["srlab-data"] * 3
    assert of(wholes[overlay], "PersistentVolumeClaim", claims[0])["spec"]["accessModes"] == ["ReadWriteOnce"]
    for template in (drift, golden):
        (term,) = template["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert term["topologyKey"] == "kubernetes.io/hostname"
        assert term["labelSelector"]["matchLabels"].items() <= keeper["metadata"]["labels"].items()


def test_the_archive_has_two_tiers_on_spot_nodes(wholes):
    found = {name: (template, settings(template)) for name, template in pods(wholes["archive"])}
    assert {name: given["restorer"] for name, (_, given) in found.items()} == {
        "Job/srlab-archive-best": "models:/photos@champion", "Job/srlab-archive-fast": "edge_x2",
    }  # fmt: skip
    for template, given in found.values():
        terms = template["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert all("spot" in str(term).lower() for term in terms["nodeSelectorTerms"])
        assert not given["output"].startswith(given["input"] + "/")
        assert template["spec"]["terminationGracePeriodSeconds"] < 30
    outputs = [given["output"] for _, given in found.values()]
    assert len(set(outputs)) == 2
    assert of(wholes["archive"], "PriorityClass")["value"] < 0
