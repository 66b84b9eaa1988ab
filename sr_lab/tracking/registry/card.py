"""The model card of a registered version: what the model is for, what it has seen, what was measured, and a warning."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.base.words import counted
from sr_lab.tracking.evaluations import TABLES, Evaluation, read

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from sr_lab.artefacts.artefact import Artefact
    from sr_lab.networks.base import Network

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
    """What the store knows about the run of a model.

    Attributes:
        run_id: The run.
        tags: Its tags.
        benchmarks: Its test numbers.
        environment: Its ``environment/`` files by path.
        untracked: Folders in which it keeps source that no commit has.
    """

    run_id: str
    tags: Mapping[str, str]
    benchmarks: Sequence[Evaluation] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    untracked: Sequence[str] = ()


def run_facts(client: "MlflowClient", run: "MlflowRun") -> RunFacts:
    """Reads a run's test numbers with their per-image tables, and its ``environment/`` files."""
    benchmarks = read(client, run, _texts(client, run, TABLES))
    return RunFacts(
        run_id=str(run.info.run_id),
        tags=dict(run.data.tags),
        benchmarks=benchmarks,
        environment=_texts(client, run, "environment"),
        untracked=[
            f"{file.path}/"
            for file in client.list_artifacts(run.info.run_id, "code")
            if Path(file.path).name.startswith("untracked")
        ],
    )


def model_card(
    facts: RunFacts,
    *,
    title: str,
    artefact: "Artefact",
    intended_use: str = INTENDED_USE,
    cautions: Sequence[str] = (),
) -> str:
    """The card as Markdown; what is not known is said, not left out.

    What the model is and has seen is told from the artefact itself, whose hashes were compared with its files; the
    store gives the numbers and the environment. MLflow keeps one entry for equal files, whatever a run made of them.

    Args:
        facts: of the model's run.
        title: name and version.
        artefact: the model with its configuration and its metadata.
        intended_use: what it is for.
        cautions: what has to be known of the numbers, in sentences.
    """
    parts = [
        f"# {title}",
        described(artefact.network),
        "## Intended use",
        intended_use,
        "## Warning: invented detail",
        WARNING,
        _invented(facts),
        "## Training data",
        *_data(facts, artefact),
        "## Measured limits",
        *cautions,
        *_measured(facts, artefact),
        "## Lineage",
        *_lineage(facts, artefact.metadata),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def described(network: "Network") -> str:
    """The network in a sentence."""
    work = getattr(network, "work", None)  # of a graph, which has no parameters of its own
    count = int(work[0]) if work else sum(parameter.numel() for parameter in network.parameters())
    channels = {1: "grey", 3: "RGB"}.get(network.num_channels, f"{network.num_channels}-channel")
    kind = type(network).__name__
    return (
        f"The network is {kind} with {counted(count, 'parameter')}. It enlarges {channels} pictures by {network.scale}."
    )


def _invented(facts: RunFacts) -> str:
    values = [f"{b.means['hallucination']:.4f} on {b.name}" for b in facts.benchmarks if "hallucination" in b.means]
    return f"Measured score of invented detail, less is better: {', '.join(values)}." if values else (
        "How much this model invents was not measured."
    )  # fmt: skip


def _data(facts: RunFacts, artefact: "Artefact") -> list[str]:
    config, seen = artefact.config, artefact.metadata.get("images")
    unknown, source = artefact.metadata.get("unknown_history"), artefact.metadata.get("source")
    data = config.get("data") if isinstance(config.get("data"), Mapping) else None
    parts = []
    if unknown:
        parts.append(
            f"It comes from weights that others have trained: {', '.join(f'`{name}`' for name in unknown)}. Which "
            "images those were trained and selected on is not recorded, so that any test image may be among them. It "
            "can be promoted only under a policy that accepts that (`accept_unknown_history: true`)."
        )
    if source:
        parts.append(f"Its authors say of the training: {source['trained_on']}.")
        return parts
    if seen:
        trained, chosen = (len(seen.get(key, [])) for key in ("train", "val"))
        parts.append(
            f"The weights have seen {counted(trained, 'image')} to train on and {chosen} to choose by, those of the "
            "networks that they come from included."
        )
    else:
        parts.append("Which images it was trained and selected on is not recorded: it cannot be promoted.")
    if data is None:
        parts.append("Its training data are not recorded.")
        return parts
    for key, context in (("train", "training"), ("val", "validation")):
        roots = _roots(data.get(key))
        version = facts.tags.get(f"data.{context}")
        known = f" Their version is `{version[:16]}`." if version else ""
        parts.append(f"The {context} images are those of `{data.get('name', 'a data set')}`{roots}.{known}")
    made = data.get("degradation")
    if made is None:
        parts.append("The low-resolution images were given with the data.")
    else:
        text = json.dumps(_short(made))
        more = "" if len(text) <= 600 else " and so on, as config.yaml has it"
        parts.append(f"The low-resolution images were made from the large ones by `{text[:600]}`{more}.")
    if start := config.get("initial"):
        parts.append(f"The training started from the weights `{Path(str(start)).name}`.")
    return parts


def _roots(source: Any) -> str:
    """Where a source's images lie, as far as its settings say it."""
    if not isinstance(source, Mapping):
        return ""
    found = [source[key] for key in ("roots", "high", "low", "root", "folder", "manifest") if source.get(key)]
    names = [Path(str(name)).name for entry in found for name in (entry if isinstance(entry, list) else [entry])]
    return f" (in {', '.join(f'`{name}`' for name in names)})" if names else ""


def _short(node: Any) -> Any:
    """A configuration with the last names of its classes."""
    if isinstance(node, Mapping):
        return {str(key).strip("_"): str(value).rpartition(".")[2] if key == "_target_" else _short(value)
                for key, value in node.items()}  # fmt: skip
    return [_short(child) for child in node] if isinstance(node, list) else node


def _measured(facts: RunFacts, artefact: "Artefact") -> list[str]:
    scale, metadata = artefact.scale, artefact.metadata
    parts = []
    for benchmark in facts.benchmarks:
        keys = [key for key in benchmark.means if not key.startswith("gain_")]
        rows = ["| metric | mean | gain over bicubic | worst image | worse than bicubic |", "|---|---|---|---|---|"]
        for key in keys:
            gain = benchmark.means.get(f"gain_{key}")
            shown = "" if gain is None else f"{gain:+.4f}"
            rows.append(f"| {key} | {benchmark.means[key]:.4f} | {shown} | {_worst(benchmark, key)} |")
        count = counted(len(benchmark.rows), "image") if benchmark.rows else "test images"
        parts.append(f"On the {count} of {benchmark.name}, under the protocol `{benchmark.protocol}`, it reached:")
        parts.append("\n".join(rows))
    if not facts.benchmarks:
        parts.append("Nothing was measured on test images (`srlab evaluate ... run=DIR` does, before registering).")
    chosen = {k: v for k, v in metadata.get("metrics", {}).items() if k != "step"}
    if chosen:
        numbers = ", ".join(f"{key} {value:.4f}" for key, value in sorted(chosen.items()))
        parts.append(
            f"On the validation images it reached {numbers}. Its weights were chosen by these images, so that the "
            "numbers are too good."
        )
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
    if source := metadata.get("source"):
        return [
            f"It was not trained here: it is out of the package `{source['package']}` {source['version']} of the "
            f"package index (licence {source['licence']}), registered by the run `{facts.run_id}`. The package's "
            "files, and ours:",
            "\n".join(
                f"- {name}: SHA-256 `{value}`"
                for name, value in sorted({**source["sha256"], **metadata.get("sha256", {})}.items())
            ),
        ]
    if (precision := metadata.get("precision")) is not None:
        (parent,), version = metadata["parents"], metadata.get("registry")
        of = f"version {version['version']} of {version['name']}" if version else f"`{Path(str(parent['name'])).name}`"
        judged = facts.tags.get("export.judged")
        return [
            f"It was not trained: it is an export of {of} in {precision} (weights `{parent['weights']}`), registered "
            f"by the run `{facts.run_id}`; export.json beside it tells how it was checked."
            + (f" Against the network in float it was judged at {judged}." if judged else ""),
            "\n".join(f"- {name}: SHA-256 `{value}`" for name, value in sorted(metadata.get("sha256", {}).items())),
        ]
    commit, dirty = metadata.get("commit"), metadata.get("dirty")
    code = f"of commit `{commit}`" if commit else "of an unknown commit"
    files = [*(["code/dirty.diff"] if dirty else []), *facts.untracked]
    changes = f", with changes that the run keeps as {' and '.join(files)}" if files else ""
    packages = facts.environment.get("environment/packages.txt", "").splitlines()
    torch = next((line for line in packages if line.startswith("torch==")), "an unknown torch")
    listed = f" {counted(len(packages), 'package', 'is/are')} in environment/packages.txt." if packages else ""
    hashes = [f"- {name}: SHA-256 `{value}`" for name, value in sorted(metadata.get("sha256", {}).items())]
    return [
        f"It was trained by the run `{facts.run_id}` with the code {code}{changes}.",
        f"The version of its data is `{metadata.get('data_version', 'unknown')}`. Its files are:",
        "\n".join(hashes),
        f"It was trained under Python {facts.tags.get('env.python', 'unknown')} with {torch} on "
        f"{facts.tags.get('env.platform', 'an unknown platform')}, processor {facts.tags.get('env.cpu', 'unknown')}, "
        f"GPU {facts.tags.get('env.gpu', 'unknown')}.{listed}",
    ]


def _texts(client: "MlflowClient", run: "MlflowRun", folder: str) -> dict[str, str]:
    """The text files in an artefact folder of a run, by path."""
    files = [file.path for file in client.list_artifacts(run.info.run_id, folder) if not file.is_dir]
    with tempfile.TemporaryDirectory() as directory:
        return {
            path: Path(client.download_artifacts(run.info.run_id, path, directory)).read_text(encoding="utf-8")
            for path in files
        }
