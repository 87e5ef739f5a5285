"""Numbers of the protocol: commands, statuses, flags; see `docs/protocol.md`."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class Command(IntEnum):
    """The first byte of a request."""

    HELLO = 1
    WRITE = 2
    READ = 3
    INFER = 4
    EVALUATE = 5
    TRAIN = 6
    FLUSH = 7
    PARAMETER_READ = 8
    PARAMETER_WRITE = 9
    LEARNING_RATE = 10
    STATISTICS = 11
    SAVE = 12
    RESTORE = 13
    RESET = 14
    REBOOT = 15
    PIECE = 16
    REPLAY = 18
    SETTING = 20
    ASK = 21
    LEARN = 22
    STEPS = 24


STEPS = {Command.INFER, Command.EVALUATE, Command.TRAIN, Command.ASK}  # on an uploaded sample


class Status(IntEnum):
    """The second byte of a reply; a reply whose status is not OK carries a u32 detail."""

    OK = 0
    BAD_FRAME = 1
    NO_HELLO = 2
    SEQUENCE = 3
    UNKNOWN = 4
    LENGTH = 5
    RANGE = 6
    INCOMPLETE = 7
    NO_SPACE = 8
    EMPTY = 9
    STORE = 10
    BOOT_LOADER = 11


class Buffer(IntEnum):
    """The memories addressed by WRITE and READ."""

    INPUT = 0
    TARGET = 1
    OUTPUT = 2


class Draw(IntEnum):
    """In which order REPLAY draws samples from the cache; with replacement but in epochs."""

    EPOCHS = 0
    UNIFORM = 1
    BALANCED = 2


class ClockSource(IntEnum):
    """The clock that counts a board's cycles."""

    DWT = 0
    TIMER = 1
    HOST = 2


class Flag(IntFlag):
    """Facts that a step reports beside its prediction."""

    WANTED = 1  # the label of this sample
    DRIFT = 2  # samples are unlike the learned ones
    UNTRAINED = 4  # too few samples since the start or the last drift
    UNSURE = 8  # the margin is below the threshold
    CHANCE = 16  # asked to measure how often unchecked answers are wrong
    HELD_BACK = 32  # the guard tests with this sample: it is not trained on
    KEPT = 64  # the parameters are the best so far, and are kept
    RETURNED = 128  # the parameters had become worse: the kept ones are back
    OUTLIER = 256  # the sample is far outside all before: it is not trained on
    BOUNDED = 512  # the step was too large for this sample, and was made smaller


NO_FLAGS = Flag(0)


class State(IntEnum):
    """The origin of a board's parameters at a HELLO: bits 1 and 2 of its byte 21."""

    CHANGED = 0
    SAVED = 2  # the newest state in the store
    COMPILED = 4  # the ONNX file's
