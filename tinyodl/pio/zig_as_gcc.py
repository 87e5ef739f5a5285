"""`arm-none-eabi-gcc` for Cortex-M, played by Zig's C compiler: run as a script by SCons.

It takes PlatformIO's options for GCC, leaves out those that clang does not know or Zig sets by
itself, and becomes `zig cc`. It imports nothing of tinyodl, so it starts at once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_ALWAYS = (
    "-fno-sanitize=undefined",  # Zig's default; its traps are not part of the firmware
    "-fno-stack-protector",
)

# GCC's FPUs, as clang's features of a processor: plain cortex_m4 has none.
_FPUS = {
    "fpv4-sp-d16": "vfp4d16sp",
    "fpv5-sp-d16": "fp_armv8d16sp",
    "fpv5-d16": "fp_armv8d16",
}

# The target says these, or Zig's own run-time library and lack of start files do.
_LEFT_OUT = {"-mthumb", "-nostartfiles", "-nostdlib", "-lgcc", "-lc", "-lm"}
_LEFT_OUT_PREFIXES = ("-mcpu=", "-mfpu=", "-mfloat-abi=", "--specs", "-Wl,-Map", "-Wl,--relax")

# clang's -O2 unrolls and vectorises for machines with far more registers and cache.
_REPLACED = {"-O2": "-Os", "-O3": "-Os", "-Wl,--gc-sections,--relax": "-Wl,--gc-sections"}


def arguments(given: list[str]) -> list[str]:
    """The options for `zig cc` with the same meaning as these for arm-none-eabi-gcc."""
    kept = [
        _REPLACED.get(option, option)
        for option in given
        if option not in _LEFT_OUT and not option.startswith(_LEFT_OUT_PREFIXES)
    ]
    return ["cc", *target(given), *_ALWAYS, *kept]


def target(given: list[str]) -> list[str]:
    """Zig's target for the processor, FPU and calling convention that GCC's options name."""
    cpu = _value("-mcpu=", given).replace("-", "_")
    fpu = _FPUS.get(_value("-mfpu=", given))
    convention = "eabihf" if "-mfloat-abi=hard" in given else "eabi"
    named = [f"-mcpu={cpu}+{fpu}" if fpu else f"-mcpu={cpu}"] if cpu else []
    return ["-target", f"thumb-freestanding-{convention}", *named]


def _value(prefix: str, given: list[str]) -> str:
    """The value of the last option with this prefix; "" if there is none."""
    return next((o.removeprefix(prefix) for o in reversed(given) if o.startswith(prefix)), "")


def main() -> int:
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        print("zig_as_gcc: ziglang is not installed for this Python", file=sys.stderr)
        return 1
    zig = Path(package.origin).with_name("zig.exe" if os.name == "nt" else "zig")
    return subprocess.call([str(zig), *arguments(sys.argv[1:])])


if __name__ == "__main__":
    sys.exit(main())
