"""How long a board may take for a request before the host asks again: never too short."""

from __future__ import annotations

from dataclasses import dataclass

from tinyodl.device.exchanges import ANSWER_SECONDS
from tinyodl.project.manifest import Manifest

STORE_BYTES = 128 * 1024
STORE_SECONDS = 12.0  # erasing so much: at most 2.9 s on nRF52840, 4 s on STM32F4
CYCLES_PER_MAC = 64  # several times what the kernels need
SECONDS_PER_MAC = 1e-6  # at least: an emulator on a busy machine is slower than a fast board


@dataclass
class Durations:
    """Bounds, in seconds, for the firmware of `manifest`; `samples` is how many a step takes."""

    manifest: Manifest
    samples: int = 1

    def erasing(self) -> float:
        """How long erasing the network's own flash may take."""
        parts = self.manifest.flash.parts
        kept = sum(parts.get(feature, 0) for feature in self.manifest.plan.beside)
        return -(-kept // STORE_BYTES) * STORE_SECONDS

    def computing(self, macs: int, clock_hz: int) -> float:
        """Seconds for so many multiply-accumulates."""
        per_mac = max(CYCLES_PER_MAC / clock_hz, SECONDS_PER_MAC)
        return ANSWER_SECONDS + macs * per_mac

    def learning(self, clock_hz: int) -> float:
        """All behind the forward pass: other samples of a cache, and what features add, too."""
        macs = self.manifest.macs
        again = max(self.samples - 1, 0) * self.manifest.replay_macs
        every = macs.backward + macs.update + again + self.manifest.macs_beside
        return self.computing(every, clock_hz) + self.erasing()
