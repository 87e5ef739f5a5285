"""Torture tinyodl for as long as there is time, and print what held.

    python -m tests.torture [--seconds 600] [--seed 0] [SUBJECT ...]

Every subject gets the same time. Ends with exit code 1 when something did not hold, and prints the
seed with which that happens again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

from tests.torture import Outcome, subjects


def main() -> int:
    every = subjects()
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.torture", None, __doc__, formatter_class=raw)
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", choices=[*every, []],
                        help=", ".join(every))  # fmt: skip
    parser.add_argument("--seconds", type=float, default=600.0, help="for all subjects together")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    names = given.subjects or list(every)
    failed = 0
    for name in names:
        print(f"\n{name}: {every[name].WHAT}", flush=True)
        failed += _subject(name, given.seed, given.seconds / len(names))
    return 1 if failed else 0


def _subject(name: str, seed: int, seconds: float) -> int:
    """Trials of one subject, at least one; how many of them did not hold."""
    tried: Counter[str] = Counter()
    failures: list[tuple[int, Outcome]] = []
    end = time.monotonic() + seconds
    for number, outcome in enumerate(subjects()[name].trials(seed)):
        row, wrong = outcome
        tried[row] += 1
        if wrong is not None:
            failures.append((number, outcome))
            print(f"  trial {number} of seed {seed}, {row}: {wrong}", file=sys.stderr, flush=True)
        if time.monotonic() > end:
            break
    lost = Counter(row for _, (row, _) in failures)
    print("  | what | tried | held |\n  |---|--:|--:|")
    for row, count in sorted(tried.items()):
        print(f"  | {row} | {count:,} | {count - lost[row]:,} |")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
