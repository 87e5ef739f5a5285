"""An ONNX file as a PyTorch function, read node by node: the oracle for training whole models.

Written against the ONNX operator specification, and independent of tinyodl's own frontend. Weights
and biases of Conv, Gemm and MatMul become leaves that PyTorch differentiates.
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

    `margin` is how near the last sample came to a kink: the smallest distance of an input of Relu
    or Clip from a bound, as a part of the largest input. Below rounding, two correct float32
    programs may take different sides there, and their gradients differ.
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
        for node in self.model.graph.node:
            if node.op_type in ("Conv", "Gemm"):
                for slot, name in enumerate(node.input):
                    if slot and name:
                        leaf = self.constants[name].clone().requires_grad_()
                        self.leaves[node.name, slot] = leaf

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
            values[node.output[0]] = getattr(self, f"_{node.op_type.lower()}")(attrs, *args)
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

    def _relu(self, attrs, x):
        self._approach(x, 0.0)
        return x.relu()

    def _clip(self, attrs, x, low, high):
        self._approach(x, low.item(), high.item())
        return functional.hardtanh(x, low.item(), high.item())

    def _approach(self, x, *bounds):
        scale = x.detach().abs().max().item()
        for bound in bounds:
            distance = (x.detach() - bound).abs()
            near = distance[distance > 0]  # dead channels are at the bound exactly, for everybody
            self.margin = min(self.margin, near.min().item() / scale if near.numel() else np.inf)

    def _add(self, attrs, a, b):
        return a + b

    def _flatten(self, attrs, x):
        return x.flatten(attrs.get("axis", 1))

    def _reshape(self, attrs, x, shape):
        return x.reshape(tuple(shape.tolist()))

    def _softmax(self, attrs, x):
        return x.softmax(attrs.get("axis", -1))

    def _globalaveragepool(self, attrs, x):
        return x.mean((2, 3), keepdim=True)

    def _maxpool(self, attrs, x):
        assert not any(attrs.get("pads", [])) and not attrs.get("ceil_mode", 0)
        return functional.max_pool2d(x, attrs["kernel_shape"], attrs.get("strides"))

    def _averagepool(self, attrs, x):
        assert not any(attrs.get("pads", [])) and not attrs.get("ceil_mode", 0)
        return functional.avg_pool2d(x, attrs["kernel_shape"], attrs.get("strides"))
