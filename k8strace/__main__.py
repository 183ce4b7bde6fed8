"""`python -m k8strace` is the command `k8strace`."""

import sys

from k8strace.cli import main

if __name__ == "__main__":
    sys.exit(main())
