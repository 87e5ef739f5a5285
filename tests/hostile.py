"""Names that someone hostile, or merely careless, may give to what is in an ONNX file, or to it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

MARK = "HOSTILE"  # in every name: whatever of it is not a comment or an identifier is code
FRAGMENTS = (
    # C: comments, line ends, trigraphs, preprocessor, strings
    *(
        "*/",
        "/*",
        "*/*",
        "/*/",
        "//",
        "\\",
        "\\\n",
        "??/",
        "??/\n",
        "?",
        '"',
        "'",
        "#define x",
        "%",
    ),
    *("*/ int HOSTILE_CODE; /*", "\n#error no\n", "`", "$", "@", "{{x}}", "{%", "#}", "${x}"),
    # terminals and markup
    *("\x1b[31m", "\x1b]0;title\x07", "\r", "\n", "\t", "\b", "\x00", "\x7f", "\x9b2J", "[/]"),
    *("[red]", "[/red]", "[", "]", ":smile:", "[link=x]", "[bold", "\\["),
    # pages, TOML, JSON, paths, formats
    *("<b>", "</text>", "<script>", "&amp;", "&", "<", ">", "]]>", "<!--", "--", "=", "'''", '"""'),
    *("../", "/", ".", "..", ",", ";", "{", "}", "%s", "{0}", " ", "\u00a0", "~"),
    # Unicode: directions, line ends, nothing, other scripts, beyond 16 bits
    *("\u202e", "\u2066", "\u200b", "\u2028", "\u2029", "\ufeff", "\u0085", "\u00ad", "\ufffe"),
    *("é", "ж", "中", "\U0001f600", "\U000e0041", "e\u0301", "ﬁ", "İ", "ß"),
)
WORDS = (  # that C, its libraries, compilers or tinyodl's own files define
    *("int", "main", "exp", "errno", "linux", "unix", "arm", "asm", "typeof", "inline", "NULL"),
    *(
        "answer",
        "retest",
        "exchange",
        "is_kept",
        "not_kept",
        "kept_at",
        "output_of",
        "BEST",
        "in_use",
    ),
    *(
        "arena",
        "forward",
        "backward",
        "loss",
        "target",
        "label",
        "pending",
        "net_train",
        "port_send",
    ),
    *(
        "memcpy",
        "size_t",
        "NET_CLASSES",
        "I",
        "complex",
        "stdin",
        "abs",
        "EOF",
        "_Bool",
        "__LINE__",
    ),
    *(
        "t_",
        "n_",
        "t_x",
        "n_x",
        "x_initial",
        "x_learner",
        "x_part",
        "x_shape",
        "x_f32",
        "2",
        "_",
        "",
    ),
    *("x.gradient", "loss.CrossEntropyGradient", "x.momentum", "net", "shape", "NODE", "none", "i"),
)

names = st.lists(
    st.sampled_from((*FRAGMENTS, *WORDS)) | st.text(max_size=4), min_size=1, max_size=5
).map(lambda parts: "".join(parts).encode("utf-8", "replace").decode() + MARK)


def drawn(source: random.Random) -> str:
    """A name of such pieces, and of characters from anywhere but the surrogates."""
    pieces = []
    for _ in range(source.randint(1, 5)):
        code = source.choice((source.randint(0, 0xD7FF), source.randint(0xE000, 0x10FFFF)))
        pieces.append(source.choice((*FRAGMENTS, *WORDS, chr(code))))
    return "".join(pieces) + MARK


def distinct(source: random.Random) -> Iterator[str]:
    """Names that differ, among them ones that differ in nothing C would keep."""
    seen: set[str] = set()
    while True:
        name = drawn(source)
        for each in (name, name.replace("*", "?"), name + " "):
            if each not in seen and not each.startswith("<"):  # which tinyodl keeps for itself
                seen.add(each)
                yield each


def every() -> Iterator[str]:
    """Each word and piece as a name of its own, then drawn ones without end."""
    seen: set[str] = set()
    pieces = (*filter(None, WORDS), *(f"{piece}{MARK}" for piece in FRAGMENTS))
    for name in itertools.chain(pieces, distinct(random.Random(1))):
        if name not in seen and not name.startswith("<"):
            seen.add(name)
            yield name


def chain(path: Path, named: Iterator[str], layers: int = 2) -> Path:
    """An ONNX file (1, 4) -> (1, 3) of dense layers; every name in it is the next of `named`."""
    random_ = np.random.default_rng(0)
    x = given = next(named)
    nodes, constants = [], []
    for index in range(layers):
        outputs = 3 if index == layers - 1 else 4
        held = {next(named): random_.normal(size=(outputs, 4)) / 2, next(named): np.ones(outputs)}
        constants += [numpy_helper.from_array(v.astype(np.float32), n) for n, v in held.items()]
        made = next(named)
        nodes.append(helper.make_node("Gemm", [given, *held], [made], next(named), transB=1))
        given = made
        if index < layers - 1:
            made = next(named)
            nodes.append(helper.make_node("Relu", [given], [made], next(named)))
            given = made
    graph = helper.make_graph(
        nodes,
        next(named),
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [next(named), 4])],
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, [None, 3])],
        constants,
        doc_string=next(named),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {next(named): next(named)})
    onnx.save(model, path)
    return path


def file_name(name: str) -> str:
    """The name as one that a file can have."""
    allowed = name.replace("/", "").replace("\0", "")
    return allowed[:80] if allowed.strip(".") else "model"
