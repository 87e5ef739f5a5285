"""Time and energy of a step, from counted cycles and the board's profile; each names its source.

Nothing here measures a current. Energy is supply voltage x run current x time with the figures of
the board's TOML, and is always called "estimated".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from tinyodl.targets.boards import Board

Link = Literal["serial", "virtual", "qemu", "host"]

_CLOCKS = {0: "DWT", 1: "timer", 2: "host clock"}  # port_clock_source() in lib/port/port.h


@dataclass(frozen=True)
class Meter:
    """Turns cycles into milliseconds and, where the board's currents are known, millijoules.

    Where `has_cycles` is False, what the board counts are instructions: there is no time of them.
    """

    clock_hz: int
    time_source: str
    power_mw: float | None
    energy_source: str | None
    has_cycles: bool = True

    def cycles(self, counted: tuple[int, int, int]) -> tuple[int, int, int] | None:
        """What the board counted, by phase, as cycles; None where they are none."""
        return counted if self.has_cycles else None

    def ms(self, cycles: float) -> float | None:
        """Milliseconds of that many cycles; None where they are none."""
        return cycles / self.clock_hz * 1e3 if self.has_cycles else None

    def mj(self, cycles: float) -> float | None:
        """Millijoules of that many cycles; None where no power is known."""
        return None if self.power_mw is None else self.power_mw * cycles / self.clock_hz


def no_cycles(board: Board) -> str:
    """Why a virtual board has no time: a sentence's end that names its processor."""
    return f"tinyodl has no model of the cycles of a {board.target.cpu}"


def estimate_meter(board: Board) -> Meter:
    """The meter for cycles that the planner estimates; where they are none, so is time."""
    counted = meter(board, "virtual", 0, board.clock_hz)
    if not counted.has_cycles:
        return counted
    return replace(counted, time_source="estimate of the virtual board's modelled cycles")


def link_of(port: str | None, board: Board) -> Link:
    """How `--port` reaches a board; without it the host build of board "host", else a device."""
    match "host" if port is None and board.on_host else port:
        case "virtual" | "qemu" | "host" as emulated:
            return emulated
        case _:
            return "serial"


def meter(board: Board, link: Link, clock_source: int, clock_hz: int) -> Meter:
    """The meter for a board reached over `link`; its firmware counts with this clock.

    Energy is known only for a board that runs at the clock frequency its current was given for: not
    for the host's time, nor for instructions counted by QEMU.
    """
    clock = _CLOCKS.get(clock_source, f"clock {clock_source}")
    sources = {
        "serial": f"{clock} on the chip",
        "virtual": "modelled cycles of the virtual board",
        "qemu": f"TIM2, QEMU: executed instructions, one a cycle of {clock_hz / 1e6:g} MHz",
        "host": "host clock, not the board's",
    }
    if link == "virtual" and not board.target.cycles:
        source = f"none: the virtual board counts instructions only, as {no_cycles(board)}"
        return Meter(clock_hz, source, None, None, has_cycles=False)
    profile = board.energy
    # A timer has a clock of its own; the core's cycle counter shows the core's.
    at_full_clock = clock == "timer" or clock_hz == board.clock_hz
    if profile is None or link not in ("serial", "virtual") or not at_full_clock:
        return Meter(clock_hz, sources[link], None, None)
    return Meter(
        clock_hz,
        sources[link],
        profile.supply_v * profile.run_ma,
        f"estimated: {profile.supply_v:g} V x {profile.run_ma:g} mA x time ({profile.source})",
    )
