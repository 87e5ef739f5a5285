"""Reading the ports' register headers, and the vendors' descriptions they are compared with."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree

from tinyodl.resources import TEMPLATES

_DEFINE = re.compile(r"^#define (\w+)(?:\((\w+)\))? (.+?)(?: */\*.*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Macro:
    """A line of a register header: `expression` in C, `parameter` "" for a constant."""

    name: str
    parameter: str
    expression: str

    def value(self, argument: int = 0) -> int:
        """The number it stands for; the address, where it is a register."""
        text = self.expression.replace("REGISTER", "")
        text = re.sub(r"\b(0x[0-9A-Fa-f]+|\d+)u\b", r"\1", text)
        return int(eval(text, {"__builtins__": {}}, {self.parameter: argument}))

    @property
    def is_register(self) -> bool:
        return self.expression.startswith("REGISTER(")


def macros(port: str) -> dict[str, Macro]:
    """What a port's header defines, without REGISTER itself and the include guard."""
    header = TEMPLATES / "ports" / port / f"{port}_registers.h"
    found = [Macro(*match.groups("")) for match in _DEFINE.finditer(header.read_text())]
    return {macro.name: macro for macro in found if macro.name != "REGISTER"}


def sources(port: str) -> str:
    """The text of a port's C files and headers, without comments and its register header."""
    folder = TEMPLATES / "ports" / port
    files = [p for p in folder.glob("*.[ch]*") if not p.name.endswith("_registers.h")]
    return "\n".join(re.sub(r"/\*.*?\*/", "", p.read_text(), flags=re.DOTALL) for p in files)


@dataclass(frozen=True)
class Field:
    """A field of a vendor's register: its bits as a mask, and its named values (upper case)."""

    mask: int
    lsb: int
    values: dict[str, int]


@dataclass
class Svd:
    """A vendor's description, flattened: "UARTE0_RXD_PTR" -> address, its fields, interrupts."""

    addresses: dict[str, int] = field(default_factory=dict)
    fields: dict[str, dict[str, Field]] = field(default_factory=dict)
    interrupts: dict[str, set[int]] = field(default_factory=dict)


@cache
def svd(name: str) -> Svd:
    """A description out of pyocd's collection, which the test extra pins. Nothing of it is ours."""
    archive = Path(str(distribution("pyocd").locate_file("pyocd/debug/svd/svd_data.zip")))
    with zipfile.ZipFile(archive) as collection:
        root = ElementTree.fromstring(collection.read(f"{name}.svd"))
    peripherals = {_text(p, "name"): p for p in root.iter("peripheral")}
    described = Svd()
    for name, peripheral in peripherals.items():
        source = peripherals[peripheral.get("derivedFrom", name)]
        registers = source.find("registers")
        described.interrupts[name] = {
            _number(i, "value") for p in (peripheral, source) for i in p.iter("interrupt")
        }
        if registers is not None:
            _flatten(described, registers, name, _number(peripheral, "baseAddress"))
    return described


def _flatten(to: Svd, parent: ElementTree.Element, prefix: str, base: int) -> None:
    for element in parent:
        if element.tag not in ("register", "cluster"):
            continue
        stem, start = _text(element, "name"), base + _number(element, "addressOffset")
        count = _number(element, "dim") if element.find("dim") is not None else 1
        step = _number(element, "dimIncrement") if count > 1 else 0
        for index in range(count):
            name = f"{prefix}_{stem.replace('[%s]', str(index)).replace('%s', str(index))}"
            if element.tag == "cluster":
                _flatten(to, element, name, start + index * step)
            else:
                to.addresses[name] = start + index * step
                to.fields[name] = {_text(f, "name"): _field(f) for f in element.iter("field")}


def _field(element: ElementTree.Element) -> Field:
    if element.find("lsb") is not None:
        lsb, width = _number(element, "lsb"), _number(element, "msb") - _number(element, "lsb") + 1
    else:
        lsb, width = _number(element, "bitOffset"), _number(element, "bitWidth")
    values = {
        _text(value, "name").upper(): _number(value, "value")
        for value in element.iter("enumeratedValue")
        if value.find("value") is not None
    }
    return Field(((1 << width) - 1) << lsb, lsb, values)


def _text(element: ElementTree.Element, tag: str) -> str:
    found = element.findtext(tag)
    assert found is not None, f"no <{tag}> in <{element.tag}>"
    return found.strip()


def _number(element: ElementTree.Element, tag: str) -> int:
    return int(_text(element, tag), 0)
