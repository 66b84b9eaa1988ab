"""Measure what the images are like while all is well: the reference that ``watch`` compares with."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sr_lab.base.words import line, setting
from sr_lab.inference.consistency import LoadedRestorer
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.monitoring.embedding import Embedding
from sr_lab.monitoring.features import feature, feature_columns
from sr_lab.monitoring.measuring import Extractor, measure_folder
from sr_lab.monitoring.profile import Profile, write_profile
from sr_lab.tracking.registry.aliases import CHAMPION, aliases, place
from sr_lab.tracking.registry.references import fetch_reference, keep_reference
from sr_lab.tracking.store import store_uri
from sr_lab.workflows.watch.look import check_workers
from sr_lab.workflows.watch.telling import Progress, interruptible, told


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """A profile that was measured and written.

    Attributes:
        profile: The features of the images.
        path: The Parquet file.
        seconds: Wall time of the measuring.
        version: Version that it is kept with as its reference; None where it is kept with none.
    """

    profile: Profile
    path: Path
    seconds: float
    version: int | None = None

    @property
    def skipped(self) -> Mapping[str, str]:
        """The files that could not be used, each with its reason."""
        return dict(self.profile.facts["skipped"])

    @property
    def lines(self) -> list[str]:
        """One line a feature, for people."""
        lines = []
        for name in feature_columns(self.profile.table):
            known, values = feature(name), self.profile.table[name]
            low, middle, high = (f"{value:.{known.decimals}f}" for value in values.quantile([0.05, 0.5, 0.95]))
            text = "none" if values.isna().all() else f"median {middle}, 90 % in {low} to {high} {known.unit}".rstrip()
            missing = f", none in {values.isna().sum()}" if 0 < values.isna().sum() < len(values) else ""
            lines.append(f"{known.label}: {text}{missing}")
        return lines


def feature_extractor(
    *,
    embedding: Embedding,
    crop: int = 512,
    restorer: LoadedRestorer | None = None,
    num_samples: int = 4,
    side: int = 128,
) -> Extractor:
    """What measures an image: the features of the input and, with a restorer, those of its output.

    Args:
        embedding: Embedding of the content.
        crop: Side, in pixels, of the square in the middle of a larger image that is measured.
        restorer: Restorer whose outputs are measured too; None for the features of the inputs alone.
        num_samples: Number of samples of a generative restorer, for their spread.
        side: Side, in pixels, of the square that is restored.

    Raises:
        ValueError: if ``crop`` is below 64, or ``num_samples`` below 2.
    """
    if restorer is None:
        return Extractor(embedding=embedding, crop=crop)
    from sr_lab.monitoring.outputs import RestoredOutputs

    if num_samples < 2:
        raise ValueError(f"num_samples={num_samples}: one sample has no spread, give 2 or more")
    known = restorer.metadata
    identity = "bicubic" if known is None else str(known.get("sha256", known.get("weights", "unknown")))
    device = "cpu"
    if isinstance(restorer, NetworkRestorer):
        device = next((str(weight.device) for weight in restorer.network.parameters()), device)
    variance = None
    if isinstance(restorer, NetworkRestorer) and restorer.generative:
        generative = restorer

        def variance(low: Tensor) -> Tensor:
            return generative.moments(low.to(device), num=num_samples)[1].cpu()

    outputs = RestoredOutputs(
        restore=lambda low: restorer(low.to(device)).cpu(),
        scale=int(restorer.scale),
        identity=identity,
        variance=variance,
        side=side,
    )
    return Extractor(embedding=embedding, crop=crop, outputs=outputs)


def measure_profile(
    folder: Path,
    output: Path,
    *,
    extractor: Extractor,
    num_images: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    name: str | None = None,
    version: int | None = None,
    tracking_uri: str | None = None,
) -> ProfileResult:
    """Measures a folder of images and writes the profile that ``watch`` compares with.

    Args:
        folder: Folder of images as they came while all was well, searched with its folders below.
        output: Parquet file to write.
        extractor: What measures an image; see ``feature_extractor``.
        num_images: Largest number of images, evenly spaced in the sorted list; None for all.
        workers: Number of processes; with a restorer only 1.
        progress: Is told how many images are done, and of how many; None shows a bar on a terminal.
        name: Registered model whose version was made for such images: the profile is kept with the version's run too,
            as the reference of a service and of ``srlab watch``. None keeps it with none.
        version: Its version; None for the champion.
        tracking_uri: The store that has the registry.

    Raises:
        ValueError: if the folder is missing or holds no image that can be used, or there is no such version.
        OSError: if the file cannot be written.
    """
    check_workers(extractor, workers)
    start = time.perf_counter()
    if output.is_dir():
        raise ValueError(f"output={output} is a folder: give the Parquet file to write")
    with told("profile", progress) as tell, interruptible():
        profile = measure_folder(folder, extractor, num_images=num_images, workers=workers, progress=tell)
    seconds = time.perf_counter() - start
    write_profile(profile, output)
    if name is not None:
        version = version or champion_version(name, tracking_uri=tracking_uri)
        keep_reference(store_uri(tracking_uri), name, version, output)
    return ProfileResult(profile=profile, path=output, seconds=seconds, version=version)


def champion_version(name: str, *, tracking_uri: str | None = None) -> int:
    """The version of a registered model that is champion.

    Raises:
        ValueError: if there is no such model, or it has none.
    """
    found = aliases(store_uri(tracking_uri), name).get(CHAMPION)
    if found is None:
        raise ValueError(f"{name} has no champion: give version=, or {line('promote', setting('name', name))} first")
    return found


def reference_of(name: str, *, tracking_uri: str, to: Path) -> Path:
    """Writes the reference that is kept with the champion to a file, which it gives.

    Raises:
        ValueError: If none is kept with it.
    """
    version = champion_version(name, tracking_uri=tracking_uri)
    if not fetch_reference(tracking_uri, name, version, to=to):
        making = line("profile", "input=PHOTOS", "output=reference.parquet", *place(tracking_uri, name))
        raise ValueError(f"no reference is kept with {name} version {version}: {making}  first, or reference=PROFILE")
    return to
