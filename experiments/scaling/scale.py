"""What 1, 8 and 64 GPUs do with EDSR, RDN and RRDBNet, on paper, and what limits them.

    python experiments/scaling/scale.py

Reads rates.yaml (measured rates, floors, assumptions, each marked), counts parameters and operations of the networks
themselves, and writes table.md and scaling.png beside it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from sr_lab.config.compose import build, compose

FOLDER = Path(__file__).resolve().parent
NETWORKS = {"EDSR": "edsr", "RDN": "rdn", "RRDBNet": "rrdb"}
GPUS = (1, 8, 64)
BATCH, LOW, RECIPE_CROPS = 16, 48, 300_000 * 16
COLOURS = {"EDSR": "#2f6f9f", "RDN": "#c98a1b", "RRDBNet": "#7a4f9a"}


@dataclass(frozen=True)
class Network:
    """Parameters, and operations of a training step (forward and backward) for one crop."""

    name: str
    parameters: int
    gigaops: float


@dataclass(frozen=True)
class Step:
    """One optimizer step; times in ms."""

    network: Network
    gpus: int
    batch: int
    device: float
    host: float
    reduce: float
    exposed: float

    @property
    def total(self) -> float:
        """Device or host, whichever is slower, and the part of the all-reduce that nothing hides."""
        return max(self.device, self.host) + self.exposed

    @property
    def crops(self) -> float:
        """Crops/s of all GPUs."""
        return 1e3 * self.batch * self.gpus / self.total

    @property
    def limit(self) -> str:
        """What takes most of the step."""
        if self.exposed > max(self.device, self.host) / 3:
            return "all-reduce"
        return "the GPU" if self.device >= self.host else "the host"


def count(name: str, option: str) -> Network:
    """Counts on the meta device: nothing is computed."""
    config = compose("train", [f"model/network={option}", "scale=4"]).model.network
    network = build(config).to("meta")
    low = torch.empty(1, 3, LOW, LOW, device="meta")
    with FlopCounterMode(display=False) as counter:
        network(low).sum().backward()
    return Network(name, sum(p.numel() for p in network.parameters()), counter.get_total_flops() / 1e9)


def step(network: Network, gpus: int, rates: dict[str, Any], *, batch: int = BATCH, graphs: bool = False) -> Step:
    """Times of one step with ``batch`` crops a GPU."""
    gpu, net = _values(rates["gpu"]), _values(rates["network"])
    arithmetic = network.gigaops * batch / gpu["matmul_tflops"]
    device = max(arithmetic, rates["traffic_ms"][network.name] * batch / BATCH)
    dispatch = 0.0 if graphs else rates["operations"][network.name] * gpu["dispatch_us"] / 1e3
    host = dispatch + gpu["loop_ms"]
    megabytes = 4 * network.parameters / 1e6
    within = min(gpus, int(net["gpus_per_machine"]))
    machines = gpus // within
    buckets = -(-megabytes // net["bucket_mb"])
    reduce = 0.0
    if within > 1:
        reduce += 2 * (within - 1) / within * megabytes / net["nvlink_gb_s"] + buckets * net["latency_us"] / 1e3
    if machines > 1:  # a ring of every GPU's share of the gradient over its own port
        share = megabytes / within
        reduce += 2 * (machines - 1) / machines * share / net["fabric_gb_s"] + 3 * buckets * net["latency_us"] / 1e3
    hidden = 2 / 3 * max(device, host)  # the backward part; the last bucket has nothing to hide behind
    exposed = max(reduce - hidden, reduce / buckets if buckets and reduce else 0.0)
    return Step(network, gpus, batch, device, host, reduce, exposed)


def _values(node: dict[str, Any]) -> dict[str, float]:
    return {key: entry["value"] for key, entry in node.items()}


def table(networks: list[Network], rates: dict[str, Any]) -> str:
    """Both tables as Markdown."""
    host = _values(rates["host"])
    lines = [
        "| network | GPUs | global batch | GPU ms | host ms, eager | all-reduce ms (not hidden) | crops/s, eager "
        "| with CUDA graphs | efficiency | limit, eager | 4.8 M crops, graphs |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for network in networks:
        alone = step(network, 1, rates, graphs=True).crops
        for gpus in GPUS:
            eager, graphs = step(network, gpus, rates), step(network, gpus, rates, graphs=True)
            hours = RECIPE_CROPS / graphs.crops / 3600
            cells = [network.name, f"{gpus}", f"{BATCH * gpus}", f"{graphs.device:.1f}", f"{eager.host:.1f}"]
            cells += [f"{graphs.reduce:.2f} ({graphs.exposed:.2f})", f"{eager.crops:,.0f}", f"{graphs.crops:,.0f}"]
            cells += [f"{graphs.crops / alone / gpus:.0%}", eager.limit, _duration(hours)]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Cores a GPU that the input needs, of {host['cores_per_gpu']:.0f}, at the crops/s with CUDA graphs:",
        "",
        "| network | crops/s a GPU | decoded cache | Real-ESRGAN in the workers | PNG decoded each time |",
        "|---|---|---|---|---|",
    ]
    for network in networks:
        rate = step(network, 1, rates, graphs=True).crops
        cells = [rate / host[key] for key in ("crops_per_core", "realesrgan_per_core", "png_per_core")]
        lines.append(f"| {network.name} | {rate:,.0f} | " + " | ".join(f"{cell:.1f}" for cell in cells) + " |")
    lines += [
        "",
        "The global batch held at 64, so that more GPUs mean fewer crops each (with CUDA graphs):",
        "",
        "| network | GPUs | crops a GPU | step ms | crops/s | efficiency | limited by |",
        "|---|---|---|---|---|---|---|",
    ]
    for network in networks:
        base = step(network, 1, rates, batch=64, graphs=True).crops
        for gpus in GPUS:
            one = step(network, gpus, rates, batch=64 // gpus, graphs=True)
            share = one.crops / base / gpus
            cells = [network.name, f"{gpus}", f"{one.batch}", f"{one.total:.2f}", f"{one.crops:,.0f}", f"{share:.0%}"]
            lines.append(f"| {' | '.join([*cells, one.limit])} |")
    counted = [f"{n.name} {n.parameters / 1e6:.1f} M, {n.gigaops * BATCH:,.0f} GFLOP" for n in networks]
    head = f"Parameters and operations of a step of {BATCH} crops, counted: {'; '.join(counted)}."
    return "\n".join([head, "", *lines]) + "\n"


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def draw(networks: list[Network], rates: dict[str, Any], file: Path) -> None:
    """Crops/s over GPUs for a fixed batch a GPU and for a fixed global batch."""
    figure = Figure(figsize=(10, 3.8), layout="constrained", dpi=140)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    counts = [1, 2, 4, 8, 16, 32, 64]
    for network in networks:
        colour = COLOURS[network.name]
        for graphs, style in ((True, "-"), (False, "--")):
            weak = [step(network, gpus, rates, graphs=graphs).crops for gpus in counts]
            strong = [step(network, gpus, rates, batch=64 // gpus, graphs=graphs).crops for gpus in counts]
            for axes, values in ((left, weak), (right, strong)):
                label = network.name if graphs else None
                axes.plot(counts, values, style, color=colour, marker="o", ms=3.5, lw=1.4, label=label)
        ideal = [step(network, 1, rates, graphs=True).crops * gpus for gpus in counts]
        left.plot(counts, ideal, color=colour, lw=0.6, alpha=0.5)
        right.plot(counts, ideal, color=colour, lw=0.6, alpha=0.5)
    for axes, title in ((left, "16 crops a GPU: the global batch grows to 1024"), (right, "global batch 64")):
        axes.set(xscale="log", yscale="log", xlabel="H200s")
        axes.set_title(title, fontsize=10)
        axes.set_xticks(counts, [str(n) for n in counts])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e2e2dd", lw=0.6)
    left.set_ylabel("crops/s (192 px), upper bounds")
    left.plot([], [], "k-", label="CUDA graphs")
    left.plot([], [], "k--", label="eager")
    left.legend(frameon=False, fontsize=8.5)
    figure.savefig(file)


def main() -> None:
    """Writes table and plot."""
    rates = yaml.safe_load((FOLDER / "rates.yaml").read_text(encoding="utf-8"))
    networks = [count(name, option) for name, option in NETWORKS.items()]
    text = table(networks, rates)
    (FOLDER / "table.md").write_text(text, encoding="utf-8")
    draw(networks, rates, FOLDER / "scaling.png")
    print(text)


if __name__ == "__main__":
    main()
