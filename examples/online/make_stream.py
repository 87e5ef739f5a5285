"""Person 9's windows as a stream that is mostly unlabelled: `stream.npz`, and `test.npz`.

    python make_stream.py

`stream.npz` holds the first halves of the recordings; two labels of three are -1, for none. The
exercises are called 100 to 106, as nobody promised that labels begin at 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

WATCH = Path(__file__).parent.parent / "watch"


def main() -> None:
    """Write both files into the current directory."""
    for part, name in (("learn", "stream.npz"), ("test", "test.npz")):
        with np.load(WATCH / f"person9_{part}.npz") as data:
            x, y = data["x"], data["y"].astype(np.int64) + 100
        if part == "learn":
            y[np.random.default_rng(0).random(len(y)) < 2 / 3] = -1
        np.savez_compressed(name, x=x, y=y)
        print(f"{name}: {len(y)} windows, {(y >= 0).sum()} with a label")


if __name__ == "__main__":
    main()
