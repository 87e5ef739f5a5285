"""What plans say of layers: which constants there are, which learn, and which are one tensor."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from tests.cli.conftest import Run
from tests.frontend.models import model, node, norm, norm_node, saved, weights
from tinyodl.compiler import plan_model
from tinyodl.project.manifest import Manifest
from tinyodl.report import write_plan
from tinyodl.report.figures import learns, together


def planned(path: Path, **options: object) -> Manifest:
    return plan_model(path, "host", **options)


def words(manifest: Manifest) -> dict[str, str]:
    return {layer.name: learns(layer) for layer in manifest.layers}


def test_a_layer_without_bias_learns_weights_alone(tmp_path):
    nodes = [
        node("Conv", ["x", "w", "b"], "a", "conv"),
        node("PRelu", ["a", "slope"], "c", "prelu"),
        node("Conv", ["c", "v"], "d", "bare conv"),
        node("Flatten", ["d"], "e", "flatten"),
        node("Gemm", ["e", "m", "n"], "f", "dense", transB=1),
        node("MatMul", ["f", "o"], "y", "matmul"),
    ]
    constants = {"w": weights(4, 2, 3), "b": weights(4), "slope": weights(4, 1)}
    constants |= {"v": weights(2, 4, 3), "m": weights(5, 12), "n": weights(5), "o": weights(5, 3)}
    path = saved(model(nodes, [1, 2, 10], constants), tmp_path)
    assert words(planned(path, update="full")) == {
        "conv": "weights and bias",
        "prelu": "weights",
        "bare conv": "weights",
        "dense": "weights and bias",
        "matmul": "weights",
    }
    assert words(planned(path, update="bias")) == {
        "conv": "bias",
        "prelu": "frozen",
        "bare conv": "frozen",
        "dense": "bias",
        "matmul": "frozen",
    }


def test_what_learns_is_what_the_board_keeps(tmp_path):
    """The words agree with the parameters: a bias that BatchNormalization brings is there."""
    nodes = [
        node("Conv", ["x", "w"], "a", "conv"),
        norm_node("a", "b", "bn"),
        node("Flatten", ["b"], "c", "flatten"),
        node("Gemm", ["c", "m"], "y", "dense", transB=1),
    ]
    constants = {"w": weights(4, 2, 3), "m": weights(3, 32), **norm(4)}
    path = saved(model(nodes, [1, 2, 10], constants), tmp_path)
    for update in ("full", "last", "bias"):
        manifest = planned(path, update=update)
        learned = [said.split(" and ") for said in words(manifest).values() if said != "frozen"]
        assert len([p for p in manifest.parameters if p.origin]) == sum(map(len, learned))


def shared_model(folder: Path) -> Path:
    """Two dense layers with one weight, the first without bias."""
    nodes = [
        node("Gemm", ["x", "w"], "a", "first", transB=1),
        node("Relu", ["a"], "b", "relu"),
        node("Gemm", ["b", "w", "v"], "y", "second", transB=1),
    ]
    return saved(model(nodes, [1, 4], {"w": weights(4, 4), "v": weights(4)}), folder)


def test_a_tensor_that_layers_share_is_named(tmp_path):
    manifest = planned(shared_model(tmp_path), update="full")
    [shared] = manifest.shared
    assert together(shared) == (
        "learned together: first.weight, second.weight (one tensor in the file, w)"
    )
    assert words(manifest) == {"first": "weights", "second": "weights and bias"}


def test_a_layer_learns_what_another_one_shares_with_it(tmp_path):
    """Only the last layer is to learn, and the first one has the same weight."""
    manifest = planned(shared_model(tmp_path), update="last")
    assert words(manifest) == {"first": "weights", "second": "weights and bias"}
    assert len(manifest.shared) == 1
    frozen = planned(shared_model(tmp_path), update="none")
    assert frozen.shared == () and set(words(frozen).values()) == {"frozen"}
    bias = planned(shared_model(tmp_path), update="bias")
    assert bias.shared == () and words(bias) == {"first": "frozen", "second": "bias"}


def test_terminal_json_and_page_name_it(tinyodl: Run, tmp_path: Path) -> None:
    path, out = shared_model(tmp_path), tmp_path / "project"
    said = "learned together: first.weight, second.weight (one tensor in the file, w)"
    for command in (("plan",), ("compile", "-o", out)):
        done = tinyodl(*command, path, "--board", "host", "--update", "full")
        assert said in " ".join(done.out.split())
    values = tinyodl("plan", path, "--board", "host", "--update", "full", "--json").values
    assert values["learned_together"] == [
        {"uses": ["first.weight", "second.weight"], "initializer": "w"}
    ]
    write_plan(planned(path, update="full"), tmp_path / "page.html")
    assert said in (tmp_path / "page.html").read_text("utf-8")


class TwoNorms(torch.nn.Module):
    """Two fresh norms of one width: PyTorch's exporter makes one of their equal constants."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.n = torch.nn.Linear(5, 8), torch.nn.LayerNorm(8)
        self.b, self.m = torch.nn.Linear(8, 8, bias=False), torch.nn.LayerNorm(8)
        self.f = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(self.m(self.b(torch.relu(self.n(self.a(x))))))


@pytest.mark.filterwarnings("ignore")
def test_what_pytorch_merges_when_it_exports_is_named(tmp_path):
    path = tmp_path / "merged.onnx"
    torch.onnx.export(
        TwoNorms().eval(), (torch.zeros(1, 5),), str(path), dynamo=True, external_data=False
    )
    nodes = onnx.load(path).graph.node
    norms = [n for n in nodes if n.op_type == "LayerNormalization"]
    merged = {a for a, b in zip(norms[0].input, norms[1].input, strict=True) if a == b}
    manifest = planned(path, update="full")
    assert {shared.initializer for shared in manifest.shared} == merged
    for shared in manifest.shared:
        assert [use.rsplit(".", 1)[0] for use in shared.uses] == [n.name for n in norms]
    assert (
        words(manifest)[next(n.name for n in nodes if "b.weight" in " ".join(n.input))] == "weights"
    )
