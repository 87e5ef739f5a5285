"""Compilers, PlatformIO, and what to do where its registry cannot be reached."""

from tinyodl.pio.build import build, upload
from tinyodl.pio.compilers import ArmCompiler, find_arm_compiler, find_host_compiler
from tinyodl.pio.doctor import Check, doctor
from tinyodl.pio.measure import Build, RamSymbol, measure

__all__ = [
    "ArmCompiler",
    "Build",
    "Check",
    "RamSymbol",
    "build",
    "doctor",
    "find_arm_compiler",
    "find_host_compiler",
    "measure",
    "upload",
]
