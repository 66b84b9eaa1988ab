"""The Lightning data module: sources, degradation and cache become batches."""

import logging
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import cv2
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from sr_lab.base.words import counted
from sr_lab.data.audit import kept_exclusions
from sr_lab.data.blocks import Block
from sr_lab.data.clips import Clips, ValClips, runs
from sr_lab.data.datasets import NUM_OPERATIONS, Augment, Batch, CropDataset, ImageDataset, degrade, to_float
from sr_lab.data.manifest import FileIndex, combined_digest
from sr_lab.data.parts import DataPart
from sr_lab.data.resident import DrawDataset, ResidentImages
from sr_lab.data.sampler import KeyedBatchSampler
from sr_lab.data.sources import Item, Source
from sr_lab.degradations.base import Degradation
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import list_images

LOG = logging.getLogger(__name__)
StartMethod = Literal["fork", "spawn", "forkserver"]


class SRDataModule(pl.LightningDataModule):
    """Train batches of random crops, val batches of one whole image.

    Train batches: ``low`` (B, C, crop / scale, crop / scale), ``high`` (B, C, crop, crop) float32 in [0, 1], ``index``
    and ``epoch`` (B,) int64 on the host; where the degradation changes the target, ``high`` is the target and
    ``original`` the unchanged crop. Val batches: ``low``, ``high`` (1, C, H, W) and ``name``, a list of one. Batches
    travel as uint8 or uint16 and become float on the device. Where there are several to a step, or several
    steps to a block, the training gets a :class:`Block` of train batches. With ``clips`` all images have a dimension of
    time behind the first one: ``high`` (B, T, C, crop, crop). Every process validates all images, so use
    ``Trainer(use_distributed_sampler=False)``.

    Images shared with ``val`` or ``holdout``, and second copies, are left out of training, with a warning that names
    both files.

    Args:
        name: Name of the data, for tracking.
        train: Source of the training images.
        val: Source of the validation images.
        degradation: Degradation that makes the low images of sources that have none; None where both are paired.
        scale: Enlargement factor: high pixels for one low pixel, along a side.
        crop: Side of the high crops, a multiple of ``scale``.
        batch_size: Number of crops in a batch of one process.
        seed: Seed of the orders, crops, flips and random degradations.
        cache: Folder of the decoded caches, which all runs share.
        num_workers: Number of loader processes; 0 loads in the main process. Batches do not depend on it.
        repeats: Number of crops of each image in an epoch.
        augment: ``dihedral`` draws one of the 8 flips and rotations, ``flips`` one of 4 without turning, or ``none``.
        small: What becomes of an image smaller than the crop: ``error``, ``skip`` it, or ``pad`` it by mirroring.
        holdout: Folders of test images that must not be trained on.
        degrade_in: Where a random degradation runs: in the ``worker``, or on the ``device`` for a whole batch.
        pin_memory: None pins if there is a GPU.
        start_method: How worker processes start: ``fork``, ``spawn`` or ``forkserver``; None is the system's way.
        accumulate: Number of batches whose gradients make one optimizer step.
        images_on: Where the training images are: on the ``host``, mapped from the cache, or all on the ``device``,
            where crops are then cut, flipped and degraded; the batches are the same.
        steps_per_batch: Number of optimizer steps that are loaded, sent to the device and handed to the training
            together, as one batch of Lightning's; the samples of each step do not depend on it.
        clips: How clips are made of the images: camera paths over photos, or folders whose images are frames; None
            trains on images. With frames a clip that shows an image of ``val`` or ``holdout`` is left out as a whole.

    Raises:
        ValueError: if the arguments do not fit together.
    """

    def __init__(
        self,
        *,
        name: str,
        train: Source,
        val: Source,
        degradation: Degradation | None,
        scale: int,
        crop: int,
        batch_size: int,
        seed: int,
        cache: str | Path,
        num_workers: int = 0,
        repeats: int = 1,
        augment: Augment = "dihedral",
        small: Literal["error", "skip", "pad"] = "error",
        holdout: Sequence[str | Path] = (),
        degrade_in: Literal["worker", "device"] = "device",
        pin_memory: bool | None = None,
        start_method: StartMethod | None = None,
        accumulate: int = 1,
        images_on: Literal["host", "device"] = "host",
        steps_per_batch: int = 1,
        clips: Clips | None = None,
    ) -> None:
        super().__init__()
        counts = {"scale": scale, "crop": crop, "batch_size": batch_size, "repeats": repeats, "accumulate": accumulate}
        for label, value in (counts | {"steps_per_batch": steps_per_batch}).items():
            if value < 1:
                raise ValueError(f"{label}={value}: must be at least 1")
        if crop % scale:
            raise ValueError(f"crop={crop} is not a multiple of scale={scale}: {crop // scale * scale or scale} is")
        if augment not in NUM_OPERATIONS:
            raise ValueError(f"augment={augment!r}: must be one of {', '.join(NUM_OPERATIONS)}")
        if small not in ("error", "skip", "pad"):
            raise ValueError(f"small={small!r}: must be 'error', 'skip' or 'pad'")
        if images_on not in ("host", "device"):
            raise ValueError(f"images_on={images_on!r}: must be 'host' or 'device'")
        if images_on == "device" and degrade_in == "worker":
            raise ValueError("images_on=device cuts the crops there: degrade them there too (degrade_in=device)")
        if clips is not None:
            _check_clips(clips, paired=train.paired or val.paired, small=small, images_on=images_on)
        if degradation is None and not (train.paired and val.paired):
            raise ValueError("degradation is None, but a source has no low images: give one, or use PairedSource")
        if degradation is not None and train.paired and val.paired:
            raise ValueError(
                "the degradation is used by nothing: training and validation images have low images of their own. Give "
                "degradation=null, or originals alone (data=folder)"
            )
        if degradation is not None and train.paired != val.paired and not isinstance(degradation, Bicubic):
            with_low, without = ("training", "validation") if train.paired else ("validation", "training")
            raise ValueError(
                f"the degradation would change the {without} images alone: those of the {with_low} have low images of "
                "their own, which are bicubic by custom. Take degradation=bicubic, or data that have originals alone "
                "in both (data=folder; data=t91_bsds400_blind instead of data=t91_bsds400)"
            )
        if degradation is not None and degradation.scale != scale:
            raise ValueError(f"the degradation shrinks by {degradation.scale}, but scale={scale}")
        self.name, self.degradation, self.scale, self.crop = name, degradation, scale, crop
        self.batch_size, self.seed, self.num_workers, self.repeats = batch_size, seed, num_workers, repeats
        self.augment: Augment = augment
        self.small, self.degrade_in, self.images_on = small, degrade_in, images_on
        self.holdout = [Path(folder) for folder in holdout]
        self.cache = Path(cache).expanduser()
        self.pin_memory = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.start_method = start_method
        self.accumulate, self.steps_per_batch, self.clips = accumulate, steps_per_batch, clips
        self.sources = {"train": train, "val": val}
        self.excluded: list[str] = []
        self._train_dataset: CropDataset | None = None
        self._val_dataset: ImageDataset | ValClips | None = None
        self._resident: ResidentImages | None = None

    @cached_property
    def parts(self) -> dict[str, DataPart]:
        """``train`` and ``val`` with the facts of their files, after the audit; files are read, nothing is cached.

        Raises:
            ValueError: if a folder is missing or holds no image.
        """
        index = FileIndex(self.cache / "files.json")
        deterministic = self.degradation is not None and self.degradation.deterministic
        found = {}
        for label, source in self.sources.items():
            store_low = deterministic if label == "train" or self.clips else self.degradation is not None
            store_low = store_low and (self.clips is None or self.clips.cuts)
            part = DataPart(label, source, self.scale, self.degradation, store_low, self.seed, source.items)
            part.scan(index)
            if self.small != "error":
                part.leave_out_tiny()
            found[label] = part
        self._leave_out_findings(found, index)
        return found

    @property
    def data_version(self) -> str:
        """Digest over path, size and hash of every training and validation file."""
        return combined_digest(f"{label} {part.manifest.digest}" for label, part in self.parts.items())

    @property
    def images(self) -> dict[str, list[str]]:
        """SHA-256 of every file that a run sees: ``train`` it learns from, by ``val`` its weights are chosen."""
        return {label: sorted({entry.sha256 for entry in part.manifest.entries}) for label, part in self.parts.items()}

    def describe(self) -> list[dict[str, Any]]:
        """What tracking records of training and validation data: name, digest, source, context, profile."""
        shared = {
            "scale": self.scale,
            "degradation": None if self.degradation is None else self.degradation.settings(),
            "degradation_fingerprint": None if self.degradation is None else self.degradation.fingerprint(),
        }
        contexts = {"train": "training", "val": "validation"}
        return [
            {
                "name": f"{self.name}-{label}",
                "digest": part.manifest.digest,
                "source": ", ".join(str(root) for root in part.source.roots),
                "context": contexts[label],
                "profile": {
                    **shared,
                    "num_images": len(part.items),
                    "num_bytes": sum(entry.size for entry in part.manifest.entries),
                    "excluded": self.excluded if label == "train" else [],
                },
            }
            for label, part in self.parts.items()
        ]

    def problems(self, *, num_channels: int | None = None) -> list[str]:
        """Everything that would stop a run, one message each; empty if the data are fit.

        Every file has been decoded once when this returns.

        Args:
            num_channels: channels that the network takes.
        """
        found: list[str] = []
        for source in self.sources.values():
            try:
                _ = source.items
            except (ValueError, OSError) as error:
                found.append(str(error))
        missing = [folder for folder in self.holdout if not folder.is_dir()]
        found += [f"holdout folder {folder} does not exist: take it out of data.holdout" for folder in missing]
        if found:
            return found
        for label, part in self.parts.items():
            found += part.problems()
            wrong = sorted(part.channels - {num_channels}) if num_channels is not None else []
            if wrong and num_channels not in part.channels:  # a mixture with them is said above
                listed = " or ".join(map(str, wrong))
                remedy = {3: f"set data.{label}.channels=rgb, or ", 1: f"set data.{label}.channels=y, or "}
                remedy = remedy if {1, 3}.issuperset(wrong) else {}
                found.append(
                    f"the network takes {counted(num_channels or 0, 'channel')}, but {label} images have {listed}: "
                    f"{remedy.get(num_channels or 0, '')}give the network that number"
                )
        if not self.parts["train"].items:
            found.append("no training image is left after the audit: every one is also in val or in data.holdout")
        if self.clips is not None:
            for label, part in self.parts.items():
                names, sizes = (
                    [item.name for item, _ in part.whole],
                    [part.cropped_size(each) for _, each in part.whole],
                )
                found += self.clips.problems(label, names, sizes)
        return found + self._small_problems() + self._disk_problems()

    def prepare_data(self) -> None:
        """Builds the decoded caches where they are missing.

        Raises:
            ValueError: naming every problem of the data.
        """
        if problems := self.problems():
            raise ValueError(
                f"{counted(len(problems), 'problem')} with the data:\n" + "\n".join(f"- {text}" for text in problems)
            )
        for part in self.parts.values():
            part.open(self.cache)

    def setup(self, stage: str | None = None) -> None:
        """Opens the caches, or builds them; for ``fit`` and ``validate``."""
        if self._val_dataset is not None:
            return
        train, val = (part.open(self.cache) for part in self.parts.values())
        images = [index for index in range(len(train)) if self.small != "skip" or self._fits(train.shape(index)[1:])]
        crops: dict[str, Any] = {
            "cache": train,
            "images": images,
            "scale": self.scale,
            "crop": self.crop,
            "seed": self.seed,
            "repeats": self.repeats,
            "augment": self.augment,
            "degradation": self.degradation if self.degrade_in == "worker" else None,
        }
        if self.clips is None:
            self._train_dataset, self._val_dataset = CropDataset(**crops), ImageDataset(cache=val)
            return
        self._train_dataset = self.clips.train(crops)
        self._val_dataset = self.clips.val(val, degradation=self.degradation, seed=self.seed, scale=self.scale)

    @property
    def train_dataset(self) -> CropDataset:
        """The crops; after ``setup``."""
        assert self._train_dataset is not None, "setup() has not run"
        return self._train_dataset

    def train_names(self, indices: Sequence[int]) -> list[str]:
        """The names of the images that training samples show; after ``setup``."""
        items, dataset = self.parts["train"].items, self.train_dataset
        return [items[int(dataset.images[index // dataset.repeats])].name for index in indices]

    def train_dataloader(self) -> DataLoader[Batch]:
        """As many batches as the trainer's budget of steps needs, from the step that it has reached.

        Raises:
            ValueError: if there is no trainer, or it has no ``max_steps``, or it would replace the sampler.
        """
        trainer = self.trainer
        if trainer is None or trainer.max_steps < 1:
            raise ValueError("the training data are bounded by steps: use a Trainer with max_steps of at least 1")
        if trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler:
            raise ValueError("use Trainer(use_distributed_sampler=False): the sampler shares out the data itself")
        sampler = self.make_sampler(
            num_batches=trainer.max_steps * self.accumulate,
            start=min(trainer.global_step, trainer.max_steps) * self.accumulate,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            block=self.accumulate * self.steps_per_batch,
        )
        return self.make_loader(sampler)

    def make_sampler(
        self, *, num_batches: int, start: int = 0, rank: int = 0, world_size: int = 1, block: int = 1
    ) -> KeyedBatchSampler:
        """The training crops' order; see ``KeyedBatchSampler``."""
        return KeyedBatchSampler(
            num_images=len(self.train_dataset.images),
            batch_size=self.batch_size,
            num_batches=num_batches,
            seed=self.seed,
            start=start,
            rank=rank,
            world_size=world_size,
            repeats=self.repeats,
            block=block,
        )

    def make_loader(self, sampler: KeyedBatchSampler) -> DataLoader[Batch]:
        """A loader of the training crops that ``sampler`` names."""
        return DataLoader(
            self._loaded,
            batch_sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=_as_it_is,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            worker_init_fn=_start_worker,
            multiprocessing_context=self.start_method if self.num_workers else None,
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        """Whole images, one a batch, in the order of their names; several processes share them out.

        None is validated twice: every process has at least one image, or else each validates all of them, which
        leaves the means as they are.
        """
        assert self._val_dataset is not None, "setup() has not run"
        world_size = 1 if self.trainer is None else self.trainer.world_size
        rank = 0 if self.trainer is None else self.trainer.global_rank
        images: Any = self._val_dataset
        if 1 < world_size <= len(self._val_dataset):
            images = Subset(self._val_dataset, range(rank, len(self._val_dataset), world_size))
        return DataLoader(images, batch_size=1, collate_fn=_only, pin_memory=self.pin_memory)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Sends the images; ``epoch`` and ``index`` stay on the host, where draws are made from them."""
        return {
            name: value.to(device, non_blocking=True)
            if isinstance(value, Tensor) and name not in ("epoch", "index")
            else value
            for name, value in batch.items()
        }

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch | Block:
        """What training and validation get: see the class."""
        if "index" not in batch or len(batch["index"]) == self.batch_size:
            return self.finish(batch)
        return Block(batch, batch_size=self.batch_size, accumulate=self.accumulate, make=self.finish)

    def finish(self, batch: Batch) -> Batch:
        """One batch as the network gets it: float32 in [0, 1] on the device, missing low images made there."""
        if "draws" in batch:
            batch = {**batch, **self._resident_on(batch["draws"].device).cut(batch["draws"])}
        images: Batch = {name: to_float(batch[name]) for name in ("low", "high", "original") if name in batch}
        if "low" not in images:
            assert self.degradation is not None
            original = images["high"]
            images["low"], images["high"] = degrade(self.degradation, original, batch, seed=self.seed)
            if images["high"] is not original:
                images["original"] = original
        return {**batch, **images}

    def train_batch(self, device: torch.device) -> Batch:
        """The first training batch, made in the way that is configured; after ``setup``.

        Raises:
            ValueError: if the images do not fit on the device.
        """
        (keys,) = self.make_sampler(num_batches=1)
        return self.finish(self.transfer_batch_to_device(self._loaded.__getitems__(keys), device, 0))

    @property
    def _loaded(self) -> CropDataset | DrawDataset:
        """What the loader loads: crops, or only where they are to be cut."""
        return DrawDataset(self.train_dataset) if self.images_on == "device" else self.train_dataset

    def _resident_on(self, device: torch.device) -> ResidentImages:
        """The training images on ``device``, uploaded once."""
        if self._resident is None:
            self._resident = ResidentImages(self.train_dataset, device)
        return self._resident

    def _fits(self, size: tuple[int, ...]) -> bool:
        return min(size) >= self._least_side

    @property
    def _least_side(self) -> int:
        return self.crop + (0 if self.clips is None else self.clips.margin)

    def _small_problems(self) -> list[str]:
        part = self.parts["train"]
        small = [
            f"{item.name} ({entries[0].width}x{entries[0].height})"
            for item, entries in part.whole
            if not self._fits(part.cropped_size(entries))
        ]
        pad = "" if self.clips else " or data.small=pad (mirror them)"
        remedy = f"lower data.crop, or set data.small=skip (leave them out){pad}"
        least = f"crop={self.crop}" + (f" and its margin of {self.clips.margin}" if self.clips else "")
        if self.small == "error" and small:
            named = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
            return [f"{counted(len(small), 'training image', 'is/are')} smaller than {least}: {named}; {remedy}"]
        if self.small == "skip" and small and len(small) == len(part.whole):
            more = "" if self.clips else " or set data.small=pad"
            return [f"every training image is smaller than {least}: lower data.crop{more}"]
        return []

    def _disk_problems(self) -> list[str]:
        needed = sum(part.cache_bytes for part in self.parts.values() if not part.cached(self.cache))
        folder = next(path for path in (self.cache.absolute(), *self.cache.absolute().parents) if path.is_dir())
        free = shutil.disk_usage(folder).free
        if needed < free:
            return []
        return [f"the decoded cache needs {needed / 1e9:.1f} GB, {self.cache} has {free / 1e9:.1f} GB: set data.cache"]

    def _leave_out_findings(self, parts: dict[str, DataPart], index: FileIndex) -> None:
        """Takes what the audit finds out of ``train``; the findings are kept in the cache folder."""
        train, val = parts["train"], parts["val"]
        tests = [item.high for item, _ in val.whole]
        tests += [file for folder in self.holdout if folder.is_dir() for file in list_images(folder)]
        whole = train.whole
        frames = self.clips is not None and self.clips.cuts
        pieces = runs([item.name for item, _ in whole]) if frames else [(place, 1) for place in range(len(whole))]
        looked = [[first, first + count // 2, first + count - 1][: min(count, 3)] for first, count in pieces]
        files = [whole[place][0].high for places in looked for place in places]
        digests = [f"{item.high} {entries[0].sha256}" for item, entries in [*whole, *val.whole]]
        digests += [f"{file} {index.digest(file)}" for file in tests[len(val.whole) :]]
        index.save()
        reasons = kept_exclusions(files, tests, digests, folder=self.cache / "audits")
        self.excluded = []
        left_out: set[Item] = set()
        for (first, count), places in zip(pieces, looked, strict=True):
            named = {str(whole[place][0].high): Path(whole[place][0].high).parent for place in places}
            for file, reason in ((file, reasons[file]) for file in named if file in reasons):
                if frames and Path(reason.removeprefix("same picture as ")).parent == named[file]:
                    continue  # frames of one clip look alike
                self.excluded.append(f"{named[file] if frames else file}: {reason}")
                left_out |= {item for item, _ in whole[first : first + count]}
                break
        train.keep({item for item in train.items if item not in left_out})
        for line in self.excluded:
            LOG.warning("left out of training: %s", line)


def _check_clips(clips: Clips, *, paired: bool, small: str, images_on: str) -> None:
    """Raises ``ValueError`` for settings that hold for images alone."""
    if small == "pad":
        raise ValueError("small=pad mirrors images, not clips: give data.small=skip or error")
    if images_on == "device":
        raise ValueError("images_on=device cuts crops of images: clips are cut on the host (images_on=host)")
    if paired and not clips.cuts:
        raise ValueError(
            "a camera moves over high images, and the degradation makes the low ones: give originals alone"
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _only(batches: list[Any]) -> Any:
    return batches[0]


def _start_worker(worker: int) -> None:
    cv2.setNumThreads(0)
