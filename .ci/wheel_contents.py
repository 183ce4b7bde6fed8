"""Checks what a release would carry: names what is too much or missing in DIST, and fails if anything is."""

import re
import sys
import tarfile
import zipfile
from pathlib import Path

WHEEL = re.compile(
    r"k8strace/(_core\.abi3\.so|_core\.pyi|py\.typed|page/page\.(js|css)|page/demo\.otlp\.zst|([a-z_]+/)*[a-z_]+\.py)|k8strace-[^/]+\.dist-info/(licenses/)?[A-Za-z_.-]+"
    r"|k8strace-[^/]+\.data/data/share/(man/man1|bash-completion|zsh|fish)/[A-Za-z0-9_./-]+"
)
WHEEL_NEEDS = {"k8strace/__init__.py", "k8strace/_core.abi3.so", "k8strace/_core.pyi", "k8strace/py.typed"}
SHARES = re.compile(r"\.data/data/share/.*k8strace(\.1|\.fish)?$")
LICENSES = re.compile(r"licenses/LICENSE(-THIRD-PARTY)?$")
PLATFORM = re.compile(r"manylinux2014_|musllinux_1_2_")
SDIST_NEEDS = {
    "pyproject.toml",
    "LICENSE",
    "LICENSE-THIRD-PARTY",
    "README.md",
    "rust/Cargo.toml",
    "rust/Cargo.lock",
    "rust/src/lib.rs",
}


def of_wheel(wheel: Path) -> list[str]:
    """What is wrong with a wheel."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    foreign = sorted(name for name in packed if not WHEEL.fullmatch(name))
    return [
        *(f"{wheel.name}: {name} does not belong there" for name in foreign),
        *(f"{wheel.name}: {name} is missing" for name in sorted(WHEEL_NEEDS - packed)),
        *(
            []
            if sum(map(bool, map(LICENSES.search, packed))) == 2
            else [f"{wheel.name}: licences are missing"]
        ),
        *(
            []
            if sum(map(bool, map(SHARES.search, packed))) == 4
            else [f"{wheel.name}: the manual page or a completion is missing"]
        ),
        *([] if PLATFORM.search(wheel.name) else [f"{wheel.name}: neither manylinux nor musllinux"]),
    ]


def of_sdist(sdist: Path) -> list[str]:
    """What is wrong with an sdist."""
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    return [f"{sdist.name}: {name} is missing" for name in sorted(SDIST_NEEDS - sources)]


def complaints(dist: Path) -> list[str]:
    """What is wrong with the wheels and the one sdist in a folder."""
    (sdist,) = dist.glob("*.tar.gz")
    return [*of_sdist(sdist), *(line for wheel in sorted(dist.glob("*.whl")) for line in of_wheel(wheel))]


sys.exit("\n".join(complaints(Path(sys.argv[1]))) or 0)
