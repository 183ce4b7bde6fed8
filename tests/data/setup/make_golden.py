"""
Writes the golden texts of `setup render`: python tests/data/setup/make_golden.py

One text per target holds every cell of Kubernetes 1.22 to 1.37 with etcd 3.5.0, 3.5.5, 3.5.11, 3.6 and 3.7.
Pieces that several cells share are written once, with the cells in front; pages are cut at headings and bullets.
A changed golden is read by a person against `FACTS` in tests/test_setup_render.py before it is committed.
"""

import itertools
from collections import defaultdict
from pathlib import Path

from k8strace.setup.render import render
from k8strace.setup.settings import TARGETS, settings

HERE = Path(__file__).parent
KUBERNETES = [f"1.{minor}" for minor in range(22, 38)]
ETCD = ["3.5.0", "3.5.5", "3.5.11", "3.6", "3.7"]
MARK = "#### "

Cell = tuple[str, str]


def pieces(target: str, cell: Cell) -> list[tuple[str, str]]:
    """The files of a cell by path, in order; pages cut at headings and bullets."""
    found = []
    for path, file in render(settings(k8s=cell[0], etcd=cell[1], target=target)).items():
        text = placeless(file.text, cell)
        cuts = text.split("\n## ") if path == "README.md" else [text]
        for part in cuts:
            title = part.partition("\n")[0].removeprefix("# ")
            bullets = part.split("\n- ") if title == "What to expect" else [part]
            found += [
                (f"{path}: {title}" if path == "README.md" else path, bullet.strip()) for bullet in bullets
            ]
    return found


def placeless(page: str, cell: Cell) -> str:
    """A text that says `{K8S}` and `{ETCD}` where the versions that name the cell stand."""
    page = page.replace(f"--kubernetes-version=v{cell[0]}.0", "--kubernetes-version=v{K8S}.0")
    page = page.replace(f"--k8s {cell[0]} --etcd {cell[1]}", "--k8s {K8S} --etcd {ETCD}")
    page = page.replace(f"Kubernetes {cell[0]} and etcd {cell[1]}.", "Kubernetes {K8S} and etcd {ETCD}.")
    return page.replace(f"kindest/node:v{cell[0]}.X", "kindest/node:v{K8S}.X")


def golden(target: str) -> str:
    """Every distinct piece once, with the cells that it belongs to."""
    cells: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in itertools.product(KUBERNETES, ETCD):
        for piece in pieces(target, cell):
            cells[piece].append(cell)
    return "".join(
        f"{MARK}{path} | {named(where)}\n{text}\n"
        for (path, text), where in sorted(cells.items(), key=lambda item: (item[0][0], item[1]))
    )


def named(cells: list[Cell]) -> str:
    """Cells as "1.22 1.23 x 3.6 3.7; 1.24 x 3.6"."""
    by_k8s: dict[str, list[str]] = defaultdict(list)
    for k8s, etcd in cells:
        by_k8s[k8s].append(etcd)
    rows: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for k8s, etcds in by_k8s.items():
        rows[tuple(etcds)].append(k8s)
    return "; ".join(f"{' '.join(k8s)} x {' '.join(etcds)}" for etcds, k8s in rows.items())


if __name__ == "__main__":
    for name in TARGETS:
        (HERE / "golden").mkdir(exist_ok=True)
        (HERE / "golden" / f"{name}.txt").write_text(golden(name), "utf-8")
