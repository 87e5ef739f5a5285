"""Names from ONNX files in generated C, plan files, pages and on terminals do no harm there."""

from __future__ import annotations

import itertools
import random
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from tests import hostile
from tests.frontend.models import model, node, weights
from tinyodl import text
from tinyodl.codegen.literals import NODE, TENSOR, identifiers
from tinyodl.compiler import compilation, compile_model, plan_model
from tinyodl.errors import ModelError, UserError
from tinyodl.learning.beside import FOLDER
from tinyodl.pio.compilers import find_host_compiler
from tinyodl.project.plan import UpdatePlan
from tinyodl.project.plan_file import dump_plan, load_plan
from tinyodl.report import write_plan
from tinyodl.report.terminal import Terminal
from tinyodl.resources import TEMPLATES
from tinyodl.targets.boards import load_board
from tinyodl.targets.firmware import C_FLAGS

OURS = re.compile(r"\b[tn]_\w+")  # what names become
check = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
any_text = st.text(st.characters(exclude_categories=()), max_size=60) | hostile.names


def without_comments(c: str) -> str:
    """C text after the first phases of a compiler; generated files have no comments of `//`."""
    return re.sub(r"/\*.*?\*/", " ", c.replace("\\\n", ""), flags=re.DOTALL)


class TestComments:
    @check
    @given(name=any_text)
    def test_a_comment_is_one_line_that_nothing_ends(self, name):
        shown = text.comment(name)
        assert "*/" not in shown and "/*" not in shown and "??" not in shown
        assert "\\" not in re.sub(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nt])", "", shown)
        assert shown.isprintable()
        shown.encode("utf-8")
        assert without_comments(f"/* {shown} */").strip() == ""

    @check
    @given(name=st.text(st.sampled_from("*/?\\"), max_size=300))
    def test_also_of_nothing_but_what_could_end_it(self, name):
        shown = text.comment(name)
        assert without_comments(f"/*{shown}*/") == " " and len(shown) <= 4 * 120

    def test_what_people_call_things_stays_as_it_is(self):
        for name in ("/features/0/Conv", "conv1.weight", "Größe 中", "a (b) [c] {d} <e> #1"):
            assert text.comment(name) == name


class TestIdentifiers:
    @check
    @given(names=st.lists(hostile.names | st.sampled_from(hostile.WORDS), unique=True))
    def test_they_are_valid_and_unlike_each_other(self, names):
        given_to = identifiers(names)
        made = [*given_to.values(), *identifiers(names, NODE).values()]
        made += [f"{t}_{end}" for t in given_to.values() for end in ("initial", "learner")]
        assert len(set(made)) == len(made)
        assert all(re.fullmatch(r"[tn]_[A-Za-z0-9_]+", each) for each in made)
        assert list(given_to) == names

    def test_no_file_that_is_compiled_with_them_begins_a_name_as_they_do(self):
        """Tensors and nodes cannot collide: not with kernels, not with ports, not with the net."""
        words = re.compile(r"(?<![A-Za-z0-9_.>])(?:t|n)_[A-Za-z0-9_]+")
        for path in sorted(p for p in TEMPLATES.rglob("*") if p.suffix in (".c", ".h", ".j2")):
            assert not words.findall(path.read_text("utf-8")), path

    @pytest.mark.parametrize("prefix", [TENSOR, NODE])
    def test_nor_does_the_compiler_or_its_library(self, prefix):
        headers = "".join(
            f"#include <{name}.h>\n" for name in ("stddef", "stdint", "string", "stdio", "stdlib",
                                                  "math", "errno", "unistd", "time", "signal")
        )  # fmt: skip
        command = [*find_host_compiler(), "-E", "-dD", "-x", "c", "-"]
        done = subprocess.run(command, input=headers, capture_output=True, text=True, check=True)
        assert len(done.stdout) > 1000
        defined = re.findall(rf"#define {prefix}\w+|\b{prefix}\w+\s*\(", done.stdout)
        assert not defined

    def test_two_thousand_names_of_nothing_but_signs(self):
        made = identifiers("+" * count for count in range(1, 2001))
        assert len(set(made.values())) == 2000


class TestGeneratedC:
    @settings(check, max_examples=10)
    @given(names=st.lists(hostile.names, min_size=24, max_size=24, unique=True))
    def test_without_comments_no_text_of_a_name_is_left(self, names, tmp_path_factory):
        names = [name for name in names if not name.startswith("<")]
        named = itertools.chain(names, (f"more {i} {hostile.MARK}" for i in itertools.count()))
        folder = tmp_path_factory.mktemp("names")
        path = hostile.chain(folder / f"{hostile.file_name(names[0])}.onnx", named)
        made = compilation(path, load_board("host"), {"update": "full", "optimizer": "momentum"})
        for file, content in made.network.files.items():
            code = OURS.sub("", without_comments(content))
            assert hostile.MARK not in code and code.isascii(), file
            assert content.isascii() or content.encode("utf-8")

    @pytest.mark.parametrize(
        "options",
        [
            {"update": "full", "optimizer": "adam", "batch": 2},
            {"learner": "transfer", "cache": 8, "guard": "4", "query": "auto", "drift": True},
        ],
        ids=["full", "transfer"],
    )
    def test_a_model_of_hostile_names_builds_without_a_warning(self, options, tmp_path):
        """One build for hundreds of names, among them all that C and tinyodl define."""
        path = hostile.chain(tmp_path / "*\\ net??.onnx", hostile.every(), layers=40)
        compile_model(path, "host", tmp_path / "project", **options)
        check_builds(tmp_path / "project")

    def test_the_words_of_net_c_itself(self, tmp_path):
        """As tensors that net.c has, with a cache in flash and a guard: once, eight broke it."""
        parts = [*(TEMPLATES / "net").iterdir(), *FOLDER.glob("*/c/*.j2")]
        net = "".join(path.read_text("utf-8") for path in sorted(parts))
        words = sorted(set(re.findall(r"\b[A-Za-z_]\w+\b", net)))
        assert {"answer", "retest", "exchange", "BEST", "is_kept"} <= set(words)
        nodes, given_name = [], "x"
        for word in words:
            nodes.append(node("Relu", [given_name], word, word))
            given_name = word
        nodes.append(node("Gemm", [given_name, "W", "B"], "y", "main", transB=1))
        path = tmp_path / "words.onnx"
        onnx.save(model(nodes, [1, 4], {"W": weights(3, 4), "B": weights(3)}, rank=2), path)
        compile_model(
            path, "nrf52840_dk", tmp_path / "p", learner="transfer", cache=8, cache_memory="flash",
            guard="4", guard_memory="flash",
        )  # fmt: skip
        check_builds(tmp_path / "p")


def check_builds(project: Path) -> None:
    """What names are in compiles without a warning, and links with the C library's names."""
    for name in ("net.c", "weights.c"):
        command = [*find_host_compiler(), *C_FLAGS, "-Wall", "-Wextra", "-Werror", "-O0"]
        command += ["-Ilib/net", "-Ilib/device", "-fsyntax-only", f"lib/net/{name}"]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:2000]


class TestPlanFiles:
    @check
    @given(names=st.lists(st.text(), unique=True) | st.lists(hostile.names, unique=True))
    def test_read_back_every_name(self, names, tmp_path_factory):
        plan = UpdatePlan(layers=dict.fromkeys(names, "weights"))
        path = tmp_path_factory.mktemp("plan") / "plan.toml"
        path.write_bytes(dump_plan(plan).encode())
        assert load_plan(path) == plan

    @pytest.mark.parametrize(
        "text",
        [
            *(b"seed = " + b"[" * 3000, b"a={" * 2000, b"seed = " + b"9" * 5000, b"\xff"),
            *(b"learning_rate = inf", b"learning_rate = nan", b'[layers]\n"a" = 1979-05-27'),
        ],
    )
    def test_that_nobody_could_mean_are_a_mistake_of_the_user(self, text, tmp_path):
        (tmp_path / "plan.toml").write_bytes(text)
        with pytest.raises(UserError, match=r"plan\.toml"):
            load_plan(tmp_path / "plan.toml")

    def test_are_one_line_a_layer_that_people_can_read(self):
        plan = UpdatePlan(layers={"/a/Conv": "bias", "\x1b\n\x7f\u202e": "weights"})
        assert dump_plan(plan).splitlines()[-2:] == [
            '"/a/Conv" = "bias"',
            '"\\u001b\\n\\u007f\\u202e" = "weights"',
        ]

    def test_of_a_compiled_model_compile_it_again_to_the_same(self, tmp_path):
        path = hostile.chain(tmp_path / "m.onnx", hostile.distinct(random.Random(2)))
        compile_model(path, "host", tmp_path / "a", update="full")
        plan = str(tmp_path / "a/plan.toml")
        again = compile_model(path, "host", tmp_path / "b", update=plan)
        assert again == compile_model(path, "host", tmp_path / "a", update="full")


@check
@given(name=any_text | st.sampled_from(["=1+1", "+x", "-x", "@x", "\t=x", "-", ""]))
def test_a_cell_of_a_sheet_is_no_formula(name):
    shown = text.cell(name)
    assert shown.isprintable() and shown[:1] not in ("=", "+", "-", "@")
    assert shown.removeprefix("'") == text.line(name).removeprefix("'")


class TestTerminals:
    @check
    @given(name=any_text)
    def test_nothing_that_a_terminal_obeys_is_written(self, name):
        shown = text.printable(name)
        assert shown.replace("\n", "").replace("\t", "").isprintable()
        assert text.line(name).isprintable()
        assert text.printable(shown) == shown

    @check
    @given(name=any_text)
    def test_brackets_are_no_markup_and_no_character_is_lost(self, name, capsys):
        for force in (True, False):
            terminal = Terminal(width=1000, force_terminal=force, soft_wrap=True)
            with terminal.capture() as captured:
                terminal.print(text.line(name), soft_wrap=True)
            assert captured.get().rstrip("\n").rstrip() == text.line(name).rstrip()


class _Tags(HTMLParser):
    """The tags of a page with their attributes' names, and all its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.text += "".join(value or "" for _, value in attrs)

    def handle_data(self, data):
        self.text += data


def page_of(path: Path, folder: Path) -> _Tags:
    page = folder / "page.html"
    write_plan(plan_model(path, "host", update="full"), page)
    parsed = _Tags()
    parsed.feed(page.read_text("utf-8"))
    return parsed


@pytest.mark.parametrize("seed", range(3))
def test_a_page_has_the_tags_that_it_has_with_plain_names(seed, tmp_path):
    plain = hostile.chain(tmp_path / "plain.onnx", (f"name{i:08d}" for i in itertools.count()))
    named = hostile.distinct(random.Random(seed))
    name = hostile.file_name(next(named))
    found = page_of(hostile.chain(tmp_path / f"{name}.onnx", named), tmp_path)
    expected = page_of(plain, tmp_path)
    labels = [("text", ("class", "x", "y"))]  # names in the drawing, where they fit
    assert [tag for tag in found.tags if tag not in labels] == [
        tag for tag in expected.tags if tag not in labels
    ]
    assert text.printable(name) in found.text
    assert re.sub(r"[\n\t]", "", found.text).isprintable()


def test_names_that_are_no_text_are_errors_of_the_model(tmp_path):
    path = hostile.chain(tmp_path / "m.onnx", (f"name{i:08d}" for i in itertools.count()))
    good = path.read_bytes()
    for index in range(12):
        for bad in (b"\xff\xfe\xfd", b"\xed\xa0\x80", b"\xc0\xaf"):
            path.write_bytes(good.replace(f"name{index:08d}".encode(), bad.ljust(12, b"x")))
            try:
                compilation(path, load_board("host"), {})
            except ModelError as error:
                assert "UTF-8" in str(error) or "checker" in str(error)


def test_a_function_inside_the_file_may_have_any_names(tmp_path):
    """They come into the graph when the function is inlined."""
    inner = [helper.make_node("Relu", ["*/a"], ["*/b"], "\x1b*/")]
    function = helper.make_function(
        "own", "F", ["*/a"], ["*/b"], inner, [helper.make_opsetid("", 17)]
    )
    nodes = [
        helper.make_node("F", ["x"], ["h"], "*/f", domain="own"),
        node("Gemm", ["h", "w"], "y", "[/]", transB=1),
    ]
    made = model(nodes, [1, 4], {"w": weights(3, 4)}, rank=2)
    made.functions.append(function)
    made.opset_import.append(helper.make_opsetid("own", 1))
    onnx.save(made, tmp_path / "f.onnx")
    compile_model(tmp_path / "f.onnx", "host", tmp_path / "p", update="full")
    check_builds(tmp_path / "p")
