"""The software bill of materials (CycloneDX 1.6, JSON) of the program, for one target.

Components are the crates of Cargo.lock that cargo takes for that target: scope `required` for what is
inside the program, `excluded` for what only ran while it was built (macros and build scripts). Each has the
digest of its archive from Cargo.lock, its licence, and what it depends on. Swagger UI, which poem-openapi brings
as files, is there too, as the package of npm that these files are of. Rust's standard library and, in the static
build, the C library are not listed: no manifest names them.

Usage: sbom.py TARGET FILE.cdx.json     Needs cargo, and cyclonedx-python-lib[json-validation].
The file is refused by this script itself if it does not fit CycloneDX's schema. Its time is that of
SOURCE_DATE_EPOCH, else now.
"""

import datetime
import os
import pathlib
import sys
import tomllib
import uuid

import crates
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL


def component(package, digests, inside):
    key = package["name"], package["version"]
    return Component(
        name=key[0],
        version=key[1],
        type=ComponentType.APPLICATION if key[0] == crates.PROGRAM else ComponentType.LIBRARY,
        bom_ref=f"{key[0]}@{key[1]}",
        description=(package["description"] or "").strip() or None,
        scope=ComponentScope.REQUIRED if key in inside else ComponentScope.EXCLUDED,
        purl=PackageURL("cargo", name=key[0], version=key[1]),
        licenses=[declared(crates.licence(package))],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digests[key])] if key in digests else [],
    )


def declared(licence):
    return LicenseFactory().make_from_string(licence, license_acknowledgement=LicenseAcknowledgement.DECLARED)


def page_of_the_api(version):
    return Component(
        name="swagger-ui-dist",
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"npm/swagger-ui-dist@{version}",
        scope=ComponentScope.REQUIRED,
        purl=PackageURL("npm", name="swagger-ui-dist", version=version),
        licenses=[declared("Apache-2.0")],
    )


def bill(target):
    metadata = crates.metadata(target)
    with open(crates.ROOT / "Cargo.lock", "rb") as lock:
        digests = {
            (package["name"], package["version"]): package["checksum"]
            for package in tomllib.load(lock)["package"]
            if "checksum" in package
        }
    inside = crates.taken(target, crates.INSIDE)
    everything = crates.taken(target, crates.EVERYTHING)
    components = {
        package["id"]: component(package, digests, inside)
        for package in metadata["packages"]
        if (package["name"], package["version"]) in everything
    }
    if len(components) != len(everything):
        raise SystemExit("sbom.py: cargo tree and cargo metadata do not name the same crates")
    bom = Bom()
    bom.metadata.timestamp = moment()
    for component_ in components.values():
        if component_.name == crates.PROGRAM:
            bom.metadata.component = component_
        else:
            bom.components.add(component_)
    bringer, version = crates.swagger_ui(metadata["packages"])
    page = page_of_the_api(version)
    bom.components.add(page)
    for node in metadata["resolve"]["nodes"]:
        if node["id"] not in components:
            continue
        needs = [
            components[edge["pkg"]]
            for edge in node["deps"]
            if edge["pkg"] in components and any(kind["kind"] != "dev" for kind in edge["dep_kinds"])
        ]
        if node["id"] == bringer["id"]:
            needs.append(page)
        bom.register_dependency(components[node["id"]], needs)
    # The same crates for the same target are the same bill.
    content = "".join(sorted(str(component_.bom_ref) for component_ in components.values()))
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{target} {content}")
    return bom


def moment():
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given is None:
        return datetime.datetime.now(datetime.UTC)
    return datetime.datetime.fromtimestamp(int(given), datetime.UTC)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    target, path = sys.argv[1], pathlib.Path(sys.argv[2])
    bom = bill(target)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if problem is not None:
        sys.exit(f"sbom.py: the bill does not fit the schema: {problem}")
    path.write_text(text + "\n", encoding="utf-8")
    scopes = [component_.scope for component_ in bom.components if component_.purl.type == "cargo"]
    print(
        f"{path}: {scopes.count(ComponentScope.REQUIRED)} crates inside {crates.PROGRAM} for {target}, "
        f"{scopes.count(ComponentScope.EXCLUDED)} more to build it"
    )


if __name__ == "__main__":
    main()
