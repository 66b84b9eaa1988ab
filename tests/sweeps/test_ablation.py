"""Intervals and paired tests over seeds, against scipy; the tables and plots of the command."""

import json

import numpy as np
import pytest
from scipy import stats

from sr_lab.cli import main
from sr_lab.sweeps.ablation import cells_of, compare

SEEDS = range(5)


@pytest.fixture
def trials():
    generator = np.random.default_rng(0)
    shared = {seed: generator.normal(30, 0.3) for seed in SEEDS}
    gains = {"[l1]": 0.0, "[l2]": -0.2, "[charbonnier]": 0.02}
    rows = []
    for loss, gain in gains.items():
        for seed in SEEDS:
            value = shared[seed] + gain + generator.normal(0, 0.02)
            params = {"loss": loss, "seed": seed}
            rows.append({"params": params, "state": "complete", "values": [value]})
    return rows


def test_statistics_are_those_of_scipy(trials):
    cells = cells_of(trials, objective=0, seed="seed")
    first, second, third = compare(cells, alpha=0.05)
    by_loss = [list(cells[(("loss", name),)].values()) for name in ("[l1]", "[l2]", "[charbonnier]")]
    for choice, values in zip((first, second, third), by_loss, strict=True):
        low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        assert (choice.mean - choice.half, choice.mean + choice.half) == pytest.approx((low, high))
    raw = [stats.ttest_rel(values, by_loss[0]).pvalue for values in by_loss[1:]]
    assert [second.p, third.p] == pytest.approx([min(1, 2 * raw[0]), max(2 * raw[0], raw[1])])
    assert second.p < 0.001
    assert second.half > 3 * second.difference_half, "pairing takes the seeds' own spread out"


def test_a_seed_that_failed_is_left_out_of_the_pairs(trials):
    trials[7]["state"] = "failed"
    choices = compare(cells_of(trials, objective=0, seed="seed"))
    assert [len(choice.paired) for choice in choices] == [0, 4, 5]


def test_the_labels_of_the_baseline_come_in_any_order():
    cells = {(("a", x), ("b", y)): {0: x + y, 1: x} for x in (1, 2) for y in (3, 4)}
    assert compare(cells, baseline=(("b", 4), ("a", 1)))[0].setting == (("a", 1), ("b", 4))
    with pytest.raises(ValueError, match="a=1, b=3; a=1, b=4"):
        compare(cells, baseline=(("a", 1),))


def test_the_command_writes_tables_and_plots(trials, tmp_path, capsys):
    (tmp_path / "trials.json").write_text(json.dumps({"objectives": {"val/psnr_y": "maximize"}, "trials": trials}))
    assert main(["report", f"sweep={tmp_path}", "baseline={loss:'[l2]'}"]) == 0
    assert capsys.readouterr().out.startswith("| choice | seeds | val/psnr_y (95 % interval)")
    table = (tmp_path / "ablation" / "table.md").read_text().splitlines()
    assert table[2].startswith("| loss=[l2] | 5 |")
    assert "+0.2" in table[3]
    latex = (tmp_path / "ablation" / "table.tex").read_text()
    bold = [line for line in latex.splitlines() if r"$\mathbf{" in line]
    assert [line.split(" &")[0] for line in bold] == ["loss=[charbonnier]"]
    assert r"\textbf{$" not in latex, "LaTeX does not set mathematics in bold by that"
    assert r"val/psnr\_y" in latex
    assert (tmp_path / "ablation" / "ablation.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "ablation" / "ablation.pdf").read_bytes().startswith(b"%PDF")
    assert main(["report", f"sweep={tmp_path}", "seed=other"]) == 1
    assert "Sweep over seeds too" in capsys.readouterr().err
    assert main(["report", f"sweep={tmp_path}", "baseline={loss:x}"]) == 1
    assert "no such baseline" in capsys.readouterr().err
