"""Writes OUT, a CycloneDX 1.5 list of what a wheel is made of: the crates of Cargo.lock and the Python requirements."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def crates() -> list[dict[str, Any]]:
    """What Cargo.lock pins and fetched from a registry, with its checksum. The lock has what only tests use too."""
    locked = tomllib.loads((ROOT / "rust/Cargo.lock").read_text())["package"]
    return [
        {
            "type": "library",
            "name": crate["name"],
            "version": crate["version"],
            "purl": f"pkg:cargo/{crate['name']}@{crate['version']}",
            "bom-ref": f"pkg:cargo/{crate['name']}@{crate['version']}",
            "hashes": [{"alg": "SHA-256", "content": crate["checksum"]}],
        }
        for crate in locked
        if "checksum" in crate
    ]


def requirements() -> list[dict[str, Any]]:
    """What is installed beside it, in the versions that pyproject.toml allows."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = [requirement.partition(">=") for requirement in asked]
    return [
        {
            "type": "library",
            "name": name,
            "scope": "required",
            "bom-ref": f"pkg:pypi/{name}",
            "purl": f"pkg:pypi/{name}",
            "description": f"any version from {least}",
        }
        for name, _, least in names
    ]


def document() -> dict[str, Any]:
    """The list. It has no time and no serial number: the same sources give the same bytes."""
    version = tomllib.loads((ROOT / "rust/Cargo.toml").read_text())["package"]["version"]
    own = f"pkg:pypi/k8strace@{version}"
    parts = [*requirements(), *crates()]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "name": "k8strace",
                "version": version,
                "bom-ref": own,
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": parts,
        "dependencies": [{"ref": own, "dependsOn": [part["bom-ref"] for part in parts]}],
    }


Path(sys.argv[1]).write_text(json.dumps(document(), indent=2) + "\n")
