#!/usr/bin/env bash
# torch.onnx.export(dynamo=True), the default exporter, writes parameters that are EQUAL when it runs as one
# initializer. A network exported before it was trained has norms of one width with scale 1 and bias 0: in
# the file they are one norm, and whoever trains the file trains tied weights. With other values each norm
# keeps its own. Seen with torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2.
#
# Guessed: every parameter has an initializer of its own, as in state_dict(). Wrong for equal ones.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install --quiet torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2
env/bin/python -W ignore - <<'END'
import contextlib, io, sys
import onnx, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.first = torch.nn.Linear(5, 8), torch.nn.LayerNorm(8)
        self.b, self.second = torch.nn.Linear(8, 8), torch.nn.LayerNorm(8)

    def forward(self, x):
        return self.second(self.b(torch.relu(self.first(self.a(x)))))

def read_by_norms(fresh):
    torch.manual_seed(0)
    net = Net().eval()
    if not fresh:
        for parameter in net.parameters():
            torch.nn.init.normal_(parameter)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        torch.onnx.export(net, (torch.zeros(1, 5),), "net.onnx", dynamo=True, external_data=False)
    graph = onnx.load("net.onnx").graph
    return [list(node.input)[1:] for node in graph.node if node.op_type == "LayerNormalization"]

fresh, trained = read_by_norms(True), read_by_norms(False)
print("torch", torch.__version__, "onnx", onnx.__version__)
print("fresh network, scale and bias of its two norms:  ", fresh)
print("other weights, scale and bias of its two norms:  ", trained)
sys.exit(not (fresh[0] == fresh[1] and trained[0] != trained[1]))
END
