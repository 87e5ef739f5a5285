"""Files that cannot be used: one ModelError that names the file, what was found, and the remedy."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.frontend.models import SHIPPED, model, node, norm, norm_node, saved, weights
from tinyodl.errors import ModelError, UserError
from tinyodl.frontend import import_model, load_model


def refused(path, *words: str) -> str:
    with pytest.raises(ModelError) as caught:
        import_model(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message, message
    return message


def refused_model(folder, made: onnx.ModelProto, *words: str) -> str:
    return refused(saved(made, folder), *words)


class TestFiles:
    def test_missing(self, tmp_path):
        refused(tmp_path / "none.onnx", "No such file", "give the path")

    def test_a_directory(self, tmp_path):
        refused(tmp_path, "directory")

    @pytest.mark.parametrize("content", [b"", b"hello, this is text\n" * 9, b"\x89PNG\r\n\x1a\n"])
    def test_not_onnx(self, tmp_path, content):
        path = tmp_path / "a.onnx"
        path.write_bytes(content)
        refused(path, "not an ONNX")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
    def test_truncated(self, tmp_path, share):
        path = tmp_path / "a.onnx"
        data = SHIPPED.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        refused(path)

    def test_external_data_missing(self, tmp_path):
        made = model([node("MatMul", ["x", "w"], "y")], [1, 8], {"w": weights(8, 8)})
        path = tmp_path / "a.onnx"
        onnx.save_model(made, str(path), save_as_external_data=True, location="w", size_threshold=0)
        (tmp_path / "w").unlink()
        refused(path, "another file", "beside the model")

    def test_external_data_outside_the_folder_is_not_read(self, tmp_path):
        made = model([node("MatMul", ["x", "w"], "y")], [1, 8], {"w": weights(8, 8)})
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../secret")
        (tmp_path / "secret").write_bytes(bytes(256))
        (tmp_path / "in").mkdir()
        refused_model(tmp_path / "in", made, "another file")

    def test_constants_in_nodes_are_read_from_the_models_folder_too(self, tmp_path, monkeypatch):
        """onnx itself takes them from the current directory."""
        constant = helper.make_node("Constant", [], ["w"], "constant")
        tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[8, 8])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="secret")
        constant.attribute.append(helper.make_attribute("value", tensor))
        made = model([constant, node("MatMul", ["x", "w"], "y")], [1, 8])
        (tmp_path / "secret").write_bytes(bytes(256))
        (tmp_path / "in").mkdir()
        monkeypatch.chdir(tmp_path)
        refused_model(tmp_path / "in", made, "another file")
        (tmp_path / "in" / "secret").write_bytes(bytes(256))
        assert import_model(saved(made, tmp_path / "in"))

    def test_checker(self, tmp_path):
        made = model([node("Relu", ["x"], "y")], [1, 8])
        made.graph.node[0].input[0] = "nobody"
        refused_model(tmp_path, made, "checker", "nobody")

    def test_an_opset_that_onnxruntime_does_not_run_either(self, tmp_path):
        made = model([node("Relu", ["x"], "y")], [1, 8], opset=29)
        refused_model(tmp_path, made, "opset 29", "7 to 28", "export it")

    def test_an_old_opset_with_an_operator_that_onnxruntime_lacks(self, tmp_path):
        made = model([node("Dropout", ["x"], "y", is_test=1)], [1, 8], opset=6)
        refused_model(tmp_path, made, "opset 6", "there is no Dropout of opset 6", "export it")

    def test_sparse_initializers(self, tmp_path):
        made = model([node("MatMul", ["x", "w"], "y")], [1, 2], {"w": weights(2, 2)})
        values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
        indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
        sparse = helper.make_sparse_tensor(values, indices, [2, 2])
        del made.graph.initializer[:]
        made.graph.sparse_initializer.append(sparse)
        refused_model(tmp_path, made, "'w' is sparse")


class TestInputsAndOutputs:
    @pytest.mark.parametrize(
        "shape, words",
        [
            ([1, "width"], ["dynamic dimension 1 ('width')", "--shape x=1,width with a number"]),
            (["N", 3, None, 8], ["dynamic dimension 2", "--shape x=1,3,N2,8 with a number"]),
            ([], ["no shape", "--shape x=1,..."]),
        ],
    )
    def test_shapes(self, tmp_path, shape, words):
        made = model([node("Relu", ["x"], "y")], shape, rank=len(shape))
        refused_model(tmp_path, made, "input 'x'", *words)

    def test_dtypes(self, tmp_path):
        made = model([node("Relu", ["x"], "y")], [1, 8])
        for value in (made.graph.input[0], made.graph.output[0]):
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
        refused_model(tmp_path, made, "input 'x' is double", "float32")

    def test_two_outputs_without_a_choice(self, tmp_path):
        made = model([node("Relu", ["x"], "y"), node("Relu", ["y"], "z")], [1, 8])
        made.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8]))
        refused_model(tmp_path, made, "2 outputs ('y', 'z')", "--output NAME")

    def test_an_output_that_is_not_there(self, tmp_path):
        made = model([node("Relu", ["x"], "y")], [1, 8])
        with pytest.raises(UserError, match="no output 'z'; its outputs are 'y'"):
            import_model(saved(made, tmp_path), "z")

    def test_an_output_that_is_a_constant(self, tmp_path):
        made = model([node("Identity", ["c"], "y")], [1, 8], {"c": weights(1, 8)})
        refused_model(tmp_path, made, "output 'y'", "input")

    def test_an_output_that_is_the_input(self, tmp_path):
        refused_model(tmp_path, model([node("Identity", ["x"], "y")], [1, 8]), "only copies")

    def test_a_gigantic_input(self, tmp_path):
        refused_model(tmp_path, model([node("Relu", ["x"], "y")], [1, 1 << 40]), "too large")


class TestNodes:
    def test_all_offending_nodes_are_named_at_once(self, tmp_path):
        made = model(
            [
                node("Sin", ["x"], "a", "sin"),
                node("MaxPool", ["a"], "b", "pool", kernel_shape=[2, 2], pads=[0, 0, 2, 2]),
                node("LSTM2", ["b"], "c", "odd", domain="com.example"),
                node("Sin", ["c"], "d"),
                node("Cos", ["d"], "y", "last"),
            ],
            [1, 2, 8, 8],
            domains=["com.example"],
            rank=4,
        )
        message = refused_model(
            tmp_path,
            made,
            "(opset 17): 5 nodes are not supported",
            "Sin 'sin', 'Sin_3'",
            "MaxPool 'pool': its padding of 2",
            "LSTM2 'odd': operator of the domain 'com.example'",
            "Cos 'last'",
            "supported operators: ",
        )
        assert re.search(r"MaxPool 'pool': .*; supported: \w+", message)

    @pytest.mark.parametrize(
        "nodes, shape, held, words",
        [
            ([node("Conv", ["x", "w"], "y", "n")], [1, 1, 4, 4, 4], {"w": weights(1, 1, 2, 2, 2)},
             "Conv 'n': its input has the shape (1, 1, 4, 4, 4)"),
            ([node("MatMul", ["x", "w"], "y", "n")], [1, 2], {"w": weights(2, 2) * np.nan},
             "'w' holds values that are not finite"),
            ([node("Gemm", ["x", "w"], "y", "n", alpha=1e38)], [1, 1], {"w": weights(1, 1) + 99},
             "constants times 1e+38 are too large"),
            ([norm_node("x", "n", training_mode=0), node("Relu", ["n"], "y")], [1, 3],
             norm(3) | {"bn.var": weights(3) * 0 - 1}, "variance + epsilon is not positive"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_imported(self, tmp_path, nodes, shape, held, words):
        refused_model(tmp_path, model(nodes, shape, held), words)

    def test_second_outputs_that_are_used(self, tmp_path):
        drop = helper.make_node("Dropout", ["x"], ["a", "mask"], name="drop")
        cast = node("Cast", ["mask"], "m", "cast", to=TensorProto.FLOAT)
        made = model([drop, cast, node("Add", ["a", "m"], "y")], [1, 8])
        refused_model(tmp_path, made, "Dropout 'drop': its mask is used")

    def test_a_constant_that_would_be_gigantic_is_never_made(self, tmp_path):
        huge = np.int64([1 << 28, 1])
        nodes = [node("ConstantOfShape", ["n"], "c", "big"), node("Add", ["x", "c"], "y")]
        refused_model(tmp_path, model(nodes, [1, 8], {"n": huge}, rank=2), "'big'", "elements")

    def test_shapes_that_contradict_each_other(self, tmp_path):
        made = model([node("MatMul", ["x", "w"], "y")], [1, 8], {"w": weights(7, 2)}, rank=2)
        refused_model(tmp_path, made, "shapes", "fit")


def test_nothing_is_printed(tmp_path, capfd):
    import_model(SHIPPED)
    made = model([node("Sin", ["x"], "y")], [1, 8])
    refused_model(tmp_path, made, "Sin")
    assert capfd.readouterr() == ("", "")


def test_load_model_infers_the_shapes(tmp_path):
    made = model([node("Relu", ["x"], "a"), node("Flatten", ["a"], "y")], ["N", 2, 3])
    loaded = load_model(saved(made, tmp_path))
    (value,) = loaded.graph.value_info
    assert [d.dim_value for d in value.type.tensor_type.shape.dim] == [1, 2, 3]
