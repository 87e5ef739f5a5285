"""The host's half of the protocol: framing, transports, the client, and how to reach a board.

`docs/protocol.md` specifies what is on the wire; `templates/device/` is the other half.
"""

from tinyodl.device.client import Client
from tinyodl.device.connect import connect
from tinyodl.device.protocol import Hello, Saved, Statistics, StepReply
from tinyodl.device.refusals import RefusedError
from tinyodl.device.transport import Transport

__all__ = [
    "Client",
    "Hello",
    "RefusedError",
    "Saved",
    "Statistics",
    "StepReply",
    "Transport",
    "connect",
]
