"""Bills of materials in CycloneDX's JSON. Pure: equal input gives equal text."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import (
    ExternalReference,
    ExternalReferenceType,
    HashAlgorithm,
    HashType,
    Property,
    XsUri,
)
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from release.locks import UNKNOWN, Package


def sbom(subject: Component, packages: Iterable[Package], epoch: int) -> str:
    """The bill of `subject`, which depends on each of the packages. `epoch` is its time."""
    components = [_component(package) for package in sorted(set(packages), key=_key)]
    bom = Bom(
        components=components,
        metadata=BomMetaData(component=subject, timestamp=datetime.fromtimestamp(epoch, UTC)),
    )
    bom.register_dependency(subject, components)
    content = JsonV1Dot6(bom)
    # A name of the content: a random serial number would differ in every build.
    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, content.output_as_string())
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _key(package: Package) -> tuple[str, str, str]:
    return package.kind, package.name, package.version or ""


def wheel_component(name: str, version: str, digest: str) -> Component:
    """The wheel, by its SHA-256."""
    purl = PackageURL("pypi", None, name, version)
    return Component(
        name=name,
        version=version,
        purl=purl,
        bom_ref=str(purl),
        type=ComponentType.APPLICATION,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )


def image_component(name: str, version: str) -> Component:
    """An image that is built from this release."""
    return Component(name=name, version=version, bom_ref=name, type=ComponentType.CONTAINER)


def _component(package: Package) -> Component:
    purl = _purl(package)
    hashes = [HashType(alg=HashAlgorithm(a), content=digest) for a, digest in package.hashes]
    known = package.license != UNKNOWN
    unpinned = Property(name="guildnet:version", value="chosen by apt when the image is built")
    return Component(
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=str(purl),
        licenses=[LicenseFactory().make_from_string(package.license)] if known else [],
        properties=[] if package.version else [unpinned],
        # A version can have several files, of which an installation takes one.
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION, url=XsUri(str(purl)), hashes=hashes
            )
        ]
        if hashes
        else [],
    )


def _purl(package: Package) -> PackageURL:
    namespace, _, name = package.name.rpartition("/")
    if package.kind == "deb":
        namespace = "debian"
    return PackageURL(package.kind, namespace or None, name, package.version)
