"""Every register address, bit and value that the ports use is what the vendor says it is.

The oracles are the vendors' own SVD files (Nordic's nrf52840.svd, BSD-3-Clause; ST's STM32F41x.svd
and STM32F429x.svd, Apache-2.0), taken at test time from the pyocd package of PyPI. They describe
no core registers: those are compared with a table of the architecture manual's numbers.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.ports.registers import Macro, Svd, macros, sources, svd

NRF = macros("nrf52840")
STM = macros("stm32f4")
STM_L4 = macros("stm32l4")
CORE = macros("cortex_m4")

# The F405 is described by STM32F41x. The F446's over-drive is that of the F429.
STM_DESCRIPTIONS = ("STM32F41x", "STM32F429x")
OVER_DRIVE = {"PWR_CR__ODEN", "PWR_CR__ODSWEN", "PWR_CSR__ODRDY", "PWR_CSR__ODSWRDY"}

# Values that SVD files leave out: RM0090 sections 3.6.1, 3.9.1, 3.9.6, 7.3.3.
STM_VALUES = {
    "FLASH_KEYR__KEY__1": 0x45670123,
    "FLASH_KEYR__KEY__2": 0xCDEF89AB,
    "FLASH_ACR__LATENCY__5": 5,
    "FLASH_CR__PSIZE__WORD": 0b10,
    "FLASH_CR__SNB__1": 1,
    "RCC_CFGR__PPRE1__DIV4": 0b101,
    "RCC_CFGR__PPRE2__DIV2": 0b100,
}

# Values of a pin's own bits: RM0090 sections 8.4.1, 8.4.3, 8.4.4.
STM_PIN_VALUES = {
    "GPIO_MODER__OUTPUT": 0b01,
    "GPIO_MODER__ALTERNATE": 0b10,
    "GPIO_OSPEEDR__HIGH": 0b10,
    "GPIO_PUPDR__PULL_UP": 0b01,
}

# Arm DDI 0403E: tables B3-4, B3-7, B3-8, C1-2, C1-21 and the registers' own sections.
CORE_REGISTERS = {
    "SYST_CSR": 0xE000E010,
    "NVIC_ISER": 0xE000E100,
    "NVIC_ICER": 0xE000E180,
    "NVIC_ICPR": 0xE000E280,
    "SCB_VTOR": 0xE000ED08,
    "SCB_AIRCR": 0xE000ED0C,
    "SCB_SCR": 0xE000ED10,
    "SCB_CFSR": 0xE000ED28,
    "SCB_CPACR": 0xE000ED88,
    "SCB_DEMCR": 0xE000EDFC,
    "DWT_CTRL": 0xE0001000,
    "DWT_CYCCNT": 0xE0001004,
}
CORE_BITS = {
    "SCB_AIRCR__VECTKEY": 0x05FA << 16,
    "SCB_AIRCR__SYSRESETREQ": 1 << 2,
    "SCB_SCR__SEVONPEND": 1 << 4,
    "SCB_CPACR__CP10": 0b11 << 20,
    "SCB_CPACR__CP11": 0b11 << 22,
    "SCB_DEMCR__TRCENA": 1 << 24,
    "DWT_CTRL__CYCCNTENA": 1 << 0,
}


def of_kind(table: dict[str, Macro], kind: str) -> list[Macro]:
    """The macros that are a register, an interrupt, a field (one `__`) or a value (two)."""

    def kind_of(macro: Macro) -> str:
        if macro.is_register:
            return "register"
        if macro.name.endswith("_IRQ"):
            return "interrupt"
        return "field" if macro.name.count("__") == 1 else "value"

    return [macro for macro in table.values() if kind_of(macro) == kind]


def indexed(name: str, description: Svd) -> list[int]:
    """The addresses of name0, name1, ... for as long as the description goes on."""
    found: list[int] = []
    while (address := description.addresses.get(f"{name}{len(found)}")) is not None:
        found.append(address)
    return found


def check_field(macro: Macro, description: Svd) -> None:
    register, name = macro.name.split("__")
    assert macro.value() == description.fields[register][name].mask


# nRF52840


@pytest.mark.parametrize("macro", of_kind(NRF, "register"), ids=lambda macro: macro.name)
def test_nrf52840_register_lies_where_nordic_says(macro: Macro) -> None:
    description = svd("nrf52840")
    if macro.parameter:
        addresses = indexed(macro.name, description)
        assert addresses
        assert [macro.value(n) for n in range(len(addresses))] == addresses
    else:
        assert macro.value() == description.addresses[macro.name]


@pytest.mark.parametrize("macro", of_kind(NRF, "field"), ids=lambda macro: macro.name)
def test_nrf52840_field_has_nordics_bits(macro: Macro) -> None:
    check_field(macro, svd("nrf52840"))


@pytest.mark.parametrize("macro", of_kind(NRF, "value"), ids=lambda macro: macro.name)
def test_nrf52840_value_has_nordics_name_and_number(macro: Macro) -> None:
    register, name, value = macro.name.split("__")
    fields = svd("nrf52840").fields.get(register) or svd("nrf52840").fields[f"{register}0"]
    assert macro.value() == fields[name].values[value] << fields[name].lsb


def test_nrf52840_interrupt_has_nordics_number() -> None:
    assert NRF["UARTE0_IRQ"].value() in svd("nrf52840").interrupts["UARTE0"]


# STM32F4


@pytest.mark.parametrize("chip", STM_DESCRIPTIONS)
@pytest.mark.parametrize("macro", of_kind(STM, "register"), ids=lambda macro: macro.name)
def test_stm32f4_register_lies_where_st_says(macro: Macro, chip: str) -> None:
    description = svd(chip)
    if macro.parameter:  # GPIO_MODER(port)
        register = macro.name.removeprefix("GPIO_")
        for port, letter in enumerate("ABCDEFGHI"):
            assert macro.value(port) == description.addresses[f"GPIO{letter}_{register}"]
    else:
        assert macro.value() == description.addresses[macro.name]


@pytest.mark.parametrize("chip", STM_DESCRIPTIONS)
@pytest.mark.parametrize(
    "macro",
    [m for m in of_kind(STM, "field") if not m.name.startswith("GPIO_")],
    ids=lambda macro: macro.name,
)
def test_stm32f4_field_has_sts_bits(macro: Macro, chip: str) -> None:
    if chip == "STM32F41x" and macro.name in OVER_DRIVE:
        register, name = macro.name.split("__")
        assert name not in svd(chip).fields[register], "the F405 has no over-drive"
    else:
        check_field(macro, svd(chip))


@pytest.mark.parametrize("chip", STM_DESCRIPTIONS)
@pytest.mark.parametrize("macro", of_kind(STM, "value"), ids=lambda macro: macro.name)
def test_stm32f4_value_has_the_manuals_number_in_sts_field(macro: Macro, chip: str) -> None:
    register, name, _ = macro.name.split("__")
    field = svd(chip).fields[register][name]
    assert macro.value() == STM_VALUES[macro.name] << field.lsb
    assert macro.value() & ~field.mask == 0


@pytest.mark.parametrize(
    ("register", "field", "width"),
    [("MODER", "MODER", 2), ("OSPEEDR", "OSPEEDR", 2), ("PUPDR", "PUPDR", 2), ("BSRR", "BS", 1)],
)
def test_stm32f4_gpio_gives_each_pin_its_bits_in_order(
    register: str, field: str, width: int
) -> None:
    fields = svd("STM32F41x").fields[f"GPIOA_{register}"]
    for pin in range(16):
        assert fields[f"{field}{pin}"].lsb == width * pin
        assert fields[f"{field}{pin}"].mask >> (width * pin) == (1 << width) - 1


def test_stm32f4_pin_values_are_the_manuals() -> None:
    found = {m.name: m.value() for m in of_kind(STM, "field") if m.name.startswith("GPIO_")}
    assert found == STM_PIN_VALUES


def test_stm32f4_gpio_resets_pins_by_the_upper_half_of_bsrr() -> None:
    fields = svd("STM32F41x").fields["GPIOA_BSRR"]
    assert [fields[f"BR{pin}"].lsb for pin in range(16)] == list(range(16, 32))


@pytest.mark.parametrize(("register", "first"), [("AFRL", 0), ("AFRH", 8)])
def test_stm32f4_gpio_selects_alternate_functions_by_four_bits(register: str, first: int) -> None:
    fields = svd("STM32F41x").fields[f"GPIOA_{register}"]
    assert [fields[f"{register}{first + pin}"].lsb for pin in range(8)] == list(range(0, 32, 4))


@pytest.mark.parametrize("chip", STM_DESCRIPTIONS)
@pytest.mark.parametrize("name", ["USART1", "USART2"])
def test_stm32f4_interrupt_has_sts_number(name: str, chip: str) -> None:
    assert STM[f"{name}_IRQ"].value() in svd(chip).interrupts[name]


def test_stm32f4_usarts_share_the_bits_named_after_the_first() -> None:
    for description in map(svd, STM_DESCRIPTIONS):
        for register in ("SR", "CR1"):
            assert (
                description.fields[f"USART1_{register}"] == description.fields[f"USART2_{register}"]
            )


# STM32L4: pyocd's collection has no SVD of the L476 or the L4R5, and ST's own of the L4R5 is wrong
# in PWR_CR5, LATENCY and DBANK. The oracle is what ST's headers for C say.

CMSIS = json.loads(Path(__file__).with_name("stm32l4_cmsis.json").read_text())
L4_HEADERS = ("stm32l476xx.h", "stm32l4r5xx.h")
ONLY_L4R5 = {"PWR_CR5", "PWR_CR5__R1MODE", "FLASH_OPTR__DBANK"}
L4_PIN_VALUES = STM_PIN_VALUES  # of RM0351 and RM0432, section 8.4: the GPIO of the STM32F4


@pytest.mark.parametrize("header", L4_HEADERS)
def test_stm32l4_registers_bits_and_interrupts_are_those_of_sts_headers(header: str) -> None:
    said, compared = CMSIS[header], set()
    for macro in STM_L4.values():
        if macro.parameter:
            for port, letter in enumerate("ABCDEFG"):
                assert macro.value(port) == said[f"{macro.name}({port})"], letter
        elif macro.name in said and macro.name != "FLASH_ACR__LATENCY":
            assert macro.value() == said[macro.name], macro.name
        else:
            continue
        compared.add(macro.name)
    left = set(STM_L4) - compared - (ONLY_L4R5 if header == "stm32l476xx.h" else set())
    keys = {"FLASH_KEYR__KEY__1", "FLASH_KEYR__KEY__2"}
    assert left == {"FLASH_ACR__LATENCY", "FLASH_CR__PNB__1", *keys, *L4_PIN_VALUES}


def test_stm32l4_latency_and_page_numbers_lie_in_sts_fields() -> None:
    latency = STM_L4["FLASH_ACR__LATENCY"].value()
    assert latency == CMSIS["stm32l476xx.h"]["FLASH_ACR__LATENCY"] == 0b111
    assert CMSIS["stm32l4r5xx.h"]["FLASH_ACR__LATENCY"] == 0b1111
    for header in L4_HEADERS:
        field = CMSIS[header]["FLASH_CR__PNB"]
        assert STM_L4["FLASH_CR__PNB__1"].value() == field & -field, "256 pages in eight bits"
        assert field == 0xFF << 3


def test_stm32l4_pins_and_keys_are_the_manuals() -> None:
    assert {name: STM_L4[name].value() for name in L4_PIN_VALUES} == L4_PIN_VALUES
    assert STM_L4["FLASH_KEYR__KEY__1"].value() == STM_VALUES["FLASH_KEYR__KEY__1"]
    assert STM_L4["FLASH_KEYR__KEY__2"].value() == STM_VALUES["FLASH_KEYR__KEY__2"]


# The processor


def test_core_registers_and_bits_are_the_architectures() -> None:
    registers = {m.name: m.value() for m in of_kind(CORE, "register")}
    assert registers == CORE_REGISTERS
    assert {m.name: m.value() for m in of_kind(CORE, "field")} == CORE_BITS


def test_core_interrupt_registers_are_sts_too() -> None:
    for name in ("NVIC_ISER", "NVIC_ICER", "NVIC_ICPR"):
        addresses = indexed(name, svd("STM32F41x"))
        assert len(addresses) == 3
        assert [CORE[name].value(n) for n in range(3)] == addresses


# Nothing else


@pytest.mark.parametrize("port", ["cortex_m4", "nrf52840", "stm32f4", "stm32l4"])
def test_a_port_touches_no_register_but_those_of_its_header(port: str) -> None:
    for literal in re.findall(r"0x[0-9A-Fa-f]{8}", sources(port)):
        inside_a_peripheral = 0x4000_0000 <= int(literal, 16) < 0x6000_0000
        inside_the_core = 0xE000_0000 <= int(literal, 16) < 0xE010_0000
        assert not inside_a_peripheral and not inside_the_core, literal


@pytest.mark.parametrize("port", ["cortex_m4", "nrf52840", "stm32f4", "stm32l4"])
def test_a_header_names_only_what_is_used(port: str) -> None:
    text = sources(port)
    if port == "cortex_m4":
        text += sources("nrf52840") + sources("stm32f4") + sources("stm32l4")
    unused = [name for name in macros(port) if not re.search(rf"\b{name}\b", text)]
    assert unused == []
