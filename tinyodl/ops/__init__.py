"""The operators of the IR, one module per family."""

from tinyodl.ops import (
    activation,
    arithmetic,
    conv,
    gemm,
    loss,
    optimizer,
    pool,
    softmax,
    view,
)
from tinyodl.ops.operator import (
    OPERATORS,
    Argument,
    Backward,
    Call,
    Learner,
    Operator,
    Ref,
    Struct,
    Symbol,
    output_shape,
)

__all__ = [
    "OPERATORS",
    "Argument",
    "Backward",
    "Call",
    "Learner",
    "Operator",
    "Ref",
    "Struct",
    "Symbol",
    "activation",
    "arithmetic",
    "conv",
    "gemm",
    "loss",
    "optimizer",
    "output_shape",
    "pool",
    "softmax",
    "view",
]
