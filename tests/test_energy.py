"""Time and energy name where they come from, and nothing estimated looks measured."""

from __future__ import annotations

import pytest

from tinyodl.session.energy import link_of, meter
from tinyodl.targets.boards import load_board

NRF = load_board("nrf52840_dk")


def test_energy_is_voltage_times_current_times_time() -> None:
    assert NRF.energy is not None
    second = meter(NRF, "serial", 0, NRF.clock_hz)
    assert second.ms(NRF.clock_hz) == 1000
    assert second.mj(NRF.clock_hz) == pytest.approx(NRF.energy.supply_v * NRF.energy.run_ma)


def test_energy_says_that_it_is_estimated_and_from_what() -> None:
    assert NRF.energy is not None
    source = meter(NRF, "serial", 0, NRF.clock_hz).energy_source
    assert source is not None
    assert source.startswith("estimated") and NRF.energy.source in source


@pytest.mark.parametrize(
    ("link", "clock", "source"),
    [
        ("serial", 0, "DWT on the chip"),
        ("serial", 1, "timer on the chip"),
        ("virtual", 0, "modelled cycles of the virtual board"),
        ("qemu", 1, "TIM2, QEMU: executed instructions, one a cycle of 64 MHz"),
        ("host", 2, "host clock, not the board's"),
    ],
)
def test_time_names_its_clock(link: str, clock: int, source: str) -> None:
    assert meter(NRF, link, clock, 64_000_000).time_source == source  # type: ignore[arg-type]


def test_the_host_clock_gives_no_energy() -> None:
    host = meter(NRF, "host", 2, 1_000_000_000)
    assert host.mj(10**9) is None and host.energy_source is None


def test_instructions_counted_by_qemu_give_no_energy() -> None:
    assert meter(NRF, "qemu", 1, 16_000_000).mj(1) is None


def test_a_board_that_fell_back_to_a_slower_clock_gives_no_energy() -> None:
    assert meter(NRF, "serial", 0, NRF.clock_hz // 4).mj(1) is None


def test_a_board_without_currents_gives_no_energy() -> None:
    silent = NRF.model_copy(update={"energy": None})
    assert meter(silent, "serial", 0, 64_000_000).mj(1) is None


def test_without_a_port_the_host_build_is_the_host_and_a_board_a_serial_device() -> None:
    assert link_of(None, load_board("host")) == "host"
    assert link_of(None, NRF) == "serial"
    assert link_of("virtual", NRF) == "virtual"
    assert link_of("/dev/ttyACM0", NRF) == "serial"
