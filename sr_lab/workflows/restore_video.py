"""Enlarging a video file: segment by segment, joined with all that was not touched, verified against its input."""

import dataclasses
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from sr_lab.base.files import claim, naming, read_json, replacing, sha256, write_json
from sr_lab.base.memory import free_memory
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.images.yuv import Planes
from sr_lab.inference.batch import Wanted
from sr_lab.inference.places import MADE_OF
from sr_lab.inference.stream import Restorer, choose_tile, target_of
from sr_lab.inference.video import VideoError
from sr_lab.inference.video.clip import ClipRestorer
from sr_lab.inference.video.encoding import encoded, encoder_layout, picture_of
from sr_lab.inference.video.facts import VideoFacts, read_facts
from sr_lab.inference.video.joining import Joined, join
from sr_lab.inference.video.library import CONTAINERS, load_av
from sr_lab.inference.video.plan import VideoPlan, plan_video
from sr_lab.inference.video.reading import Findings, Frame, Mark, Reader
from sr_lab.inference.video.segments import Segment, WorkFolder
from sr_lab.inference.video.smoothing import DetailSmoother
from sr_lab.inference.video.verifying import verify
from sr_lab.workflows.video import RestoredVideo, VideoSettings

__all__ = ["RestoredVideo", "VideoSettings", "Wanted", "restore_video"]

_RECIPE = 1
"""Of what is done to a video: another number makes begun outputs begin anew."""
_FRAMES_OF_ALL = {"h264", "hevc", "mpeg2video", "av1", "ffv1", "prores", "mjpeg"}
"""Codecs of which every packet is a picture that is shown."""
_BITS_A_PIXEL = 0.25
_TS_PACKETS = (188, 192, 204)


def restore_video(
    *,
    input: str | Path,
    output: str | Path,
    load: Callable[[str], Restorer],
    made_by: Mapping[str, Any],
    device: Callable[[], str],
    wanted: Wanted | None = None,
    settings: VideoSettings | None = None,
    dry_run: bool = False,
    check_disk: bool = True,
) -> RestoredVideo:
    """Enlarges the picture of a video; sound, subtitles, chapters, attachments, times and tags stay as they are.

    Memory does not grow with the video, and no picture is written to the disk but as encoded video. The same call goes
    on where an earlier one was stopped or killed, and what it writes then is what it would have written at once.

    Args:
        input: A video file.
        output: The file to write (mkv, mp4, m4v, mov or webm), or a folder.
        load: Loads the restorer.
        made_by: The restorer's name and every setting that changes its images.
        device: Tells where to compute.
        wanted: Size of the enlarged picture; None for the restorer's own scale.
        settings: How it is written.
        dry_run: Whether to tell only what would be done.
        check_disk: Whether to refuse to begin where the output will not fit on the disk.

    Raises:
        VideoError: If the input is no video that can be read, or the output cannot hold what it has.
        ValueError: If the output is there and was not made of this input, or was begun with other settings.
        OSError: If it cannot be written.
        Stopped: If the process is asked to end; it says how many frames are done.
    """
    settings = settings or VideoSettings()
    if settings.segment < 1:
        raise ValueError(f"video.segment={settings.segment}: at least one frame")
    facts = read_facts(input)
    file = _file(facts, output)
    chosen = device()
    restorer = load(chosen)
    wanted = wanted or Wanted(scale=restorer.scale)
    target = target_of(facts.height, facts.width, scale=wanted.scale, size=_upright(facts, wanted))
    plan = plan_video(
        facts,
        file,
        size=target[0],
        codec=settings.codec,
        crf=settings.crf,
        preset=settings.preset,
        deinterlace=settings.deinterlace,
        drop=settings.drop,
    )
    size = (plan.encoder.width, plan.encoder.height)
    needed, free = _room(plan)
    if dry_run:
        return RestoredVideo(
            str(file), size, facts.expected_frames, cautions=plan.cautions, needed_bytes=needed, free_bytes=free
        )
    recipe = _recipe(plan, restorer, made_by, settings, target[0])
    record = file.parent / MADE_OF / f"{file.name}.json"
    if (there := _there(file, record, recipe, size)) is not None:
        return there
    if check_disk and needed > free:
        raise ValueError(
            f"output={output}: about {needed / 1e9:.1f} GB are needed, and the disk has {free / 1e9:.1f} GB left; give "
            "another output, or check_disk=false to try"
        )
    with _working(file) as work:
        claim(
            work.begun, recipe, where=work.path, remedy="Give the same settings, another output, or remove that folder"
        )
        made = encoder_layout(plan.encoder, facts.layout)
        clip = ClipRestorer(
            restorer, layout=facts.layout, made=made, target=target, device=chosen, tile=_tile(work, restorer),
            smoother=DetailSmoother() if settings.smoothing else None,
        )  # fmt: skip
        segments, findings = _restore(plan, work, clip, settings)
        with replacing(file) as partial:
            joined = join(plan, work, segments, partial)
            lost = verify(plan, joined, segments, partial)
        problems = (*_damage(facts, findings, joined, segments), *(f"the output has lost something: {e}" for e in lost))
        kept = {"recipe": recipe, "frames": sum(len(each.packets) for each in segments), "problems": problems}
        kept |= {"reused": sum(each.reused for each in segments), "cuts": [c for each in segments for c in each.cuts]}
        untimed = [f"{counted(findings.untimed, 'picture')} had no time of their own: the frame rate gives it"]
        write_json(record, kept | {"cautions": [*plan.cautions, *(untimed if findings.untimed else ())]})
        shutil.rmtree(work.path, ignore_errors=True)
    result = _told(file, size, read_json(record), was_there=False)
    return dataclasses.replace(result, told=str(getattr(restorer, "told", "")))


def _restore(
    plan: VideoPlan, work: WorkFolder, clip: ClipRestorer, settings: VideoSettings
) -> tuple[list[Segment], Findings]:
    """Restores what is not there yet; gives all segments, and what was found in the input."""
    segments = work.done()
    reader = Reader(plan.facts, settings.deinterlace)
    done = sum(len(each.packets) for each in segments)
    total = plan.facts.expected_frames or None
    with tqdm(total=total, initial=done, desc="restore", unit="frame", disable=None, smoothing=0.05) as bar:
        try:
            if work.ended is None:
                if segments:
                    clip.resume(work.state(len(segments) - 1))
                made = clip.restored(reader.frames(segments[-1].mark if segments else None))
                while True:
                    clip.begin_segment()
                    if (first := next(made, None)) is None:
                        break
                    following = itertools.chain([first], made)
                    segments.append(_segment(plan, work, clip, len(segments), following, settings.segment, bar))
                work.end(reader.take())
        except Stopped as stop:
            done = sum(len(each.packets) for each in segments)
            said = f"{counted(done, 'frame', 'is/are', of=total or None)} done and stay"
            raise stop.saying(said, goes_on=True) from None
    if not segments:
        raise VideoError(f"{plan.facts.file}: no picture could be decoded")
    findings = Findings()
    for each in (*(segment.findings for segment in segments), work.ended or Findings()):
        findings.add(each)
    return segments, findings


def _segment(
    plan: VideoPlan,
    work: WorkFolder,
    clip: ClipRestorer,
    number: int,
    made: Iterator[tuple[Frame, Planes]],
    most: int,
    bar: Any,
) -> Segment:
    """Encodes one segment of frames and what they became; the one behind it is not asked for."""
    encoder = plan.encoder.make()
    findings = Findings()
    with work.writing(number) as writer, naming(work.path):
        for frame, planes in itertools.islice(made, most):
            writer.add(encoded(encoder, picture_of(planes, plan.encoder, frame.pts)))
            findings.add(frame.findings)
            bar.update()
        writer.add(encoded(encoder, None))
        first = number * most
        if len(writer.packets) != frame.number + 1 - first:
            count = frame.number + 1 - first
            raise VideoError(
                f"{encoder.name} gave {counted(len(writer.packets), 'packet')} for {counted(count, 'frame')}"
            )
        work.keep_state(number, clip.state())
        segment = writer.finish(
            extradata=(encoder.extradata or b"").hex(),
            mark=Mark(frame.number, frame.pts, frame.digest),
            duration=frame.duration,
            reused=clip.reused,
            cuts=tuple(clip.cuts),
            findings=findings,
        )
    work.enter(number, segment)
    work.forget_states(number)
    return segment


def _file(facts: VideoFacts, output: str | Path) -> Path:
    """The file to write.

    Raises:
        ValueError: If that is the input, or a store elsewhere.
    """
    if "://" in str(output):
        raise ValueError(f"output={output}: videos are written to files on this machine")
    file = Path(output)
    if file.is_dir() or str(output).endswith("/") or not file.suffix:
        suffix = facts.file.suffix.lower()
        file = file / facts.file.with_suffix(suffix if suffix[1:] in CONTAINERS else ".mkv").name
    if file.exists() and file.samefile(facts.file):
        raise ValueError(f"the output would be {file}, which is the input: give another output")
    return file


def _upright(facts: VideoFacts, wanted: Wanted) -> tuple[int | None, int | None]:
    """Height and width that are wanted of the stored picture; players may turn it by 90 degrees."""
    if facts.rotation % 180:
        return wanted.width, wanted.height
    return wanted.height, wanted.width


def _recipe(
    plan: VideoPlan, restorer: Restorer, made_by: Mapping[str, Any], settings: VideoSettings, size: tuple[int, int]
) -> dict[str, Any]:
    """Everything that decides over the bytes of the output."""
    metadata = getattr(restorer, "metadata", None) or {}
    weights = metadata.get("sha256", {}).get("weights.safetensors") or made_by["name"]
    return {
        "recipe": _RECIPE,
        "input": sha256(plan.facts.file),
        "restorer": weights,
        **{key: value for key, value in made_by.items() if key != "name"},
        "size": list(size),
        "encoder": plan.encoder.plain(),
        "segment": settings.segment,
        "smoothing": settings.smoothing,
        "deinterlace": settings.deinterlace and plan.facts.interlaced,
        "tracks": {str(index): way for index, way in plan.tracks.items()},
        "pyav": load_av().__version__,
    }


def _there(file: Path, record: Path, recipe: Mapping[str, Any], size: tuple[int, int]) -> RestoredVideo | None:
    """What was written before, by the same recipe.

    Raises:
        ValueError: If there is a file that was made otherwise.
    """
    if not file.exists():
        return None
    if not record.is_file():
        raise ValueError(f"output={file} is there already and not of srlab restore: give another output")
    kept = read_json(record)
    claim(kept["recipe"], recipe, where=f"output={file}", remedy="Give another output, or remove that file")
    return _told(file, size, kept, was_there=True)


def _told(file: Path, size: tuple[int, int], kept: Mapping[str, Any], *, was_there: bool) -> RestoredVideo:
    return RestoredVideo(
        str(file),
        size,
        kept["frames"],
        reused=kept["reused"],
        cuts=tuple(kept["cuts"]),
        cautions=tuple(kept["cautions"]),
        problems=tuple(kept["problems"]),
        was_there=was_there,
    )


@contextmanager
def _working(file: Path) -> Iterator[WorkFolder]:
    """The folder of a begun output, for this process alone.

    Raises:
        ValueError: If another process is at work there.
        OSError: If it cannot be made.
    """
    work = WorkFolder(file)
    work.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(work.path / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"output={file}: another process is restoring it") from error
    try:
        yield work
    finally:
        lock.release()


def _tile(work: WorkFolder, restorer: Restorer) -> int | None:
    """Side of tiles, the same however often the work is begun."""
    file = work.path / "tile.json"
    if not file.is_file():
        write_json(file, choose_tile(restorer, free_memory()))
    side: int | None = read_json(file)
    return side


def _room(plan: VideoPlan) -> tuple[int, int]:
    """Bytes that segments and output take together, about; and those that are free."""
    encoder = plan.encoder
    lossless = 8 if encoder.codec in ("ffv1", "prores") else _BITS_A_PIXEL
    pictures = encoder.width * encoder.height * plan.facts.expected_frames * lossless / 8
    folder = next((each for each in plan.output.absolute().parents if each.exists()), Path("/"))
    return round(2 * pictures) + plan.facts.file.stat().st_size, shutil.disk_usage(folder).free


def _is_cut_packet(facts: VideoFacts) -> bool:
    """Whether a transport stream, which has no index, ends within one of its packets."""
    size = facts.file.stat().st_size
    return facts.container == "mpegts" and all(size % length for length in _TS_PACKETS)


def _damage(facts: VideoFacts, findings: Findings, joined: Joined, segments: list[Segment]) -> Iterator[str]:
    """What the input lacks, in sentences."""
    frames = sum(len(each.packets) for each in segments)
    end = float(segments[-1].mark.pts * facts.time_base)
    if ended := findings.ended or joined.ended:
        yield f"{facts.file} is damaged: {ended} behind {end:.2f} s; what was readable is in the output"
    elif facts.num_frames > joined.packets:
        yield (
            f"{facts.file} was cut off: its header tells of {counted(facts.num_frames, 'frame')}, and "
            f"{joined.packets} can be read; "
            "they are in the output"
        )
    elif joined.corrupt or _is_cut_packet(facts):
        yield f"{facts.file} is damaged or was cut off within a packet; what was readable is in the output"
    elif joined.complaints:
        told = "; ".join(joined.complaints[:3])
        yield f"{facts.file} is damaged or was cut off (its reader says: {told}); what was readable is in the output"
    elif "matroska" in facts.container and facts.seconds is not None:
        there = joined.end - joined.first
        if facts.seconds - there > max(Fraction(1, 4), 5 / (facts.rate or Fraction(25))):
            yield (
                f"{facts.file} was cut off: its header tells of {float(facts.seconds):.2f} s, and {float(there):.2f} s "
                "are there; they are in the output"
            )
    missing = joined.packets - frames - findings.undecodable
    if missing > 0 and not findings.ended and facts.codec in _FRAMES_OF_ALL and not facts.interlaced:
        yield f"{facts.file}: {counted(missing, 'picture')} could not be decoded, and are not in the output"
    if findings.undecodable:
        yield f"{facts.file} is damaged: {counted(findings.undecodable, 'packet')} could not be decoded"
    if findings.corrupt:
        yield f"{facts.file} is damaged: the decoder repaired {counted(findings.corrupt, 'picture')}"
    if findings.moved:
        yield (
            f"{facts.file}: {counted(findings.moved, 'picture')} had a time that is not after the one before, and "
            "follow it by one tick"
        )
