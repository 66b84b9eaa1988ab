"""The whole path on photos that ship inside scikit-image and scikit-learn, in about five minutes on two cores.

    srlab demo

Photos are prepared, the weights of LPIPS are fetched where there is a network (else LPIPS is recorded as not measured).
A small EDSR is trained at x2, compared with bicubic on photos that it has not seen, recorded in MLflow and registered
as a candidate, and the gate decides whether it becomes champion. The first one has to pass the policy's floors and to
beat bicubic; against a champion three photos prove nothing, and the gate refuses. Each step is printed as the command
that does it alone. Exit code 0: every step was done, whatever the gate decided.
"""

import json
import time

from omegaconf import DictConfig

from sr_lab.commands._steps import folder_of, step
from sr_lab.config.compose import compose
from sr_lab.config.words import setting
from sr_lab.workflows.sync import page_command

OUTCOMES = {0: "promoted", 3: "rejected", 4: "waits for approval"}


def run(cfg: DictConfig) -> int:
    """Runs the steps; the first one that fails ends the demo with its exit code."""
    start = time.perf_counter()
    output = folder_of(cfg, "demo")
    report = output / "report"
    steps = {
        "prepare": ["data=photos"],
        "weights": ["fetch=alex", "seconds=10", "missing=skip"],
        "train": [
            setting("experiment", cfg.experiment),
            setting("name", output.name),
            "tracking.drain_seconds=120",
            *cfg.train,
        ],
        "evaluate": [
            *(setting("restorer", output / "best"), "benchmark=data/photos/test", "scale=2"),
            *(setting("report", report), setting("run", output), "missing=skip"),
        ],
        "register": [setting("run", output), "name=demo"],
        "promote": ["name=demo", "policy=default", setting("report", output / "promotion")],
    }
    for command, settings in steps.items():
        code = step(command, *settings)
        if code and not (command == "promote" and code in OUTCOMES):
            return code
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    print(f"\n== done in {time.perf_counter() - start:.0f} s\n{_table(summary)}\n")
    print(f"picture     {report / 'comparison.png'}")
    print(f"report      {report / 'report.html'}")
    print(f"gate        {OUTCOMES[code]}, the reasons are above; {next((output / 'promotion').glob('*.html'))}")
    print(f"the run in MLflow's page: {page_command(compose('train', []).tracking.uri)}")
    return 0


def _table(summary: dict[str, object]) -> str:
    """The test photos' means, as text, with the protocol beside them."""
    keys = [key for key in ("psnr_y", "ssim_y", "lpips") if summary.get(key) is not None]
    rows = [["", *keys, "protocol"]]
    for name, numbers in (("EDSR (tiny)", summary), ("bicubic", summary["bicubic"])):
        assert isinstance(numbers, dict)
        rows.append([name, *(f"{numbers[key]:.4f}" for key in keys), str(summary["protocol"])])
    text = "\n".join("  ".join(cell.ljust(12) for cell in row).rstrip() for row in rows)
    reason = summary.get("lpips_reason")
    return text if not reason else f"{text}\nLPIPS was not measured: {reason}"
