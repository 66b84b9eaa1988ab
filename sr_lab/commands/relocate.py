"""Make the store of a project that was copied or moved use the project's own files.

    srlab relocate
    srlab relocate tracking_uri=sqlite:////new/place/mlflow.db

An SQLite store keeps the absolute places of its artefacts. In a copied project they are the original's, so that srlab
refuses to write there and names this command. It rewrites the places of all runs, models and registered versions from
the folder where the store was made to the one where it is, together or not at all. No file is touched, and the original
stays as it is; its runs and the copy's go separate ways from then on.

Exit code 0 if the store names its own place afterwards, also if it did so before.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.relocate import relocate


def run(cfg: DictConfig) -> int:
    """Rewrites the places in ``cfg.tracking_uri``, and prints what was rewritten."""
    done = called(relocate, cfg)
    if done.places == 0:
        print(f"{done.path} names the files in {done.new}: nothing to do")
        return 0
    print(f"{done.path}: {counted(done.places, 'place', 'is/are')} below {done.new} now, and before below {done.old}")
    if done.missing:
        print(f"caution: {len(done.missing)} of them are not there, for instance {done.missing[0]}")
    return 0
