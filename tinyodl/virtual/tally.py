"""A virtual board's counts of execution, by the phase of its marker pins and by place."""

from __future__ import annotations

from tinyodl.virtual.counts import PHASES, Count
from tinyodl.virtual.meter import MeterState


class Tally:
    """Divides the meter's counts among the phases and places of execution."""

    def __init__(self, state: MeterState, has_cycles: bool) -> None:
        """Without a model of cycles there are 0."""
        self._state = state
        self._has_cycles = has_cycles
        self._counts: dict[tuple[int, str], list[int]] = {}
        self._charged = (0, 0)
        self._phase = 0
        self._place = ""

    def mark(self, phase: int) -> None:
        """The marker pins show this phase from now on."""
        if phase != self._phase:
            self._charge()
            self._phase = phase

    def reach(self, place: str) -> None:
        """Execution is at this place from now on."""
        self._charge()
        self._place = place

    def by_phase(self) -> dict[str, Count]:
        """Executed since power on."""
        sums = dict.fromkeys(PHASES, Count())
        for (phase, _), count in self.by_place().items():
            sums[phase] += count
        return sums

    def by_place(self) -> dict[tuple[str, str], Count]:
        """The same by phase and by the last place that was reached."""
        self._charge()
        return {
            (PHASES[phase], place): Count(instructions, cycles if self._has_cycles else 0)
            for (phase, place), (instructions, cycles) in self._counts.items()
        }

    def _charge(self) -> None:
        """Charges the counts since the last call to the current phase and place."""
        now = (self._state.instructions_now, self._state.cycles_now)
        counts = self._counts.setdefault((self._phase, self._place), [0, 0])
        counts[0] += now[0] - self._charged[0]
        counts[1] += now[1] - self._charged[1]
        self._charged = now
