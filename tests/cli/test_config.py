"""`bobrapet config` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bobrapet.cli import config as verb
from bobrapet.cli.errors import UsageError

BAD = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: bobrapet-operator-config}
data:
  retry.max-retries: "x"
  retry.max-retrys: "3"
  references.cross-namespace-policy: maybe
  security.run-as-non-root: true
"""


def written(folder: Path, text: str) -> str:
    file = folder / "operator.yaml"
    file.write_text(text)
    return str(file)


def request(**options: object) -> verb.ConfigRequest:
    return verb.ConfigRequest(namespace="bobrapet-system", name="bobrapet-operator-config", **options)  # type: ignore[arg-type]


def test_a_bad_file_is_explained_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, BAD)
    assert verb.check(file) == 1
    assert capsys.readouterr().out.splitlines() == [
        f'{file}:5: ignored: retry.max-retries: "x" is no whole number; must be a whole number, at least 0, '
        "more than 50 means 50",
        f'{file}:6: unknown: retry.max-retrys: no such key; did you mean "retry.max-retries"?',
        f'{file}:7: error: references.cross-namespace-policy: "maybe" is no choice; must be one of deny, grant, allow',
        f"{file}:8: ignored: security.run-as-non-root: must be text, so put it in quotes; must be true or false",
        "The operator refuses this: it does not start with it, and keeps what it has when it runs.",
    ]


def test_a_good_file_is_praised_with_or_without_the_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.check(written(tmp_path, 'retry.max-retries: "5"\n')) == 0
    assert capsys.readouterr().out.endswith("1 key, all good\n")


@pytest.mark.parametrize("text", ["kind: Story\n", "[1]\n", "a: {", "kind: ConfigMap\ndata: [1]\n", ""])
def test_a_file_that_holds_no_configuration_is_bad_usage(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="operator"):
        verb.check(written(tmp_path, text))
    with pytest.raises(UsageError, match="cannot be read"):
        verb.check(str(tmp_path / "missing"))


def test_values_are_shown_with_their_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, 'retry.max-retries: "0"\n')
    shown = request(file=file, workers="story=9", changed=True, output="yaml")
    assert verb.show(shown) == 0
    assert yaml.safe_load(capsys.readouterr().out) == [
        {"key": "retry.max-retries", "value": "0", "source": "ConfigMap"},
        {"key": "story.max-concurrent-reconciles", "value": "9", "source": "flag"},
    ]
    assert verb.show(request(file=file)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["KEY", "VALUE", "SOURCE"]
    assert ["timeout.default-step", "(unset)", "default"] in [line.split() for line in lines]


def test_a_configuration_that_the_operator_would_refuse_ends_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verb.show(request(file=written(tmp_path, BAD))) == 1
    assert "error: references.cross-namespace-policy" in capsys.readouterr().err
