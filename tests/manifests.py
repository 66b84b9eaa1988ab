"""The Kubernetes manifests as kustomize builds them, and what checks kinds that Kubernetes itself does not know."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sr_lab.config.tree import config_dir

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = config_dir() / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
WEB = Path(os.environ.get("SRLAB_WEB") or ROOT / ".web") / "node_modules"
"""Where .ci/run has npm install packages."""
MODELS = {
    "keda.sh": "keda", "monitoring.coreos.com": "prometheus-operator", "serving.knative.dev": "knative",
}  # fmt: skip
"""Packages @kubernetes-models/... by the API group of what they describe."""
Manifest = dict[str, Any]


def built(folder: str) -> list[Manifest]:
    """What ``kubectl apply --kustomize`` would send; skipped, visibly, where there is neither kubectl nor kustomize."""
    command = next(
        (command for command in (["kustomize", "build"], ["kubectl", "kustomize"]) if shutil.which(command[0])), None
    )
    if command is None:
        pytest.skip("needs kubectl or kustomize (https://kubectl.docs.kubernetes.io/installation/kustomize)")
    done = subprocess.run([*command, str(KUBERNETES / folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # what is deprecated
    return list(yaml.safe_load_all(done.stdout))


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """The template of each pod, with the kind and name of what makes it."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield f"{manifest['kind']}/{manifest['metadata']['name']}", spec["template"]


def container(template: Manifest) -> Manifest:
    """The only one of a pod."""
    (found,) = template["spec"]["containers"]
    return dict(found)


def settings(template: Manifest) -> dict[str, str]:
    """The ``key=value`` words of its command."""
    return dict(word.split("=", 1) for word in container(template)["args"][1:])


def wrong_by_types(manifests: list[Manifest], folder: Path) -> str:
    """What TypeScript says of manifests, by the types that are made of the CRDs; empty if nothing.

    A key that the type lacks, or a value of another kind, is an error; skipped where npm has not installed the types.
    """
    lines = []
    for number, manifest in enumerate(manifests):
        group, _, version = manifest["apiVersion"].partition("/")
        kind = manifest["kind"]
        place = f"@kubernetes-models/{MODELS[group]}/{group}/{version}/{kind}"
        lines.append(f'import type {{ I{kind} as T{number} }} from "{place}";')
        lines.append(f"export const m{number}: T{number} = {json.dumps(manifest)};")
    if not all(
        (WEB / place).is_dir() for place in ("typescript", *(f"@kubernetes-models/{m}" for m in MODELS.values()))
    ):
        pytest.skip("needs npm install --prefix .web typescript @kubernetes-models/{keda,prometheus-operator,knative}")
    (folder / "node_modules").symlink_to(WEB)
    (folder / "manifests.ts").write_text("\n".join(lines))
    command = [
        str(WEB / ".bin" / "tsc"),
        "--noEmit",
        "--strict",
        "--skipLibCheck",
        "--module",
        "nodenext",
        "manifests.ts",
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode in (0, 1, 2), done.stderr
    return done.stdout + done.stderr
