"""`builder/main.py` of the stand-in platforms: PlatformIO runs it inside SCons.

For a Cortex-M project without a framework it replaces the script of the official platforms. The
compiler is tinyodl's choice (TINYODL_ARM_GCC), and uploaders come from PATH. The options are those
of the official script, so the firmware is the same.
"""

import os
from pathlib import Path

from elftools.elf.elffile import ELFFile
from SCons.Script import (
    COMMAND_LINE_TARGETS,
    AlwaysBuild,
    Builder,
    Default,
    DefaultEnvironment,
)

env = DefaultEnvironment()
board = env.BoardConfig()
compiler = os.environ.get("TINYODL_ARM_GCC", "arm-none-eabi-gcc")


def write_bin(target, source, env):  # type: ignore[no-untyped-def]
    """The content of flash, from its lowest address on, as raw bytes."""
    pieces = {}
    with Path(str(source[0])).open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            if segment["p_filesz"]:
                pieces[segment["p_paddr"]] = segment.data()
    start = min(pieces)
    image = bytearray()
    for address, data in sorted(pieces.items()):
        image.extend(b"\xff" * (address - start - len(image)))
        image.extend(data)
    Path(str(target[0])).write_bytes(bytes(image))


cpu = ["-mthumb", "-mcpu=" + board.get("build.cpu")]
env.Replace(
    CC=compiler,
    AS=compiler,
    LINK=compiler,
    PROGNAME="firmware",
    PROGSUFFIX=".elf",
    BUILDERS={
        **env["BUILDERS"],
        "ElfToBin": Builder(action=env.VerboseAction(write_bin, "Building $TARGET"), suffix=".bin"),
    },
)
env.Append(
    ASFLAGS=cpu,
    CCFLAGS=["-Os", "-ffunction-sections", "-fdata-sections", "-Wall", *cpu],
    CPPDEFINES=[("F_CPU", "$BOARD_F_CPU")],
    LINKFLAGS=["-Os", "-Wl,--gc-sections,--relax", *cpu],
    LIBS=["gcc"],
)

if "nobuild" in COMMAND_LINE_TARGETS:
    elf = "$BUILD_DIR/${PROGNAME}.elf"
    image = "$BUILD_DIR/${PROGNAME}.bin"
else:
    elf = env.BuildProgram()
    image = env.ElfToBin("$BUILD_DIR/${PROGNAME}", elf)
AlwaysBuild(env.Alias("nobuild", image))

env.Replace(UPLOADCMD=os.environ.get("TINYODL_UPLOAD", ""))
env.AddPlatformTarget(
    "upload", image, [env.VerboseAction("$UPLOADCMD", "Uploading $SOURCE")], "Upload"
)
Default([env.Alias("buildprog", image, image)])
