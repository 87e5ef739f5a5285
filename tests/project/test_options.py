"""Options are declared once, and say the same wherever they are written."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinyodl
from tests.models import WATCH
from tinyodl.cli.compile import compile_command
from tinyodl.cli.compile_options import option_groups
from tinyodl.cli.stream_train import stream_train
from tinyodl.errors import UserError
from tinyodl.project import keyword_types
from tinyodl.project.config import MOST_BYTES, read_config
from tinyodl.project.keyword_types_source import source
from tinyodl.project.keywords import UnknownKeywordError
from tinyodl.project.options import KEYWORDS, OPTIONS, default_of, kind_of
from tinyodl.project.template import config_schema, config_template
from tinyodl.runs import keyword_types as run_keyword_types
from tinyodl.runs.keyword_types_source import source as run_source
from tinyodl.runs.options import RUN_OPTIONS
from tinyodl.session.session import Session


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "tinyodl.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


class TestOnce:
    def test_type_checkers_read_what_is_declared(self):
        """Else: python -m tinyodl.project.keyword_types_source."""
        assert Path(keyword_types.__file__).read_text() == source()
        assert tuple(keyword_types.Options.__annotations__) == KEYWORDS

    def test_type_checkers_read_what_is_declared_of_a_run(self):
        """Else: python -m tinyodl.runs.keyword_types_source."""
        assert Path(run_keyword_types.__file__).read_text() == run_source()
        assert tuple(run_keyword_types.RunKeywords.__annotations__) == tuple(RUN_OPTIONS)

    def test_a_run_has_the_flags_and_defaults_of_its_options(self):
        flags = {p.name: p for p in stream_train.params}
        for name, option in RUN_OPTIONS.items():
            if option.on_the_line:
                assert option.on_the_line in flags[name].opts
        with pytest.raises(UnknownKeywordError, match="did you mean learning_rate"):
            Session.train(None, [], [], lr=0.1)

    def test_the_command_line_has_each_flag_once_and_each_in_a_group(self):
        flags = [flag for p in compile_command.params for flag in p.opts if flag.startswith("--")]
        assert len(flags) == len(set(flags))
        assert {o.on_the_line for o in OPTIONS.values() if o.on_the_line} <= set(flags)
        grouped = [flag for group in option_groups() for flag in group["options"]]
        assert len(grouped) == len(set(grouped)) and set(flags) <= set(grouped)

    def test_the_first_group_is_a_dozen(self):
        assert 8 <= len(option_groups()[0]["options"]) <= 12

    def test_a_default_is_of_the_option_s_own_type(self):
        for option in OPTIONS.values():
            default = default_of(option)
            if default is not None and kind_of(option) in (bool, int, float, str):
                assert isinstance(default, kind_of(option)), option.name


class TestTemplate:
    def test_every_option_is_in_it_and_none_is_on(self):
        text = config_template()
        assert tomllib.loads(text) == {}
        assert set(re.findall(r"^#(\w+) = ", text, re.M)) == set(OPTIONS)
        assert max(map(len, text.splitlines())) <= 100

    @pytest.mark.parametrize("name", OPTIONS)
    def test_an_option_is_on_when_the_sign_is_taken_away(self, tmp_path, name):
        text = re.sub(rf"^#({name} = )", r"\1", config_template(), flags=re.M)
        assert list(read_config(written(tmp_path, text))) == [name]

    def test_the_schema_has_the_same_keys_types_and_words(self):
        schema = config_schema()
        assert set(schema["properties"]) == set(OPTIONS) and not schema["additionalProperties"]
        assert schema["properties"]["cache_memory"]["enum"] == ["ram", "flash"]
        assert schema["properties"]["error_budget"]["exclusiveMaximum"] == 1
        assert schema["properties"]["learning_rate"]["default"] == 0.01


class TestFile:
    def test_keywords_read_it_only_where_it_is_named(self, tmp_path):
        path = written(tmp_path, 'learner = "rls"\nguard = 20\nboard = "nano33ble"\n')
        assert tinyodl.plan(WATCH, "host", config=path).plan.optimizer == "rls"
        made = tinyodl.plan(WATCH, "host", config=path, guard="8")
        assert made.board == "host" and made.plan.beside["guard"].every == 8
        (tmp_path / WATCH.name).write_bytes(WATCH.read_bytes())
        assert tinyodl.plan(tmp_path / WATCH.name, "host").plan.optimizer == "sgd"

    def test_paths_are_relative_to_it(self, tmp_path):
        (tmp_path / "a").mkdir()
        text = 'start = "x.npz"\ncalibrate = "/y.csv"\nupdate = "plan.toml"\nboard = "host"\n'
        assert read_config(written(tmp_path / "a", text)) == {
            "start": str(tmp_path / "a/x.npz"),
            "calibrate": "/y.csv",
            "update": str(tmp_path / "a/plan.toml"),
            "board": "host",
        }
        assert read_config(written(tmp_path, 'update = "full"')) == {"update": "full"}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('lerner = "rls"', "no option 'lerner'; did you mean learner?"),
            ("lr = 0.1", "did you mean learning_rate?"),
            ("no-check = true", "did you mean check?"),
            ('"cache-memory" = "ram"', "did you mean cache_memory?"),
            ("xyzzy = 1", "`tinyodl init --schema` lists"),
            ('learner = "rsl"', "learner = 'rsl': give online, "),
            ('cache = "9"', "cache = '9': give a whole number"),
            ("drift = 1", "drift = 1: give true or false"),
            ("guard = true", "guard = True: give a number of samples"),
            ('guard = "x"', "such as 20 or 20:0.1"),
            ("guard = -3", "such as 20 or 20:0.1"),
            ("[guard]\nevery = 20", "sections are for plan.toml"),
            ("learning_rate = nan", "give a number"),
            ("head = 3", "head = 3: give a text in quotes"),
            ("batch = 100000000000000000000", "give a whole number"),
            ("ram = 0", "give a size in bytes"),
            ('ram = "1GiB"', "is not a size such as"),
            ('cut = "a\\u0007b"', "control character"),
            ('out = ""', "give a path in quotes"),
            ("start = 2020-01-01", "give a path in quotes"),
            ('tap = ["a", 3]', "give a text in quotes"),
            ('loss = "mse"\nloss = "mse"', "not valid TOML"),
            ("a = " + "[" * 5000, "not valid TOML"),
            (b"\xff", "not a text file"),
            ("#" * (MOST_BYTES + 1), "bytes; that is no file of options"),
        ],
    )
    def test_what_it_cannot_say_is_refused_by_name(self, tmp_path, text, message):
        path = written(tmp_path, text)
        with pytest.raises(UserError, match=re.escape(str(path))) as refused:
            read_config(path)
        assert message in str(refused.value) and len(str(refused.value)) < 400

    def test_a_folder_or_nothing_in_its_place(self, tmp_path):
        for path in (tmp_path, tmp_path / "none.toml"):
            with pytest.raises(UserError, match=re.escape(str(path))):
                read_config(path)

    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=2),
        max_leaves=3,
    )

    @given(name=st.sampled_from([*OPTIONS]), value=values)
    @settings(max_examples=150, suppress_health_check=[*HealthCheck], deadline=None)
    def test_whatever_it_says_it_is_read_or_refused(self, tmp_path, name, value):
        text = f"{name} = {_toml(value)}\n"
        try:
            tomllib.loads(text)
        except ValueError:
            return
        try:
            assert list(read_config(written(tmp_path, text))) == [name]
        except UserError as error:
            assert str(tmp_path) in str(error)


def _toml(value: object) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(c):08x}" for c in value) + '"'
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return repr(value).lower()
