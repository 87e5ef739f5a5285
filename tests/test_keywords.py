"""No keyword is taken without a word: what does not exist is refused, with what was meant."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import tinyodl
from tests.models import ROOT
from tinyodl.errors import UserError

DIGITS = ROOT / "tests/models/digits_mlp_64_32_10.onnx"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.5}, "takes no option 'lr'; did you mean learning_rate?"),
        ({"optimiser": "adam"}, "did you mean optimizer?"),
        ({"learning_rates": 0.1}, "did you mean learning_rate?"),
        ({"no_check": True}, "did you mean check?"),
        ({"foo": "bar"}, "takes no option 'foo'; it takes "),
        ({"lr": 0.5, "foo": 1}, "'lr'"),
    ],
)
@pytest.mark.parametrize("function", ["compile", "plan"])
def test_compile_and_plan_refuse_options_that_there_are_not(tmp_path, function, options, message):
    out = [tmp_path / "p"] if function == "compile" else []
    with pytest.raises(TypeError) as refused:
        getattr(tinyodl, function)(DIGITS, "host", *out, **options)
    assert message in str(refused.value) and isinstance(refused.value, UserError)
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tinyodl.flash("p", prot="host"), "did you mean port?"),
        (lambda: tinyodl.profile("p", dat="x.npz"), "did you mean data?"),
        (lambda: tinyodl.Session.train(None, [], [], lr=1), "did you mean learning_rate?"),
        (lambda: tinyodl.Session.train(None, [], [], epoch=1), "did you mean epochs?"),
        (lambda: tinyodl.Session.evaluate(None, [], [], sources=1), "did you mean source?"),
        (lambda: tinyodl.Session.export(None, file="x.onnx"), "it takes path"),
        (lambda: tinyodl.Session("p", prot="host"), r"Session\(\) takes no option 'prot'"),
    ],
)
def test_so_do_the_other_functions(call, message):
    with pytest.raises(TypeError, match=message.replace("?", r"\?")):
        call()


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [("query", "margin", "auto, always or margin:T"), ("guard", "2x", "such as 20 or 20:0.1")],
)
def test_a_value_of_no_known_form_is_answered_with_the_forms(tmp_path, option, value, wanted):
    with pytest.raises(UserError, match=f"{option} = {value}: give .*{wanted}"):
        tinyodl.plan(DIGITS, "host", **{option: value})
    plan = tmp_path / "plan.toml"
    plan.write_text(f'{option} = "{value}"\n[layers]\n')
    with pytest.raises(UserError, match=f"{option}: give .*{wanted}"):
        tinyodl.plan(DIGITS, "host", update=str(plan))


def test_type_checkers_see_the_options(tmp_path: Path) -> None:
    """As a user's code is checked that imports the installed package."""
    assert (Path(tinyodl.__file__).parent / "py.typed").is_file()
    script = tmp_path / "mine.py"
    script.write_text(
        "import tinyodl\n"
        "tinyodl.compile('m.onnx', 'host', 'p', learning_rate=0.5)\n"
        "tinyodl.compile('m.onnx', 'host', 'p', lr=0.5)\n"
        "tinyodl.Session('p').train([[1.0]], [0], epohcs=2)\n"
    )
    command = [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent",
               f"--cache-dir={tmp_path}", str(script)]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    lines = [line.split(":", 1)[1] for line in done.stdout.splitlines() if ": error:" in line]
    assert len(lines) == 2, done.stdout + done.stderr
    assert lines[0].startswith("3:") and '"lr"' in lines[0]
    assert lines[1].startswith("4:") and '"epohcs"' in lines[1]
