"""The model card of a registered version: what the model is for, what it has seen, what was measured, and a warning."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.tracking.evaluations import TABLES, Evaluation, read

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from sr_lab.networks.base import Network

CARD = "MODEL_CARD.md"
INTENDED_USE = (
    "Enlarging pictures for people to look at, of the kind that it was trained on (below). Not for measuring, "
    "diagnosing, identifying, reading what the low-resolution picture does not show, or as evidence of anything."
)
WARNING = (
    "A super-resolution network fills in detail that its input does not hold. It is what the network has learnt to "
    "expect, not what the camera recorded: it can look right and be wrong. Letters, numbers, faces, cells and regular "
    "patterns are where invented detail misleads most. Conclude nothing from a detail that only the restored picture "
    "shows, and keep the low-resolution picture with it."
)


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What the store knows about the run of a model."""

    run_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    datasets: Sequence[Mapping[str, Any]] = ()
    benchmarks: Sequence[Evaluation] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def run_facts(client: "MlflowClient", run: "MlflowRun") -> RunFacts:
    """Reads a run's data sets, test numbers with their per-image tables, and its ``environment/`` files."""
    benchmarks = read(client, run, _texts(client, run, TABLES))
    datasets = [
        {
            "name": given.dataset.name,
            "digest": run.data.tags.get(f"data.{tag.value}", given.dataset.digest),
            "source": json.loads(given.dataset.source or "{}").get("uri", ""),
            "context": tag.value,
            **json.loads(given.dataset.profile or "{}"),
        }
        for given in (run.inputs.dataset_inputs if run.inputs else [])
        for tag in given.tags
        if tag.key == "mlflow.data.context"
    ]
    return RunFacts(
        run_id=str(run.info.run_id),
        tags=dict(run.data.tags),
        params=dict(run.data.params),
        datasets=sorted(datasets, key=lambda entry: str(entry["context"])),
        benchmarks=benchmarks,
        environment=_texts(client, run, "environment"),
    )


def model_card(
    facts: RunFacts,
    *,
    title: str,
    network: str,
    metadata: Mapping[str, Any],
    intended_use: str = INTENDED_USE,
) -> str:
    """The card as Markdown; what is not known is said, not left out.

    Args:
        facts: of the model's run.
        title: name and version.
        network: what it is, in words.
        metadata: of the artefact.
        intended_use: what it is for.
    """
    parts = [
        f"# {title}",
        network,
        "## Intended use",
        intended_use,
        "## Warning: invented detail",
        WARNING,
        _invented(facts),
        "## Training data",
        *_data(facts, metadata),
        "## Measured limits",
        *_measured(facts, metadata),
        "## Lineage",
        *_lineage(facts, metadata),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def described(network: "Network") -> str:
    """The network in a sentence."""
    count = sum(parameter.numel() for parameter in network.parameters())
    channels = {1: "grey", 3: "RGB"}.get(network.num_channels, f"{network.num_channels} channels")
    return f"{type(network).__name__}, {count:,} parameters, enlarges {channels} pictures by {network.scale}."


def _invented(facts: RunFacts) -> str:
    values = [f"{b.means['hallucination']:.4f} on {b.name}" for b in facts.benchmarks if "hallucination" in b.means]
    return f"Measured score of invented detail, less is better: {', '.join(values)}." if values else (
        "How much this model invents was not measured."
    )  # fmt: skip


def _data(facts: RunFacts, metadata: Mapping[str, Any]) -> list[str]:
    if not facts.datasets:
        return ["Not recorded."]
    lines = []
    for data in facts.datasets:
        left_out = len(data.get("excluded", []))
        lines.append(
            f"- {data['context']}: {data['name']}, number of images {data.get('num_images', 'unknown')}, version "
            f"`{str(data['digest'])[:16]}`" + (f", {left_out} left out by the audit" if left_out else "")
        )
    profile = facts.datasets[0]
    low = "given with the data" if profile.get("degradation") is None else f"`{json.dumps(profile['degradation'])}`"
    start = facts.params.get("initial", "None")
    begun = "" if start in ("None", "null") else f"\n\nThe training started from the weights `{Path(start).name}`."
    seen = metadata.get("images")
    known = "" if seen else " Which images it was trained and selected on is not recorded: it cannot be promoted."
    return ["\n".join(lines), f"Low-resolution images: {low[:600]}.{known}{begun}"]


def _measured(facts: RunFacts, metadata: Mapping[str, Any]) -> list[str]:
    scale = facts.params.get("scale", "its scale")
    parts = []
    for benchmark in facts.benchmarks:
        keys = [key for key in benchmark.means if not key.startswith("gain_")]
        rows = ["| metric | mean | gain over bicubic | worst image | worse than bicubic |", "|---|---|---|---|---|"]
        for key in keys:
            gain = benchmark.means.get(f"gain_{key}")
            shown = "" if gain is None else f"{gain:+.4f}"
            rows.append(f"| {key} | {benchmark.means[key]:.4f} | {shown} | {_worst(benchmark, key)} |")
        parts.append(f"{benchmark.name}, protocol `{benchmark.protocol}`, number of images {len(benchmark.rows)}:")
        parts.append("\n".join(rows))
    if not facts.benchmarks:
        parts.append("Nothing was measured on test images (`srlab evaluate ... run=DIR` does, before registering).")
    chosen = {k: v for k, v in metadata.get("metrics", {}).items() if k != "step"}
    if chosen:
        numbers = ", ".join(f"{key} {value:.4f}" for key, value in sorted(chosen.items()))
        parts.append(f"On the validation images, by which its weights were chosen, so too good: {numbers}.")
    parts.append(
        f"It enlarges by {scale} only. Nothing is known about low-resolution images that were made in another way than "
        "those above (other blur, noise, compression), nor about other content than that of the test images."
    )
    return parts


def _worst(benchmark: Evaluation, key: str) -> str:
    """Cells: the worst image, and the number of images on which bicubic is better."""
    rows = [row for row in benchmark.rows if isinstance(row.get(key), int | float)]
    bicubic = [row["bicubic"].get(key) if isinstance(row.get("bicubic"), dict) else None for row in rows]
    gain = benchmark.means.get(f"gain_{key}")
    if not rows or gain is None or any(not isinstance(value, int | float) for value in bicubic):
        return "|"
    mean_own, mean_other = (sum(values) for values in ([row[key] for row in rows], bicubic))
    sign = 1 if (mean_own >= mean_other) == (gain >= 0) else -1
    worst = min(rows, key=lambda row: sign * row[key])
    lost = sum(sign * (row[key] - other) < 0 for row, other in zip(rows, bicubic, strict=True))
    return f"{worst[key]:.4f} ({worst['image']}) | {lost} of {len(rows)}"


def _lineage(facts: RunFacts, metadata: Mapping[str, Any]) -> list[str]:
    dirty = " with changes (code/dirty.diff of the run)" if facts.tags.get("git.dirty") == "true" else ""
    hashes = metadata.get("sha256", {})
    packages = facts.environment.get("environment/packages.txt", "").splitlines()
    torch = next((line for line in packages if line.startswith("torch==")), "torch unknown")
    lines = [
        f"- run: `{facts.run_id}`",
        f"- code: `{facts.tags.get('git.commit', 'unknown')}`{dirty}",
        f"- data version: `{metadata.get('data_version', 'unknown')}`",
        *(f"- {name}: SHA-256 `{value}`" for name, value in sorted(hashes.items())),
        f"- environment: Python {facts.tags.get('env.python', 'unknown')}, {torch}, "
        f"{facts.tags.get('env.platform', 'unknown platform')}, {facts.tags.get('env.cpu', 'unknown processor')}, GPU "
        f"{facts.tags.get('env.gpu', 'unknown')}; all {len(packages)} packages are in environment/packages.txt",
    ]
    return ["\n".join(lines)]


def _texts(client: "MlflowClient", run: "MlflowRun", folder: str) -> dict[str, str]:
    """The text files in an artefact folder of a run, by path."""
    files = [file.path for file in client.list_artifacts(run.info.run_id, folder) if not file.is_dir]
    with tempfile.TemporaryDirectory() as directory:
        return {
            path: Path(client.download_artifacts(run.info.run_id, path, directory)).read_text(encoding="utf-8")
            for path in files
        }
