"""Checks what a release would carry: names what is too much or missing in DIST, and fails if anything is."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL = re.compile(
    r"k8strace/(_core\.abi3\.so|_core\.pyi|py\.typed|([a-z_]+/)*[a-z_]+\.py)|k8strace-[^/]+\.dist-info/(licenses/)?[A-Za-z_.]+"
)
WHEEL_NEEDS = {"k8strace/__init__.py", "k8strace/_core.abi3.so", "k8strace/_core.pyi", "k8strace/py.typed"}
SDIST_NEEDS = {
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "rust/src/lib.rs",
}


def complaints(dist: Path) -> list[str]:
    """What is wrong with the one wheel and the one sdist in a folder."""
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    packed = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    return [
        *(
            f"{wheel.name}: {name} does not belong there"
            for name in sorted(packed)
            if not WHEEL.fullmatch(name)
        ),
        *(f"{wheel.name}: {name} is missing" for name in sorted(WHEEL_NEEDS - packed)),
        *(f"{sdist.name}: {name} is missing" for name in sorted(SDIST_NEEDS - sources)),
    ]


sys.exit("\n".join(complaints(Path(sys.argv[1]))) or 0)
