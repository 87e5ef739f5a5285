"""Why operators of other ways to quantise are refused, and what to do instead."""

from __future__ import annotations

_AT_RUN_TIME = frozenset(
    (
        *("DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "DynamicQuantizeMatMul"),
        *("MatMulIntegerToFloat", "DynamicQuantizeLSTM", "QAttention", "QEmbedLayerNormalization"),
    )
)
_WEIGHTS_ONLY = frozenset(("MatMulNBits", "MatMulBnb4", "GatherBlockQuantized"))
_QONNX = ("qonnx.", "finn.", "onnx.brevitas")  # how the domains of its operators begin
_REMEDY = "compile the float32 file with --precision int8 --calibrate DATA.npz"


def other_quantisation(op: str, domain: str) -> str | None:
    """Why an operator of another way to quantise is refused, with the remedy; None for others."""
    if op in _AT_RUN_TIME:
        return f"the network is quantised dynamically, its scales are found as it runs; {_REMEDY}"
    if op in _WEIGHTS_ONLY and domain:
        return f"its weights are packed in blocks; {_REMEDY}"
    if domain.startswith(_QONNX):
        return (
            f"this is QONNX (domain '{domain}'), which says how to round and keeps no integers; "
            "export the QDQ form with Brevitas' export_onnx_qcdq, or convert with the qonnx "
            "package's qonnx-convert"
        )
    return None
