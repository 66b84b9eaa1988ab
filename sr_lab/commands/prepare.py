"""Brings the data in place, checks every file, and writes the manifest whose digest is the data version.

    srlab prepare                                          the demonstration's photos
    srlab prepare data=folder data.train.roots=DIR data.val.roots=DIR
    srlab prepare data=t91_bsds400 decode=true             and decode everything into the cache

A second run verifies the files against the manifest and changes nothing; files that have changed are an error.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.prepare import prepare


def run(cfg: DictConfig) -> int:
    """Returns 0; problems of the data are raised, all of them in one message."""
    result = called(prepare, cfg)
    for label, manifest in result.parts.items():
        size = sum(entry.size for entry in manifest.entries)
        print(f"{label}: {counted(len(manifest.entries), 'file')}, {size / 1e6:.1f} MB")
    state = "written" if result.written else "verified, nothing to do"
    print(f"data version {result.version[:16]}, {state}: {result.manifest}")
    if result.cache is not None:
        print(f"decoded into {result.cache}")
    return 0
