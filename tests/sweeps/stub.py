"""Stands in for ``srlab train``: steps, a checkpoint after each, and the files that a finished run leaves.

    python stub.py x=0.5 output=DIR [steps=5] [seconds=0.01] [fail_above=0.8] [kill=0.3] [hang=0000,0001]

``history.txt`` in the folder tells each start and end. ``kill`` is the chance that a start is killed at half its steps.
``hang`` names the folders of trials whose first start stays at its first checkpoint until somebody kills it, and which
do not fail.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

settings = dict(word.split("=", 1) for word in sys.argv[1:])
output = Path(settings["output"])
output.mkdir(parents=True, exist_ok=True)
steps, x = int(settings.get("steps", 3)), float(settings["x"])
history = output / "history.txt"
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
hanging = settings.get("hang", "").split(",")


def note(text: str) -> None:
    with history.open("a") as stream:
        stream.write(f"{text}\n")


if (output / "result.json").exists():
    note("finished already")
    sys.exit(0)
checkpoint = output / "checkpoint"
first = int(checkpoint.read_text()) if checkpoint.exists() else 0
note(f"start at {first}")
if float(settings.get("fail_above", "inf")) < x and output.name not in hanging:
    said = f"the loss is not finite at x={x}"
    print(f"stub: error: {said}", file=sys.stderr)
    Path(os.environ["SRLAB_ERROR"]).write_text(json.dumps({"message": said}))
    sys.exit(1)
for step in range(first, steps):
    time.sleep(float(settings.get("seconds", 0)))
    (output / "checkpoint.part").write_text(str(step + 1))
    (output / "checkpoint.part").replace(checkpoint)
    if step == 0 and output.name in hanging:
        time.sleep(600)
    if step == steps // 2 and random.random() < float(settings.get("kill", 0)):
        os.kill(os.getpid(), signal.SIGKILL)
(output / "best").mkdir(exist_ok=True)
metrics = {"val/score": -((x - 0.3) ** 2), "val/cost": x}
(output / "best" / "metadata.json").write_text(json.dumps({"metrics": metrics}))
(output / "result.json").write_text(json.dumps({"steps": steps, "max_steps": steps, "ended": settings.get("ended")}))
note("end")
