"""Peripherals catch what silicon would punish with silence: wrong clocks, pins, baud rates."""

from __future__ import annotations

import pytest

from tinyodl.targets.boards import Board, load_board
from tinyodl.virtual.models import model_of
from tinyodl.virtual.peripheral import Chip, Misuse

RAM = 0x2000_0000


class Bench:
    """A Machine without a core: time passes when told, memory is a kilobyte."""

    byte_cycles = 640

    def __init__(self, board: Board) -> None:
        self.board = board
        self.time = 0
        self.sent = b""
        self.memory = bytearray(1024)
        self.phases: list[int] = []
        self.chip: Chip = model_of(board.target).chip(self)

    def now(self) -> int:
        return self.time

    def cycles(self) -> int:
        return self.time

    def transmit(self, data: bytes) -> None:
        self.sent += data

    def ram(self, address: int, size: int) -> memoryview:
        return memoryview(self.memory)[address - RAM : address - RAM + size]

    def program(self, width: int) -> None: ...

    def refused(self) -> set[str]:
        return set()

    def erase(self, address: int, size: int) -> None: ...

    def mark(self, phase: int) -> None:
        self.phases.append(phase)

    def reset(self) -> None: ...

    def read(self, address: int) -> int:
        for addresses, peripheral in self.chip.peripherals.items():
            if address in addresses:
                return peripheral.read(address - addresses.start)
        raise AssertionError(f"nothing at {address:#x}")

    def write(self, address: int, *values: int) -> None:
        for addresses, peripheral in self.chip.peripherals.items():
            if address in addresses:
                for value in values:
                    peripheral.write(address - addresses.start, value)


UARTE = 0x4000_2000
TIMER1 = 0x4000_9000
PPI = 0x4001_F000


@pytest.fixture
def nrf() -> Bench:
    """Receives 8 bytes after the other into the start of RAM."""
    bench = Bench(load_board("nrf52840_dk"))
    bench.write(UARTE + 0x50C, 6)
    bench.write(UARTE + 0x514, 8)
    bench.write(UARTE + 0x524, 0x1000_0000)
    bench.write(UARTE + 0x500, 8)
    bench.write(UARTE + 0x534, RAM)
    bench.write(UARTE + 0x538, 8)
    bench.write(UARTE + 0x200, 1 << 5)
    bench.write(UARTE, 1)
    return bench


def test_easy_dma_fills_its_ring_again_and_again(nrf: Bench) -> None:
    nrf.chip.receive(b"0123456789")
    assert bytes(nrf.memory[:9]) == b"89234567\0"
    assert (nrf.read(UARTE + 0x110), nrf.read(UARTE + 0x53C)) == (1, 8)  # ENDRX, RXD.AMOUNT


def test_ppi_counts_received_bytes_with_a_timer(nrf: Bench) -> None:
    nrf.write(TIMER1 + 0x504, 1)
    nrf.write(TIMER1 + 0x508, 3)
    nrf.write(TIMER1, 1)
    nrf.write(PPI + 0x510, UARTE + 0x108)
    nrf.write(PPI + 0x514, TIMER1 + 0x008)
    nrf.chip.receive(b"not counted: the channel is off")
    nrf.write(PPI + 0x504, 1)
    nrf.chip.receive(b"0123456789")
    nrf.write(TIMER1 + 0x040, 1)
    assert nrf.read(TIMER1 + 0x540) == 10


def test_an_enabled_event_raises_the_interrupt_until_it_is_cleared(nrf: Bench) -> None:
    nrf.chip.receive(b"a")
    assert nrf.chip.interrupts() == 0
    nrf.write(UARTE + 0x304, 1 << 2)
    assert nrf.chip.interrupts() == 1 << 2
    nrf.write(UARTE + 0x108, 0)
    assert nrf.chip.interrupts() == 0


def test_a_timer_in_timer_mode_follows_time(nrf: Bench) -> None:
    nrf.write(TIMER1 + 0x508, 3)
    nrf.write(TIMER1 + 0x510, 4)  # 1 MHz
    nrf.write(TIMER1, 1)
    nrf.time = 64_000
    nrf.write(TIMER1 + 0x040, 1)
    assert nrf.read(TIMER1 + 0x540) == 1000


@pytest.mark.parametrize(
    ("address", "value", "message"),
    [
        (UARTE + 0x524, 0x01D6_0000, "runs UARTE0 at 114746 baud; the host expects 1000000"),
        (UARTE + 0x514, 0xFFFF_FFFF, "connects no pin"),
        (UARTE + 0x538, 0, "with 0 bytes"),
        (UARTE + 0x500, 0, "before ENABLE"),
    ],
)
def test_a_uart_that_could_not_receive_is_refused(
    nrf: Bench, address: int, value: int, message: str
) -> None:
    with pytest.raises(Misuse, match=message):
        nrf.write(address, value)
        nrf.write(UARTE, 1)


def test_the_marker_pins_of_the_nrf52840_must_be_outputs(nrf: Bench) -> None:
    nrf.write(0x5000_0504, 3 << 3)
    nrf.write(0x5000_0700 + 4 * 3, 1)
    nrf.write(0x5000_0518, 1 << 4)
    assert nrf.phases == [0, 1, 3]


RCC, FLASH_ACR, PWR_CR = 0x4002_3800, 0x4002_3C00, 0x4000_7000
USART2, GPIOC, TIM2 = 0x4000_4400, 0x4002_0800, 0x4000_0000
HSE, PLL = 0x0001_0001, 0x0101_0001


def stm32(name: str = "nucleo_f446re") -> Bench:
    return Bench(load_board(name))


def run_at(bench: Bench, megahertz: int, *, wait_states: int = 5, prescalers: int = 0x9400) -> None:
    """From the board's crystal. APB1 a quarter and APB2 a half of the core's clock."""
    crystal = bench.board.settings["hse_hz"] // 1_000_000
    bench.write(RCC, HSE)
    bench.write(RCC + 4, 1 << 22 | 2 * megahertz << 6 | crystal)
    bench.write(RCC, PLL)
    bench.write(FLASH_ACR, wait_states)
    bench.write(RCC + 8, prescalers | 2)


def with_overdrive(bench: Bench) -> Bench:
    bench.write(RCC + 0x40, 1 << 28)
    bench.write(PWR_CR, 0xC000 | 3 << 16)
    return bench


def test_the_status_follows_the_clock_switch() -> None:
    bench = stm32("netduinoplus2")
    assert bench.read(RCC) & 1 << 25 == 0
    run_at(bench, 168)
    assert bench.read(RCC) & (1 << 17 | 1 << 25) == 1 << 17 | 1 << 25
    assert bench.read(RCC + 8) & 0xC == 2 << 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"megahertz": 180, "wait_states": 4}, "with 4 flash wait states; 5 are needed"),
        ({"megahertz": 180, "prescalers": 0}, "runs APB1 at 180000000 Hz"),
        ({"megahertz": 200}, "180000000 is the limit"),
        ({"megahertz": 168}, "the board's description says 180000000"),
        ({"megahertz": 240}, "VCO to 480000000 Hz"),
    ],
)
def test_a_clock_that_the_chip_does_not_stand_is_refused(
    arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(Misuse, match=message):
        run_at(with_overdrive(stm32()), **arguments)


def test_full_speed_needs_over_drive() -> None:
    with pytest.raises(Misuse, match="without over-drive"):
        run_at(stm32(), 180)
    run_at(with_overdrive(stm32()), 180)


def test_a_peripheral_without_clock_is_refused() -> None:
    bench = stm32()
    with pytest.raises(Misuse, match="uses GPIOC while its clock is off"):
        bench.write(GPIOC, 5)
    bench.write(RCC + 0x30, 1 << 2)
    bench.write(GPIOC, 5)
    bench.write(GPIOC + 0x18, 2)
    bench.write(GPIOC + 0x18, 1 | 2 << 16)
    assert bench.phases == [0, 2, 1]


def test_a_wrong_baud_rate_is_refused() -> None:
    bench = with_overdrive(stm32())
    run_at(bench, 180)
    bench.write(RCC + 0x40, 1 << 17)
    bench.write(USART2 + 0x08, 391)
    with pytest.raises(Misuse, match="runs USART2 at 115090 baud; the host expects 1000000"):
        bench.write(USART2 + 0x0C, 1 << 13 | 1 << 2)
    bench.write(USART2 + 0x08, 45)
    bench.write(USART2 + 0x0C, 1 << 13 | 1 << 2)


def test_timer_2_counts_at_its_bus_clock() -> None:
    bench = stm32("netduinoplus2")
    run_at(bench, 168)
    bench.write(RCC + 0x40, 1)
    bench.write(TIM2, 1)
    bench.time = 168_000
    assert bench.read(TIM2 + 0x24) == 84_000


L4_RCC, L4_ACR, L4_PWR, L4_GPIOG, LPUART1 = (
    *(0x4002_1000, 0x4002_2000, 0x4000_7000, 0x4800_1800),
    0x4000_8000,
)
HSI_PLL = 0x0100_0161


def l4_at(bench: Bench, factor: int, wait_states: int, *, half: bool, boost: bool) -> None:
    """From the oscillator of 16 MHz by way of 4: RM0432, sections 5.1.8 and 6.4."""
    bench.write(L4_RCC, 0x161)
    bench.write(L4_RCC + 8, 1)
    bench.write(L4_RCC + 12, 1 << 24 | factor << 8 | 3 << 4 | 2)
    bench.write(L4_RCC, HSI_PLL)
    bench.write(L4_RCC + 0x58, 1 << 28)
    if boost:
        bench.write(L4_PWR + 0x80, 0)
    bench.write(L4_ACR, wait_states)
    if half:
        bench.write(L4_RCC + 8, 8 << 4 | 3)
    bench.write(L4_RCC + 8, 3)


@pytest.mark.parametrize(
    ("name", "factor", "wait_states", "half", "boost", "message"),
    [
        ("nucleo_l476rg", 40, 3, False, False, "with 3 flash wait states; 4 are needed"),
        ("nucleo_l476rg", 42, 4, False, False, "84000000 Hz; 80000000 is the limit"),
        ("nucleo_l476rg", 20, 4, False, False, "description says 80000000"),
        ("nucleo_l476rg", 8, 4, False, False, "VCO to 32000000 Hz"),
        ("nucleo_l4r5zi", 60, 4, True, True, "with 4 flash wait states; 5 are needed"),
        ("nucleo_l4r5zi", 60, 5, True, False, "without the regulator's boost"),
        ("nucleo_l4r5zi", 60, 5, False, True, "at once, not at a half of it first"),
    ],
)
def test_a_clock_that_an_stm32l4_does_not_stand_is_refused(
    name: str, factor: int, wait_states: int, half: bool, boost: bool, message: str
) -> None:
    with pytest.raises(Misuse, match=message):
        l4_at(stm32(name), factor, wait_states, half=half, boost=boost)


def test_an_stm32l4_runs_at_full_clock() -> None:
    l4_at(stm32("nucleo_l476rg"), 40, 4, half=False, boost=False)
    l4_at(stm32("nucleo_l4r5zi"), 60, 5, half=True, boost=True)


def test_port_g_of_an_stm32l4_needs_its_supply() -> None:
    bench = stm32("nucleo_l4r5zi")
    bench.write(L4_RCC + 0x4C, 1 << 6)
    bench.write(L4_RCC + 0x58, 1 << 28)
    with pytest.raises(Misuse, match=r"port G before PWR_CR2\.IOSV"):
        bench.write(L4_GPIOG, 0)
    bench.write(L4_PWR + 4, 1 << 9)
    bench.write(L4_GPIOG, 0)


def test_an_lpuart_divides_in_steps_of_a_256th() -> None:
    bench = stm32("nucleo_l4r5zi")
    l4_at(bench, 60, 5, half=True, boost=True)
    bench.write(L4_RCC + 0x5C, 1)
    bench.write(LPUART1 + 0x0C, 120)
    with pytest.raises(Misuse, match="with a divider of 120; 768 is the least"):
        bench.write(LPUART1, 1 | 1 << 2)
    bench = stm32("nucleo_l4r5zi")
    l4_at(bench, 60, 5, half=True, boost=True)
    bench.write(L4_RCC + 0x5C, 1)
    bench.write(LPUART1 + 0x0C, 256 * 120)
    bench.write(LPUART1, 1 | 1 << 2)
