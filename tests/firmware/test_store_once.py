"""The store on a chip that programs each double word of flash once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tinyodl
from tests.builds import build
from tests.conftest import require_tool
from tests.models import SHIPPED
from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.errors import UserError
from tinyodl.targets.boards import load_board


def test_an_stm32l4_finds_the_last_of_three_saves_after_power_off(tmp_path: Path) -> None:
    """Three: the first slot is erased and written again."""
    require_tool("arm-none-eabi-gcc")
    project = tmp_path / "p"
    manifest = tinyodl.compile(SHIPPED[0], "nucleo_l4r5zi", project, learning_rate=0.1)
    build(project, load_board("nucleo_l4r5zi"))
    sample = np.linspace(-1, 1, 64, dtype=np.float32)
    for generation in (1, 2, 3):
        transport = connect(project, "virtual")
        client = Client(transport, manifest)
        assert client.hello().generation == generation - 1
        client.train(sample, generation)
        assert client.save() == generation
        learned = [client.read_parameter(p.index).tobytes() for p in manifest.parameters]
        transport.close()
    transport = connect(project, "virtual")
    client = Client(transport, manifest)
    assert client.hello().restored
    assert [client.read_parameter(p.index).tobytes() for p in manifest.parameters] == learned
    transport.close()


@pytest.mark.parametrize("options", [{"guard": "8", "guard_memory": "flash"}])
def test_what_is_written_by_words_is_refused_there_by_name(
    tmp_path: Path, options: dict[str, object]
) -> None:
    with pytest.raises(UserError, match=r"nucleo_l476rg: its chip programs flash only once, 8 byt"):
        tinyodl.compile(SHIPPED[0], "nucleo_l476rg", tmp_path / "p", **options)
    assert not (tmp_path / "p").exists()
