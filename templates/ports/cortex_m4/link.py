"""For PlatformIO, after its own settings: link with the FPU's calling convention and without a C
library, because the firmware brings its own start-up code and memory functions."""

from SCons.Script import Import

Import("env")
env = globals()["env"]

C_LIBRARY = {"c", "m", "stdc++", "nosys", "gcc"}

env.Replace(
    LINKFLAGS=[flag for flag in env.get("LINKFLAGS", []) if not str(flag).startswith("--specs")],
    LIBS=[library for library in env.get("LIBS", []) if library not in C_LIBRARY],
)
env.Append(
    LINKFLAGS=[
        "-mfloat-abi=hard",
        "-mfpu=fpv4-sp-d16",
        "-nostartfiles",
        "-nostdlib",
        "-Wl,--entry=port_reset_handler",
    ],
    LIBS=["gcc"],  # what the processor cannot do by itself: 64-bit division, double
)
