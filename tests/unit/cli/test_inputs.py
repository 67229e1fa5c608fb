"""Story inputs from the command line."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from bobrapet.cli.errors import UsageError
from bobrapet.cli.inputs import gather


def test_a_value_is_json_where_it_parses_as_json_and_text_elsewhere() -> None:
    pairs = ["n=3", "t=true", "s=hello", 'q="3"', 'o={"a": [1]}', "e=", "z=null", "x=NaN", "u=http://h/?a=b"]
    assert gather(pairs, None) == {
        "n": 3,
        "t": True,
        "s": "hello",
        "q": "3",
        "o": {"a": [1]},
        "e": "",
        "z": None,
        "x": "NaN",
        "u": "http://h/?a=b",
    }


def test_dotted_keys_nest_and_later_pairs_win() -> None:
    assert gather(["a.b=1", "a.c.d=2", "a.b=3"], None) == {"a": {"b": 3, "c": {"d": 2}}}


def test_pairs_are_laid_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("a: {b: 1, c: 2}\nflag: yes\n")
    assert gather(["a.b=9"], str(file)) == {"a": {"b": 9, "c": 2}, "flag": True}


def test_a_dash_reads_standard_input() -> None:
    assert gather([], "-", stdin=io.StringIO('{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["novalue"], "KEY=VALUE"),
        (["=1"], "KEY=VALUE"),
        (["a..b=1"], "empty part"),
        (["a=1", "a.b=2"], "'a' is already 1"),
    ],
)
def test_a_pair_that_cannot_be_is_refused_with_what_would_be_right(pairs: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        gather(pairs, None)


def test_a_file_that_holds_no_object_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "inputs.yaml"
    file.write_text("[1, 2]")
    with pytest.raises(UsageError, match="one object"):
        gather([], str(file))
    with pytest.raises(UsageError, match="No such file"):
        gather([], str(tmp_path / "absent.yaml"))
