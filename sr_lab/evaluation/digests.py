"""What several benchmarks are together: the hash of their files, and which of their images show the same scene."""

import hashlib
from collections.abc import Mapping, Sequence

from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.pairs import fingerprint
from sr_lab.evaluation.scenes import find_scenes, merge_copies
from sr_lab.evaluation.truth import truth_digest
from sr_lab.images.clips import is_video


def digest_of(benchmarks: Mapping[str, Benchmark], files: Mapping[str, Sequence[tuple[str, ...]]] | None = None) -> str:
    """Hash over names and bytes of every file; of several benchmarks over their names and degradations too.

    Args:
        benchmarks: By name.
        files: Benchmark to the hashes of each of its pairs; None reads the files.
    """
    prints = {
        key: fingerprint(benchmark.pairs, None if files is None else files[key])
        for key, benchmark in benchmarks.items()
    }
    for key, benchmark in benchmarks.items():  # what the images are known to show is a part of the benchmark
        if (known := truth_digest(benchmark.folder)) is not None:
            prints[key] = hashlib.sha256(f"{prints[key]}\0{known}".encode()).hexdigest()
    if list(prints) == [""]:
        return prints[""]
    digest = hashlib.sha256()
    for key, benchmark in benchmarks.items():
        digest.update(f"{key}\0{benchmark.low_images}\0{prints[key]}\0".encode())
    return digest.hexdigest()


def scenes_of(
    benchmarks: Mapping[str, Benchmark], *, copies: bool = True
) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Scene by benchmark and image, and near copies, which are one; benchmarks of one folder show the same scenes.

    Args:
        benchmarks: By name.
        copies: Whether near copies are looked for. Where the truth is known (``truth.json``) they never are: pages of
            print look alike from afar, and what is one scene stands in ``scenes.csv``.
    """
    scenes: dict[tuple[str, str], str] = {}
    said_of: list[str] = []
    looked_at: dict[str, dict[str, str]] = {}
    for key, benchmark in benchmarks.items():
        folder = benchmark.folder.resolve()
        first = next(name for name, other in benchmarks.items() if other.folder.resolve() == folder)
        if first not in looked_at:
            found = find_scenes(
                benchmark.folder, [pair.name for pair in benchmark.pairs], clips=benchmark.protocol.clips
            )
            if copies and not benchmark.truth:
                files = {pair.name: pair.high for pair in benchmark.pairs if not is_video(pair.high)}
                found, said = merge_copies(found, files)
                said_of += said
            looked_at[first] = found
        scenes |= {(key, name): f"{first}/{scene}" for name, scene in looked_at[first].items()}
    return scenes, said_of
