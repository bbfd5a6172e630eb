"""Checks a bill of materials with the schema of CycloneDX, and that its references exist."""

import json
import sys
from pathlib import Path

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

(file,) = map(Path, sys.argv[1:])
text = file.read_text(encoding="utf-8")
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
assert error is None, error

bill = json.loads(text)
references = [item["bom-ref"] for item in bill["components"]]
references.append(bill["metadata"]["component"]["bom-ref"])
assert len(set(references)) == len(references), "references are repeated"
for dependency in bill["dependencies"]:
    for reference in [dependency["ref"], *dependency["dependsOn"]]:
        assert reference in references, f"{reference} is not listed"
listed = {reference for it in bill["dependencies"] for reference in it["dependsOn"]}
assert set(references[:-1]) == listed, "something is listed that nothing depends on"
print(f"{file.name} is valid; it lists {len(references) - 1} items")
