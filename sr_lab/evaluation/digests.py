"""What several benchmarks are together: the hash of their files, and which of their images show the same scene."""

import hashlib
from collections.abc import Mapping, Sequence

from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.pairs import fingerprint
from sr_lab.evaluation.scenes import find_scenes, merge_copies
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
    if list(prints) == [""]:
        return prints[""]
    digest = hashlib.sha256()
    for key, benchmark in benchmarks.items():
        digest.update(f"{key}\0{benchmark.low_images}\0{prints[key]}\0".encode())
    return digest.hexdigest()


def scenes_of(benchmarks: Mapping[str, Benchmark]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Scene by benchmark and image, and near copies, which are one; benchmarks of one folder show the same scenes."""
    scenes: dict[tuple[str, str], str] = {}
    copies: list[str] = []
    looked_at: dict[str, dict[str, str]] = {}
    for key, benchmark in benchmarks.items():
        folder = benchmark.folder.resolve()
        first = next(name for name, other in benchmarks.items() if other.folder.resolve() == folder)
        if first not in looked_at:
            found = find_scenes(
                benchmark.folder, [pair.name for pair in benchmark.pairs], clips=benchmark.protocol.clips
            )
            looked_at[first], said = merge_copies(
                found, {pair.name: pair.high for pair in benchmark.pairs if not is_video(pair.high)}
            )
            copies += said
        scenes |= {(key, name): f"{first}/{scene}" for name, scene in looked_at[first].items()}
    return scenes, copies
