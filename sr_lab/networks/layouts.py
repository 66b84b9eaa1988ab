"""The names that the authors of public weights gave to the tensors of our networks.

Each layout is written from our names to the public ones: a list of (pattern, replacement), the first match decides.
"""

import re
from collections.abc import Callable

from torch import nn

from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.srcnn import SRCNN
from sr_lab.networks.swinir import SwinIR

Rules = list[tuple[str, str]]


def layouts_of(network: nn.Module) -> dict[str, Callable[[str], str]]:
    """For each public layout of this network, the function from our names to its names.

    Known are EDSR of EDSR-PyTorch (with its mean shifts), BasicSR and MMagic; RDN of EDSR-PyTorch and of RDN-pytorch /
    MMagic; SRCNN of SRCNN-pytorch; FSRCNN of FSRCNN-pytorch and of Lornatang; RRDBNet of ESRGAN (old and new) and of
    BasicSR / Real-ESRGAN; Compact of Real-ESRGAN; SwinIR of its authors.
    """
    rules: dict[str, Rules] = {}
    if isinstance(network, EDSR):
        last = len(network.body) - 1
        rules["EDSR-PyTorch"] = [
            (r"head\.", "head.0."),
            (r"upsampler\.", "tail.0."),
            (r"tail\.", "tail.1."),
        ]
        rules["BasicSR"] = [
            (r"head\.", "conv_first."),
            (rf"body\.{last}\.", "conv_after_body."),
            (r"body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
            (r"body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
            (r"upsampler\.", "upsample."),
            (r"tail\.", "conv_last."),
        ]
        stages = [(rf"upsampler\.{2 * stage}\.", f"upsample.{stage}.upsample_conv.")
                  for stage in range(len(network.upsampler) // 2)]  # fmt: skip
        rules["MMagic"] = [*stages, *rules["BasicSR"]]
    elif isinstance(network, FSRCNN):
        rules |= _fsrcnn_rules(network)
    elif isinstance(network, RDN):
        last = len(network.upsampler)
        rules["EDSR-PyTorch"] = [
            (r"head\.", "SFENet1."),
            (r"entry\.", "SFENet2."),
            (r"blocks\.(\d+)\.layers\.(\d+)\.", r"RDBs.\1.convs.\2.conv.0."),
            (r"blocks\.(\d+)\.fusion\.", r"RDBs.\1.LFF."),
            (r"fusion\.", "GFF."),
            (r"upsampler\.", "UPNet."),
            (r"tail\.", f"UPNet.{last}."),
        ]
        rules["RDN-pytorch"] = [
            (r"head\.", "sfe1."),
            (r"entry\.", "sfe2."),
            (r"blocks\.(\d+)\.layers\.(\d+)\.", r"rdbs.\1.layers.\2.conv."),
            (r"blocks\.(\d+)\.fusion\.", r"rdbs.\1.lff."),
            (r"fusion\.", "gff."),
            (r"upsampler\.", "upscale."),
            (r"tail\.", "output."),
        ]
    elif isinstance(network, SRCNN):
        names = ((0, "conv1"), (2, "conv2"), (4, "conv3"))
        rules["SRCNN-pytorch"] = [(rf"layers\.{index}\.", f"{public}.") for index, public in names]
    elif isinstance(network, RRDBNet):
        rules |= _rrdb_rules(network)
    elif isinstance(network, Compact):
        last = len(network.body)
        rules["Real-ESRGAN"] = [(r"upsampler\.0\.", f"body.{last}.")]
    elif isinstance(network, SwinIR):
        block = r"layers.\1.residual_group.blocks.\2."
        layer = r"groups\.(\d+)\.layers\.(\d+)\."
        rules["SwinIR"] = [
            (r"head\.", "conv_first."),
            (r"norm_in\.", "patch_embed.norm."),
            (layer + r"attention\.bias_table", block + "attn.relative_position_bias_table"),
            (layer + r"attention\.", block + "attn."),
            (layer + r"mlp\.0\.", block + "mlp.fc1."),
            (layer + r"mlp\.2\.", block + "mlp.fc2."),
            (layer, block),
            (r"groups\.(\d+)\.conv\.", r"layers.\1.conv."),
            (r"norm_out\.", "norm."),
            (r"trunk\.", "conv_after_body."),
            (r"upsampler\.", "upsample."),
        ]
    return {layout: _renaming(table) for layout, table in rules.items()}


def _fsrcnn_rules(network: FSRCNN) -> dict[str, Rules]:
    """FSRCNN-pytorch counts its layers in three parts, Lornatang's in five; ours in one, its upsampling apart."""
    last = len(network.features) - 2  # the expansion, with its slopes behind it
    inner = range(2, last + 2)
    three = [(rf"features\.{index}\.", f"mid_part.{index - 2}.") for index in inner]
    five = [(rf"features\.{index}\.", f"map.{index - 4}.") for index in range(4, last)]
    for index, name in ((2, "shrink"), (last, "expand")):
        five += [(rf"features\.{index + place}\.", f"{name}.{place}.") for place in (0, 1)]
    return {
        "FSRCNN-pytorch": [*three, (r"features\.", "first_part."), (r"deconv\.", "last_part.")],
        "FSRCNN of Lornatang": [*five, (r"features\.", "feature_extraction.")],
    }


def _rrdb_rules(network: RRDBNet) -> dict[str, Rules]:
    """ESRGAN's names before and after its clean-up, and BasicSR's; their blocks count from 1."""
    table: dict[str, Rules] = {"ESRGAN": [], "BasicSR": [], "ESRGAN (old)": []}
    stages = len(network.factors)
    for dense in range(3):
        for layer in range(5):
            inner = rf"body\.(\d+)\.blocks\.{dense}\.layers\.{layer}\."
            table["ESRGAN"].append((inner, rf"RRDB_trunk.\1.RDB{dense + 1}.conv{layer + 1}."))
            table["BasicSR"].append((inner, rf"body.\1.rdb{dense + 1}.conv{layer + 1}."))
            table["ESRGAN (old)"].append((inner, rf"model.1.sub.\1.RDB{dense + 1}.conv{layer + 1}.0."))
    names = {"head": "conv_first", "tail": "conv_last"}
    table["ESRGAN"] += [(rf"{own}\.", f"{public}.") for own, public in (names | {"trunk": "trunk_conv"}).items()]
    table["BasicSR"] += [(rf"{own}\.", f"{public}.") for own, public in (names | {"trunk": "conv_body"}).items()]
    table["ESRGAN"].append((r"high\.", "HRconv."))
    table["BasicSR"].append((r"high\.", "conv_hr."))
    sequence = {"head": "0", "trunk": f"1.sub.{len(network.body)}"}
    sequence |= {"high": str(3 * stages + 2), "tail": str(3 * stages + 4)}
    table["ESRGAN (old)"] += [(rf"{own}\.", f"model.{place}.") for own, place in sequence.items()]
    for stage in range(stages):
        table["ESRGAN"].append((rf"upsampler\.{stage}\.", f"upconv{stage + 1}."))
        table["BasicSR"].append((rf"upsampler\.{stage}\.", f"conv_up{stage + 1}."))
        table["ESRGAN (old)"].append((rf"upsampler\.{stage}\.", f"model.{3 * stage + 3}."))
    return table


def _renaming(rules: Rules) -> Callable[[str], str]:
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]

    def rename(key: str) -> str:
        for pattern, replacement in compiled:
            if pattern.match(key):
                return pattern.sub(replacement, key, count=1)
        return key

    return rename
