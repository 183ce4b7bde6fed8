"""
Writes what a wheel puts beside the program into DIR: the manual page and completions, made from the parser.

maturin takes them from `k8strace._core.data/` when it is there; in an environment they are below `share/`.
"""

import subprocess
import sys
from pathlib import Path

SHARES = {
    "man": "man/man1/k8strace.1",
    "bash": "bash-completion/completions/k8strace",
    "zsh": "zsh/site-functions/_k8strace",
    "fish": "fish/vendor_completions.d/k8strace.fish",
}
"""What `k8strace completion` is asked for → where man and the shells look for it."""


def write(folder: Path) -> None:
    """All of them, below `data/share/`."""
    for kind, place in SHARES.items():
        path = folder / "data" / "share" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "k8strace", "completion", kind]
        path.write_bytes(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
