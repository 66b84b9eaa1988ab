"""List what ships, with its licences: packages, the models that come along, exports; as a CycloneDX bill of materials.

    srlab sbom output=sbom.json                                     # sr-lab and what it needs
    srlab sbom output=sbom.json extras=[serve,codecs,onnx,ncnn]     # what the image of conf/deploy/Dockerfile holds
    srlab sbom output=sbom.json exports=[exports/edge]              # with what srlab export wrote

Versions and licences are those of the installed packages, as their authors tell them. Models are compared with their
hashes first; an export names what it was made of. Needs  pip install 'sr-lab[sbom]'.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.bill import write_bill


def run(cfg: DictConfig) -> int:
    """Writes the bill of materials, and prints the licences; see the module's docstring."""
    bill = called(write_bill, cfg)
    print(f"{counted(len(bill.packages), 'package')} and {counted(len(bill.models), 'model')} in {bill.file}")
    for licence, count in bill.licences.items():
        print(f"{count:>5}  {licence}")
    return 0
