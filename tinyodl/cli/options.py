"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import rich_click as click

from tinyodl.errors import UserError
from tinyodl.learning.learners import names

type_path = click.Path(path_type=Path)
PATIENCE = 15.0  # that of tinyodl.device.link, which loads slowly

_SIZE = re.compile(r"(\d+)\s*(|B|K|KiB|M|MiB)", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1024, "kib": 1024, "m": 1024**2, "mib": 1024**2}


def size(context: click.Context, option: click.Parameter, text: str | None) -> int | None:
    """Bytes, from 65536, 64K or 64KiB (both 65,536 bytes)."""
    if text is None:
        return None
    found = _SIZE.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise click.BadParameter(f"{text!r} is not a size such as 65536, 64K or 64KiB")
    return int(found[1]) * _UNITS[found[2].lower()]


json_option = click.option(
    "--json", "as_json", is_flag=True, help="One JSON object on stdout, everything else on stderr."
)
port_option = click.option(
    "--port",
    metavar="PORT|virtual|qemu|host",
    help="Serial device or pyserial URL, or a board that needs no hardware. "
    "Without it, the one serial device whose USB ids fit the board.",
)
patience_option = click.option(
    "--patience", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS",
    default=PATIENCE, show_default=True,
    help="How long to go on where the line brings nothing but damage or silence.",
)  # fmt: skip
radio_ua_option = click.option(
    "--radio-ua", type=float, metavar="UA",
    help="Compare with sending the samples away over a radio that takes so many microamperes, "
    "with --radio-bps.  [default: the board's, if it has one]",
)  # fmt: skip
radio_bps_option = click.option(
    "--radio-bps", type=float, metavar="BPS", help="Bits of user data a second that it sends."
)
project_argument = click.argument("project", metavar="DIR", type=type_path)


_LEARNING = (
    click.option("--output", metavar="NAME",
                 help="The output that is trained and answered, where the model has several."),
    click.option("--cut", metavar="NODE",
                 help="End the network with this node; everything after it goes away."),
    click.option("--head", metavar="dense:UNITS[,UNITS...]",
                 help="A fresh classifier of dense layers: after --cut, or in the place of the "
                 "last dense layer, or on an embedding. With it, `--update last` is the head."),
    click.option("--tap", multiple=True, metavar="NODE",
                 help="What the fresh head reads, if not what the last dense layer does; several "
                 "are put side by side. reconstruction-error is that of an autoencoder."),
    click.option("--learner", type=click.Choice(names()),
                 help="A way to learn that brings its own last layer: online, gradients behind a "
                 "running standardisation; rls, recursive least squares; elm, the same behind a "
                 "hidden layer of hashed weights; transfer, a head behind frozen layers that "
                 "replays a cache of their features; slda, linear discriminants of a covariance "
                 "that the classes share; ncm, the class whose mean is nearest."),
    click.option("--classes", type=int, metavar="N",
                 help="Outputs of the learner's layer.  [default: as many as the model's]"),
    click.option("--max-classes", type=int, metavar="N",
                 help="Outputs of the learner's layer that are free at first: any label takes the "
                 "next one when it first comes."),
    click.option("--grow", is_flag=True,
                 help="With online and --max-classes: begin with the weights and classes of the "
                 "model's own last layer, and leave the rest free."),
    click.option("--activation", type=click.Choice(["linear", "sigmoid"]),
                 help="Of the outputs of online: sigmoid with --loss one-hot or cross-entropy, "
                 "which is then the binary one of each output; or linear, with one-hot.  "
                 "[default: linear; with cross-entropy a softmax]"),
    click.option("--hidden", type=int, metavar="N",
                 help="Hidden units of elm.  [default: 128]"),
    click.option("--start", metavar="DATA.npz|DATA.csv", type=type_path,
                 help="Begin as if the learner had learned from these labelled samples.  "
                 "[default: begin at zero]"),
    click.option("--start-weight", type=float, metavar="W",
                 help="What each of those counts, beside one of the stream.  [default: 0.1]"),
    click.option("--ridge", type=float,
                 help="How sure rls, elm and slda are of nothing at first, as a share of |x|^2 of "
                 "what they read; with --start of online, whose inputs have no unit, as it is.  "
                 "[default: 0.01; online: 1]"),
    click.option("--forgetting", type=float, metavar="F",
                 help="What rls, elm, slda, ncm and the statistics of online keep of the past at "
                 "each sample, e.g. 0.999.  [default: 1, all]"),
    click.option("--simplify", is_flag=True,
                 help="Let onnxruntime fold constants and remove what has no effect, first."),
    click.option("--precision", type=click.Choice(["float32", "int8"]),
                 help="int8: quantise a float32 model, except for a fresh head.  [default: as in "
                 "the file]"),
    click.option("--calibrate", metavar="DATA.npz|DATA.csv", type=type_path,
                 help="Samples for --precision int8, as the board will see them; labels are not "
                 "needed. They give the range of each value."),
    click.option("--no-check", is_flag=True,
                 help="Do not compare what --simplify and --cut left with the original network."),
    click.option("--update", default="last", show_default=True,
                 metavar="last|bias|full|none|PLAN.toml",
                 help="What learns: the last layer, all biases, everything, nothing, or as a plan "
                 "file says (with its own training rule)."),
    click.option("--loss",
                 type=click.Choice(["cross-entropy", "binary-cross-entropy", "one-hot", "mse",
                                    "reconstruction", "reconstruction-cross-entropy"]),
                 help="Of labels: cross-entropy of a softmax, binary-cross-entropy of a sigmoid, "
                 "or one-hot, the squared error against a vector of one 1; mse of target vectors; "
                 "of autoencoders, against the sample itself: reconstruction, mse, or "
                 "reconstruction-cross-entropy, of a sigmoid and samples from 0 to 1.  [default: "
                 "cross-entropy; one-hot for rls and elm; zero-one for slda and ncm]"),
    click.option("--metrics", is_flag=True,
                 help="Let the device count by label what it predicts, and how often right."),
    click.option("--fading", type=float,
                 help="How much less a prediction counts in that share with the next.  "
                 "[default: 0.99]"),
    click.option("--threshold", metavar="gaussian:Z|percentile:P|fixed:T",
                 help="With --loss reconstruction or reconstruction-cross-entropy: the error "
                 "above which a sample is an anomaly.  "
                 "[default: gaussian:3]"),
    click.option("--learn-flagged", is_flag=True,
                 help="Learn from samples above the threshold too, where they have no label: for a "
                 "machine that changes. What stays out of order is then learned as normal."),
    click.option("--optimizer", type=click.Choice(["sgd", "momentum", "adam", "rls"]),
                 help="[default: sgd]"),
    click.option("--lr", type=float, help="Learning rate.  [default: 0.01]"),
    click.option("--batch", type=int, help="Samples per update.  [default: 1]"),
    click.option("--weight-decay", type=float,
                 help="What sgd and momentum add of each weight to its gradient.  [default: 0; "
                 "transfer: 0.0002]"),
    click.option("--bound", type=click.Choice(["on", "normalised", "off"]),
                 help="on: a step of gradient descent that reaches too far is made smaller; "
                 "normalised: every step is divided by how far it reaches.  [default: on]"),
    click.option("--cache", type=int, metavar="N",
                 help="Keep the features of N samples, in int8, to learn from them again.  "
                 "[default: 0; transfer: 64]"),
    click.option("--cache-memory", type=click.Choice(["ram", "flash"]),
                 help="In flash each sample is written once, and stays there without power.  "
                 "[default: ram]"),
    click.option("--cache-policy", type=click.Choice(["ring", "reservoir", "balanced", "first",
                                                  "ageing"]),
                 help="Which are kept when the cache is full: the latest, any with the same "
                 "chance, as many of each class, the first, or as many of each class and of those "
                 "the later ones. Flash: balanced or first.  [default: ageing; flash: balanced]"),
    click.option("--replay", type=int, metavar="K",
                 help="Samples in the update of a step: the one that came and K - 1 of the cache; "
                 "0 only keeps it.  [default: 1; transfer: as --batch]"),
    click.option("--master", type=click.Choice(["none", "int16", "float32"]),
                 help="What is kept below the integer of an int8 weight that learns.  "
                 "[default: int16, 8 bits]"),
    click.option("--no-scaling", is_flag=True,
                 help="Without quantisation-aware scaling of int8 gradients."),
    click.option("--query", metavar="auto|always|margin:T",
                 help="The board says which labels it wants: all, those of margins below T, or as "
                 "many as keep to --error-budget.  [default: it is trained with all]"),
    click.option("--error-budget", type=float, metavar="SHARE",
                 help="Of --query auto: how many of the answers that nobody checks may be wrong.  "
                 "[default: 0.01]"),
    click.option("--drift", is_flag=True,
                 help="Watch for samples that are other than those learned, class by class."),
    click.option("--guard", metavar="K[:MARGIN]",
                 help="Hold every K-th labelled sample back to test on, and undo what makes "
                 "the network worse by more than MARGIN (0.1)."),
    click.option("--guard-memory", type=click.Choice(["ram", "flash"]),
                 help="Where the guard keeps the best parameters.  [default: ram]"),
    click.option("--keep-outliers", is_flag=True,
                 help="Learn from samples far outside those before too; without it they are "
                 "predicted, and not learned."),
    click.option("--ram", metavar="SIZE", callback=size,
                 help="Budget such as 96KiB; the board's RAM if not given."),
    click.option("--flash", metavar="SIZE", callback=size,
                 help="Budget; the board's flash if not given."),
    click.option("--seed", type=int,
                 help="Of the head's weights, and of what the device draws.  [default: 0]"),
)  # fmt: skip

_NAMES = {"lr": "learning_rate"}
_RULE = (
    *("loss", "optimizer", "lr", "batch", "master", "no_scaling", "seed"),
    *("ridge", "forgetting", "weight_decay", "cache", "cache_memory", "cache_policy", "replay"),
    "bound",
    *("metrics", "fading", "threshold", "learn_flagged"),
    *("query", "error_budget", "drift", "guard", "guard_memory", "keep_outliers"),
)


def learning_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `compile` and `plan` that say what learns, how, and within which memory."""
    for option in reversed(_LEARNING):
        function = option(function)
    return function


def compiler_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `learning_options` that were given, as `tinyodl.compiler.Options` names them."""
    absent = (None, False, ())
    named = {
        name: value for name, value in given.items() if not any(value is none for none in absent)
    }
    options = {_NAMES.get(name, name): value for name, value in named.items()}
    for name in ("check", "scaling"):
        if options.pop(f"no_{name}", False):
            options[name] = False
    if options.pop("keep_outliers", False):
        options["outliers"] = "keep"
    from tinyodl.select import SCHEMES

    rule = [name for name in _RULE if name in named]
    if rule and given["update"] not in SCHEMES:
        raise UserError(
            f"the plan file {given['update']} has its own training rule; "
            f"set {', '.join(rule)} there instead of on the command line"
        )
    return options
