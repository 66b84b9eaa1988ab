"""Score a restorer on a benchmark, beside bicubic, under a named protocol.

    srlab evaluate restorer=bicubic benchmark=Set5/x4 scale=4 protocol=y_crop report=out
    srlab evaluate restorer=runs/NAME/best benchmark=photos scale=2 report=out missing=skip
    srlab evaluate restorer=[runs/A/best,runs/B/best] self_ensemble=true benchmark=photos scale=2 report=out
    srlab evaluate restorer=runs/GENERATIVE/best samples=8 benchmark=photos scale=4 report=out
    srlab evaluate restorer=edge consistency=exact benchmark=photos scale=4 report=out
    srlab evaluate restorer=edge benchmark=CLIPS scale=4 protocol=vid4_y metrics=[psnr,tof,tlp,warping_error,flicker] \
        report=out
    srlab evaluate restorer=edge beside=[runs/NAME/best] tasks=[ocr,barcode] benchmark=documents scale=4 report=out

Writes OUT/summary.json (means), OUT/per_image.csv, OUT/report.html (crops, the worst images first) and
OUT/comparison.png. A benchmark is a folder with HR/ and LR/, whose images are paired by name, or one with
originals, whose low images are made by the bicubic degradation or the one given. Exit code 0 only if every
image was scored by every metric: what cannot be is listed in the report, and the rest is scored all the same.
Under a protocol for clips (reds4_rgb, vid4_y, vid4_teco, vid4_duf) they are clips, folders of frames or video files,
and OUT/per_clip.csv has their means. run=runs/NAME records the numbers in that run too, whose weights they must be of.
tasks=[...] asks what the images are good for: text, codes, faces and objects are read from the input, bicubic, every
restorer and the original.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.config.compose import build
from sr_lab.workflows.evaluate import (
    COMPARISON,
    REPORT,
    SUMMARY,
    LoadedRestorer,
    MeanRestorer,
    Scores,
    evaluate,
    gain_lines,
    mean_lines,
    not_measured_on,
)
from sr_lab.workflows.load import load_restorer


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    scores = call(cfg)
    report = Path(cfg.report)
    print("\n".join([*mean_lines(scores), *gain_lines(scores)]))
    print(f"report: {report / REPORT}\npicture: {report / COMPARISON}")
    for caution in scores.facts["cautions"]:
        print(f"caution: {caution}")
    complain("evaluate", (f"not scored: {image.name}: {image.reason}" for image in scores.failed))
    for key, images in not_measured_on(scores).items():
        complain("evaluate", (f"{key} not measured: {name}: {reason}" for name, reason in images.items()))
    return 0 if scores.complete else 1


def call(cfg: DictConfig) -> Scores:
    """The evaluation that ``cfg`` asks for, with its report written; recorded in its run if it names one."""
    report = Path(cfg.report)
    names = [cfg.restorer] if isinstance(cfg.restorer, str) else list(cfg.restorer)
    if report.is_dir():
        (report / SUMMARY).unlink(missing_ok=True)
    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1")
    if cfg.run is not None and cfg.self_ensemble:
        raise ValueError(
            f"run={cfg.run} records what its model can do, and self_ensemble=true measures the mean of eight of its "
            "images: give run=null or self_ensemble=false"
        )
    if not names or not all(name.strip() for name in names):
        raise ValueError("restorer is empty: name one, or several as [A,B]")
    if report.exists() and not report.is_dir():
        raise ValueError(f"report={report} is a file: give a folder")
    degradation = build(cfg.degradation)

    def load(name: str) -> LoadedRestorer:
        return called(load_restorer, cfg, name=name, degradation=degradation)

    loaded = [load(name) for name in names]
    title = " + ".join(names)
    title += " (x8)" if cfg.self_ensemble else ""
    title += " (consistent)" if cfg.consistency else ""
    recorded = [] if loaded[0].metadata is None else ["tile", "overlap"]
    recorded += [] if cfg.consistency is None else ["consistency", "input_noise"]
    if any(getattr(member, "generative", False) for member in loaded):
        recorded += ["seed", "num_steps", "samples"]
    return called(
        evaluate,
        cfg,
        restorer=loaded[0] if len(loaded) == 1 else MeanRestorer(loaded),
        name=title,
        beside={name: load(name) for name in cfg.beside},
        degradation=degradation,
        facts={key: cfg[key] for key in recorded},
    )
