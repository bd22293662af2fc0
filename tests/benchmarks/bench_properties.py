"""Properties under new examples: ``make test`` repeats its own, so that it fails for a change and nothing else.

.venv/bin/python tests/benchmarks/bench_properties.py --times 5
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

TESTS = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5, help="runs, each from a seed of its own")
    times = parser.parse_args().times
    failed = []
    for seed in np.random.SeedSequence().generate_state(times).tolist():
        command = [sys.executable, "-m", "pytest", "-q", "--hypothesis-profile=seeking", f"--hypothesis-seed={seed}"]
        if subprocess.run([*command, TESTS / "properties"], cwd=TESTS.parent, check=False).returncode:
            failed.append(seed)
    print(f"{times} runs, {len(failed)} of them with a property that does not hold; seeds: {failed}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
