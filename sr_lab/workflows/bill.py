"""Writing the bill of materials of what ships, as CycloneDX."""

import importlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.artefacts.bill import Part, models, packages
from sr_lab.base.extras import install
from sr_lab.base.files import write_bytes


@dataclass(frozen=True)
class Bill:
    """What ships.

    Attributes:
        file: The bill of materials.
        packages: sr_lab and what it needs.
        models: What comes along, and exports.
    """

    file: Path
    packages: tuple[Part, ...]
    models: tuple[Part, ...]

    @property
    def licences(self) -> Mapping[str, int]:
        """How many parts are under which licence, the commonest first."""
        return dict(Counter(part.licence for part in (*self.packages, *self.models)).most_common())


def write_bill(output: Path, *, extras: Sequence[str] = (), exports: Sequence[Path] = ()) -> Bill:
    """Writes the bill of materials (CycloneDX 1.6 in JSON), checked against its schema.

    Args:
        output: The file.
        extras: Extras of sr_lab that ship too.
        exports: Folders of ``srlab export`` that ship too.

    Raises:
        ValueError: If something that ships is not installed, or a model's file is not the one that was saved.
    """
    try:
        importlib.import_module("cyclonedx")
    except ModuleNotFoundError as error:
        raise ValueError(f"a bill of materials needs cyclonedx-python-lib: {install('cyclonedx')}") from error
    bill = Bill(output, tuple(packages(extras)), tuple(models(exports)))
    write_bytes(output, (_cyclonedx(bill) + "\n").encode())
    return bill


def _cyclonedx(bill: Bill) -> str:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    def package(part: Part) -> Any:
        purl = PackageURL("pypi", name=part.name, version=part.version)
        return Component(
            name=part.name, version=part.version, bom_ref=str(purl), purl=purl, licenses=_licences(part),
            type=ComponentType.LIBRARY,
        )  # fmt: skip

    def model(part: Part) -> Any:
        parents = [
            Component(
                name=name, type=ComponentType.MACHINE_LEARNING_MODEL, bom_ref=f"{part.name}:parent:{digest}",
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )
            for name, digest in part.parents.items()
        ]  # fmt: skip
        return Component(
            name=part.name, version=part.version, bom_ref=f"model:{part.name}", licenses=_licences(part),
            type=ComponentType.MACHINE_LEARNING_MODEL, pedigree=Pedigree(ancestors=parents) if parents else None,
            properties=[Property(name=f"srlab:sha256:{name}", value=digest) for name, digest in part.hashes.items()],
        )  # fmt: skip

    found = {part.name: package(part) for part in bill.packages}
    whole = Bom()
    own = whole.metadata.component = found[bill.packages[0].name]
    shipped = [model(part) for part in bill.models]
    for part in bill.packages:
        if found[part.name] is not own:
            whole.components.add(found[part.name])
        more = shipped if found[part.name] is own else []
        whole.register_dependency(found[part.name], [*(found[name] for name in part.needs), *more])
    for each in shipped:
        whole.components.add(each)
    text = str(make_outputter(whole, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2))
    if (wrong := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)) is not None:
        raise ValueError(f"the bill of materials is not valid CycloneDX: {wrong}")
    return text


def _licences(part: Part) -> Any:
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(part.licence)]
