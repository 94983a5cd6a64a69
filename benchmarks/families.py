"""The benchmarks of the bundled nodes, each in a process of its own: `python benchmarks/families.py [NAME ...] [--quick]`.

Each module of `benchmarks/bundled` is one: it prints its values beside their targets, and ends with 1 if one is missed.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
NAMES = sorted(path.stem for path in (FOLDER / "bundled").glob("*.py") if not path.stem.startswith("_"))
"""The names of the benchmarks."""


def main() -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all unless given")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, to see that it works")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.names) - set(NAMES)):
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(NAMES)}")
    missed = []
    for name in arguments.names or NAMES:
        print(f"==> bundled.{name}", flush=True)
        command = [sys.executable, "-m", f"bundled.{name}", *(["--quick"] if arguments.quick else [])]
        if subprocess.run(command, cwd=FOLDER, check=False).returncode:
            missed.append(name)
    if missed:
        print(f"Targets were missed by: {', '.join(missed)}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
