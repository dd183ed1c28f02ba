"""`python -m MedCompressLib`, the same as the command `medcompress`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
