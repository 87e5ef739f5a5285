"""A small network trained for heads of prototypes: prototypical episodes, and what they bring.

    .venv/bin/python benchmarks/meta.py [-o meta.onnx] [--episodes 120] [--seeds 1]

PyTorch, which is no part of tinyodl: this trains networks on a computer, and writes ONNX files for
`tinyodl compile --head prototypes:N`. An episode draws 10 characters of the six alphabets other
than Sanskrit and Tagalog, 5 samples of each for the prototypes and 3 to be told apart by 10 times
the cosine (Snell, Swersky and Zemel 2017, with the cosine for the distance), moved by up to two
pixels. Trained so are the layers of omniglot_embed288, from drawn weights with batch normalisation,
and from the weights of that file, which learned to tell the 183 characters of the six alphabets.

Tested on the episodes of few_shots.py: 100 of Sanskrit, 5 ways; errors are standard errors, and of
differences over pairs. Nothing was chosen on Sanskrit. Data and models are looked for beside the
project, in shared/.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as functional
from onnx import numpy_helper
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from few_shots import MODEL, characters, cosines, episodes, spread

from tinyodl.graph import Array

TRAINED_ON = ("Balinese", "Early_Aramaic", "Greek", "Korean", "Latin", "Japanese_(katakana)")
CHANNELS = (1, 16, 24, 32)
WAYS, SHOTS, ASKED, SHARPNESS = 10, 5, 3, 10.0


def drawn_network() -> nn.Sequential:
    """As omniglot_embed288 before its normalisations were folded."""
    blocks = []
    for a, b in pairwise(CHANNELS):
        conv = nn.Conv2d(a, b, 3, padding=1, bias=False)
        blocks += [conv, nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten())


def given_network() -> nn.Sequential:
    """omniglot_embed288 itself."""
    held = [
        torch.from_numpy(numpy_helper.to_array(each).copy())
        for each in onnx.load(MODEL).graph.initializer
    ]
    weights, biases = ([each for each in held if each.ndim == n] for n in (4, 1))
    blocks = []
    for w, b in zip(weights, biases, strict=True):
        conv = nn.Conv2d(w.shape[1], w.shape[0], 3, padding=1)
        conv.weight.data, conv.bias.data = w, b  # type: ignore[union-attr]
        blocks += [conv, nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten())


def episode(there: Tensor, random: torch.Generator) -> Tensor:
    """Samples (WAYS, SHOTS + ASKED, 1, 28, 28), each moved by up to two pixels."""
    chosen = torch.randperm(len(there), generator=random)[:WAYS]
    rows = torch.stack([torch.randperm(20, generator=random)[: SHOTS + ASKED] for _ in chosen])
    x = functional.pad(there[chosen[:, None], rows], (2, 2, 2, 2))
    by = torch.randint(0, 5, (WAYS, SHOTS + ASKED, 2), generator=random).tolist()
    return torch.stack([
        torch.stack([x[c, s, :, i : i + 28, j : j + 28] for s, (i, j) in enumerate(moves)])
        for c, moves in enumerate(by)
    ])  # fmt: skip


def trained(net: nn.Sequential, count: int, rate: float, seed: int) -> nn.Sequential:
    """The network after `count` episodes of Adam, whose rate falls to 0 along a cosine."""
    random = torch.Generator().manual_seed(seed)
    alphabets = [np.stack(characters(name)) for name in TRAINED_ON]
    there = torch.from_numpy(np.concatenate(alphabets))
    optimizer = torch.optim.Adam(net.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    truth = torch.arange(WAYS).repeat_interleave(ASKED)
    net.train()
    for _ in range(count):
        x = episode(there, random)
        features = net(x.flatten(0, 1)).reshape(WAYS, SHOTS + ASKED, -1)
        rows = functional.normalize(features[:, :SHOTS].mean(1), dim=1)
        asked = functional.normalize(features[:, SHOTS:].flatten(0, 1), dim=1)
        loss = functional.cross_entropy(SHARPNESS * asked @ rows.T, truth)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return net.eval()


def exported(net: nn.Module, path: Path) -> Path:
    sample = torch.zeros(1, 1, 28, 28)
    torch.onnx.export(
        net,
        (sample,),
        path,
        opset_version=17,
        dynamo=False,
        input_names=["input"],
        output_names=["embedding"],
    )
    return path


def tested(path: Path) -> dict[int, Array]:
    """Accuracies in percent of the episodes, by shots."""
    session = onnxruntime.InferenceSession(path)
    return {
        shots: np.array([
            100 * (cosines(session, each) == each.y_test).mean()
            for each in episodes("Sanskrit", shots, 100)
        ])
        for shots in (1, 5)
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", type=Path, default=None)
    parser.add_argument("--episodes", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print("| network | 1 shot | 5 shots |\n|---|--:|--:|")
    before = tested(MODEL)
    cells = [spread(list(found)) for found in before.values()]
    print(f"| omniglot_embed288 | {' | '.join(cells)} |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(given.seeds):
            torch.manual_seed(seed)
            for name, net, rate in (
                ("its weights, then episodes", given_network(), 3e-4),
                ("episodes from drawn weights", drawn_network(), 3e-3),
            ):
                trained(net, given.episodes, rate, seed)
                path = exported(net, given.o or Path(folder) / "meta.onnx")
                after = tested(path)
                cells = [
                    f"{spread(list(found))} ({spread(list(found - before[shots]))})"
                    for shots, found in after.items()
                ]
                print(f"| {name}, seed {seed} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
