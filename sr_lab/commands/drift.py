"""Are the images that come in still those that the model was made for? Exit code 0 no drift, 10 drift, others errors.

    srlab drift reference=reference.parquet current=DIR report=OUT scale=4
    srlab drift ... state=watch.json      # repeated checks: alpha is spent over them, the alarm has hysteresis
    srlab drift ... stream=seen.parquet   # image by image: only those not seen before are measured
    srlab drift name=photos current=runs/serve/photos/incoming.db report=OUT   # what a service keeps, and its reference

An energy-distance permutation test on all features together decides; features are named by Kolmogorov-Smirnov tests
with Benjamini-Hochberg. Writes OUT/drift.html and drift.png (what moved, and images), OUT/drift.json,
OUT/current.parquet (the features, a reference for later), and on drift OUT/preset.yaml: a degradation that imitates the
images, to train on. With state the exit code tells the alarm, which stays on until ``clear_after`` quiet checks;
"new" in drift.json tells whether this check has raised it. The same images again spend nothing.

Images that cannot be used are an alarm of their own, with the same exit code: more than ``max_unusable`` of them are
unreadable, of one value but for noise, or repeated. "reasons" in drift.json tells which alarm it is: drift, unusable.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.commands.profile import extractor
from sr_lab.config.call import called
from sr_lab.workflows.watch import DriftResult, watch


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    result = call(cfg)
    tell(result)
    return int(cfg.on_drift) if result.alarm else 0


def tell(result: DriftResult) -> None:
    """Prints what was found."""
    complain("drift", (f"not used: {name}: {reason}" for name, reason in result.skipped.items()))
    print("\n  ".join([result.headline, *result.lines]))
    if result.preset_file is not None:
        print(f"preset: {result.preset_file}")
    print(f"report: {result.page}")


def call(cfg: DictConfig) -> DriftResult:
    """Looks for drift and writes the report."""
    return called(watch, cfg, reference=_reference(cfg), extractor=extractor(cfg))


def _reference(cfg: DictConfig) -> Path:
    """The profile that is given, or the one that is kept with the champion, in the folder of the report."""
    if cfg.reference is not None:
        return Path(cfg.reference)
    if cfg.name is None:
        raise ValueError("give reference= of srlab profile, or name= of the registered model that it is kept with")
    from sr_lab.workflows.profile import reference_of  # the registry, which a profile's file does not need

    return called(reference_of, cfg, to=Path(cfg.report) / "reference.parquet")
