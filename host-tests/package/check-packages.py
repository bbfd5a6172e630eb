"""Checks that the installed wheel has the component of a release and the npm package its core
modules, that both have the licences of the crates, and that the bill of materials states the
licences of what the wheel requires. The argument is the folder of the release."""

import json
import sys
import tarfile
from importlib import resources
from importlib.metadata import metadata
from pathlib import Path

(folder,) = map(Path, sys.argv[1:])
(component,) = folder.glob("clawdb-session-sync-*[0-9].wasm")
wheel = resources.files("clawdb_session")
installed = wheel.joinpath("session-sync.wasm").read_bytes()
assert installed == component.read_bytes(), f"the wheel has another component than {component}"
notices = folder.joinpath("THIRD-PARTY-LICENSES").read_bytes()
assert wheel.joinpath("THIRD-PARTY-LICENSES").read_bytes() == notices

(package,) = folder.glob("*.tgz")
with tarfile.open(package) as archive:
    names = [name for name in archive.getnames() if name.endswith(".core.wasm")]
    main = archive.extractfile(names[0])
    assert main is not None and main.read() in component.read_bytes(), f"{names[0]} is another"
    packed = archive.extractfile("package/dist/THIRD-PARTY-LICENSES")
    assert packed is not None and packed.read() == notices

(bill,) = folder.glob("*.cdx.json")
items = json.loads(bill.read_text(encoding="utf-8"))["components"]
required = [item for item in items if item.get("purl", "").startswith("pkg:pypi/")]
others = [item for item in required if item["name"] != "clawdb-session"]
assert others, "the bill lists no requirement of the wheel"
for item in others:
    found = metadata(item["name"])
    licence = found["License-Expression"] or found["License"]
    (stated,) = (entry["expression"] for entry in item["licenses"])
    assert (item["version"], stated) == (found["Version"], licence), (item, licence)
print(f"both packages have {component.name}; the wheel requires {len(others)} package")
