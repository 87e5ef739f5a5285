"""The reasons of a board's refusals, in words."""

from __future__ import annotations

from tinyodl.device.codes import Command, Status
from tinyodl.device.protocol import Reply
from tinyodl.errors import BoardError

_SENTENCES: dict[Status | tuple[Command, Status], str] = {
    Status.NO_HELLO: "the board has restarted during the session; start the session again",
    Status.SEQUENCE: "the board expects request {detail}; does another program use it?",
    Status.UNKNOWN: "the firmware does not know this command; flash it with `tinyodl flash DIR`",
    Status.LENGTH: "the board takes a body of at least {detail} bytes here",
    Status.RANGE: "the board's limit is {detail}",
    Status.INCOMPLETE: "the board has {detail} bytes of it; upload the sample before each step",
    Status.NO_SPACE: "its store needs slots of {detail} bytes, and this board's are smaller",
    Status.EMPTY: "the board's store holds nothing for this model; save first",
    (Command.REPLAY, Status.EMPTY): "the board's cache holds no sample; train on some first",
    **{
        (command, Status.STORE): "the board's flash does not hold what the network keeps there; "
        "keep it in RAM (compile with --cache-memory ram, --guard-memory ram)"
        for command in (Command.TRAIN, Command.LEARN, Command.REPLAY, Command.FLUSH)
    },
    Status.STORE: "the board's flash does not hold what was written to it",
    Status.BOOT_LOADER: "the boot loader that the chip's UICR or MBR names lies at {detail:#010x}, "
    "in the way of the flash that the project writes; nothing was erased. Use a board file whose "
    "[flash] and [store] end below that address, or, if the chip needs no boot loader, erase all "
    "of it",
}


class RefusedError(BoardError):
    """The board answered with a status other than OK; nothing has changed on it."""

    def __init__(self, command: Command, reply: Reply) -> None:
        self.status = reply.status
        self.detail = reply.detail
        known = _SENTENCES.get((command, reply.status)) or _SENTENCES.get(reply.status)
        sentence = (known or "the board refuses").format(detail=reply.detail)
        super().__init__(f"{command.name}: {sentence} (status {reply.status.name})")
