"""Erf, and Gelu, exact and by way of tanh.

    Erf:       y = erf x                                      gx = gy * 2 / sqrt(pi) * e^(-x^2)
    Gelu:      y = x * (1 + erf(x / sqrt 2)) / 2
    GeluTanh:  y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2

Before opset 20 exporters write Gelu out with Erf, Div, Mul and Add. Hendrycks and Gimpel: Gaussian
Error Linear Units, 2016.
"""

from __future__ import annotations

from tinyodl.ops.shared import OnnxNode, Scope, Unsupported, imports
from tinyodl.ops.shared.elementwise import import_as_is, register_elementwise

_KERNEL = "gelu_f32.h"
_DOMAINS = ("", "com.microsoft")  # onnxruntime's own, of files before opset 20, is the same
_FORMS = {"none": "Gelu", "tanh": "GeluTanh"}

import_as_is("Erf")


@imports("Gelu", becomes=("Gelu", "GeluTanh"), covers="approximate: none, tanh", domains=_DOMAINS)
def gelu(node: OnnxNode, scope: Scope) -> None:
    """Gelu in one of its two forms."""
    form = node.attrs.get("approximate", "none")
    if form not in _FORMS:
        raise Unsupported(f"approximate is {form!r}", " or ".join(_FORMS))
    scope.emit(_FORMS[form], node.name, (scope.activation(node, 0).name,), node.outputs[0])


register_elementwise("Erf", _KERNEL, "erf_all_f32", "erf_gradient_f32")
register_elementwise("Gelu", _KERNEL, "gelu_f32", "gelu_gradient_f32")
register_elementwise("GeluTanh", _KERNEL, "gelu_tanh_f32", "gelu_tanh_gradient_f32")
