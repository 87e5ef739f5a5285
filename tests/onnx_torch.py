"""An ONNX file as a PyTorch function, read node by node: the oracle for training whole models.

Written against the ONNX operator specification, and independent of tinyodl's own frontend. Float
initializers that nodes read as parameters become leaves that PyTorch differentiates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import torch
import torch.nn.functional as functional


class TorchModel:
    """`leaves` maps (node name, input slot) to the tensor that PyTorch trains.

    Slots that read one initializer share one leaf.

    `margin` is how near the last sample came to a kink: the smallest distance of an input of an
    activation from a kink, or of a maximum from the next value, as a part of the largest input.
    Below rounding, two correct float32 programs may take different sides there, and their gradients
    differ.
    """

    def __init__(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        self.model = onnx.load(path)
        self.dtype = dtype
        self.constants = {
            i.name: torch.tensor(onnx.numpy_helper.to_array(i).copy())
            for i in self.model.graph.initializer
        }
        self.constants = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in self.constants.items()
        }
        self.leaves: dict[tuple[str, int], torch.Tensor] = {}
        self.margin = np.inf
        made: dict[str, torch.Tensor] = {}
        for node in self.model.graph.node:
            for slot, name in enumerate(node.input):
                if slot in (1, 2) and node.op_type in LEARNING and name in self.constants:
                    made.setdefault(name, self.constants[name].clone().requires_grad_())
                    self.leaves[node.name, slot] = made[name]

    def logits(self, x: np.ndarray) -> torch.Tensor:
        """The output, or what a final Softmax reads."""
        self.margin = np.inf
        values = dict(self.constants)
        values[self.model.graph.input[0].name] = torch.tensor(x, dtype=self.dtype)
        for node in self.model.graph.node:
            attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Softmax" and node.output[0] == self.model.graph.output[0].name:
                return values[node.input[0]]
            args = [
                self.leaves.get((node.name, slot), values.get(name))
                for slot, name in enumerate(node.input)
            ]
            made = getattr(self, f"_{node.op_type.lower()}")(attrs, *args)
            several = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.output, several, strict=True))
        return values[self.model.graph.output[0].name]

    def _conv(self, attrs, x, w, b=None):
        top, left, bottom, right = attrs.get("pads", [0, 0, 0, 0])
        return functional.conv2d(
            functional.pad(x, (left, right, top, bottom)),
            w,
            b,
            stride=attrs.get("strides", [1, 1]),
            dilation=attrs.get("dilations", [1, 1]),
            groups=attrs.get("group", 1),
        )

    def _gemm(self, attrs, x, w, b=None):
        w = w.T if not attrs.get("transB", 0) else w
        assert attrs.get("alpha", 1.0) == attrs.get("beta", 1.0) == 1.0
        return functional.linear(x, w, b)

    def _batchnormalization(self, attrs, x, scale, bias, mean, variance):
        eps = attrs.get("epsilon", 1e-5)
        return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=eps)

    def _instancenormalization(self, attrs, x, scale, bias):
        return functional.instance_norm(x, weight=scale, bias=bias, eps=attrs.get("epsilon", 1e-5))

    def _layernormalization(self, attrs, x, scale, bias=None):
        shape = x.shape[attrs.get("axis", -1) :]
        return functional.layer_norm(x, shape, scale, bias, attrs.get("epsilon", 1e-5))

    def _relu(self, attrs, x):
        self._approach(x, 0.0)
        return x.relu()

    def _leakyrelu(self, attrs, x):
        self._approach(x, 0.0)
        return functional.leaky_relu(x, attrs.get("alpha", 0.01))

    def _prelu(self, attrs, x, slope):
        self._approach(x, 0.0)
        return torch.where(x < 0, slope * x, x)

    def _elu(self, attrs, x):
        self._approach(x, 0.0)
        return functional.elu(x, attrs.get("alpha", 1.0))

    def _clip(self, attrs, x, low, high):
        self._approach(x, low.item(), high.item())
        return functional.hardtanh(x, low.item(), high.item())

    def _hardsigmoid(self, attrs, x):
        alpha, beta = attrs.get("alpha", 0.2), attrs.get("beta", 0.5)
        self._approach(alpha * x + beta, 0.0, 1.0)
        return (alpha * x + beta).clamp(0.0, 1.0)

    def _hardswish(self, attrs, x):
        self._approach(x, -3.0, 3.0)
        return functional.hardswish(x)

    def _abs(self, attrs, x):
        self._approach(x, 0.0)
        return x.abs()

    def _sigmoid(self, attrs, x):
        return x.sigmoid()

    def _tanh(self, attrs, x):
        return x.tanh()

    def _softplus(self, attrs, x):
        return functional.softplus(x)

    def _gelu(self, attrs, x):
        return functional.gelu(x, approximate=attrs.get("approximate", b"none").decode())

    def _approach(self, x, *bounds):
        scale = x.detach().abs().max().item()
        for bound in bounds:
            distance = (x.detach() - bound).abs()
            near = distance[distance > 0]  # dead channels are at the bound exactly, for everybody
            self.margin = min(self.margin, near.min().item() / scale if near.numel() else np.inf)

    def _add(self, attrs, a, b):
        return a + b

    def _sub(self, attrs, a, b):
        return a - b

    def _mul(self, attrs, a, b):
        return a * b

    def _div(self, attrs, a, b):
        return a / b

    def _neg(self, attrs, x):
        return -x

    def _concat(self, attrs, *parts):
        return torch.cat(parts, attrs["axis"])

    def _split(self, attrs, x, sizes):
        return torch.split(x, sizes.tolist(), attrs.get("axis", 0))

    def _transpose(self, attrs, x):
        return x.permute(attrs["perm"])

    def _slice(self, attrs, x, starts, ends, axes):
        for start, end, axis in zip(starts.tolist(), ends.tolist(), axes.tolist(), strict=True):
            x = x.narrow(axis, start, end - start)
        return x

    def _pad(self, attrs, x, pads):
        (_, _, top, left, _, _, bottom, right) = pads.tolist()
        mode = {b"constant": "constant", b"reflect": "reflect", b"edge": "replicate"}
        return functional.pad(x, (left, right, top, bottom), mode[attrs.get("mode", b"constant")])

    def _flatten(self, attrs, x):
        return x.flatten(attrs.get("axis", 1))

    def _reshape(self, attrs, x, shape):
        return x.reshape(tuple(shape.tolist()))

    def _softmax(self, attrs, x):
        return x.softmax(attrs.get("axis", -1))

    def _globalaveragepool(self, attrs, x):
        return x.mean((2, 3), keepdim=True)

    def _globalmaxpool(self, attrs, x):
        self._contest(x.flatten(2))
        return x.amax((2, 3), keepdim=True)

    def _reducemean(self, attrs, x, axes):
        return x.mean(tuple(axes.tolist()), keepdim=bool(attrs.get("keepdims", 1)))

    def _maxpool(self, attrs, x):
        assert not any(attrs.get("pads", [])) and not attrs.get("ceil_mode", 0)
        kernel, strides = attrs["kernel_shape"], attrs.get("strides", [1, 1])
        seen = x.unfold(2, kernel[0], strides[0]).unfold(3, kernel[1], strides[1])
        self._contest(seen.flatten(4))
        return functional.max_pool2d(x, kernel, strides)

    def _contest(self, rows):
        """The maximum of each row and the next value, unless both were cut to the same value."""
        if rows.shape[-1] == 1:
            return
        first, second = rows.detach().topk(2).values.unbind(-1)
        distance = (first - second)[first > second]
        if distance.numel():
            scale = rows.detach().abs().max().item()
            self.margin = min(self.margin, distance.min().item() / scale)

    def _averagepool(self, attrs, x):
        assert not any(attrs.get("pads", [])) and not attrs.get("ceil_mode", 0)
        return functional.avg_pool2d(x, attrs["kernel_shape"], attrs.get("strides", [1, 1]))


LEARNING = frozenset(
    {
        *("Conv", "Gemm", "BatchNormalization", "InstanceNormalization", "LayerNormalization"),
        "PRelu",
    }
)
