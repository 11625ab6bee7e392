"""Keeps some inputs of every folder of corpus/, from the smallest to the largest: so many that
everybody's tests can try them.

Run in fuzz/, after `-merge=1` (README.md), which leaves only inputs that reach something of their own.
"""

import pathlib

MOST_INPUTS, MOST_BYTES = 30, 1500

for folder in sorted((pathlib.Path(__file__).parent / "corpus").iterdir()):
    inputs = sorted((path.stat().st_size, path) for path in folder.iterdir())
    small = [path for size, path in inputs if size <= MOST_BYTES]
    step = max(1, len(small) / MOST_INPUTS)
    kept = {small[int(at * step)] for at in range(min(MOST_INPUTS, len(small)))}
    for _, path in inputs:
        if path not in kept:
            path.unlink()
    print(folder.name, len(kept))
