"""docs/expressions.md tells the truth: every example is run, and every function has one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bobrapet.expressions import Evaluator, ExpressionError
from bobrapet.expressions.functions import LIBRARY

PAGE = (Path(__file__).resolve().parents[3] / "docs/expressions.md").read_text()
CONTEXT = json.loads(PAGE.split("```json\n")[1].split("```")[0])
EXAMPLES = [
    (template.replace("\\|", "|"), result.replace("\\|", "|"))
    for template, result in re.findall(r"`([^`\n]*\{\{[^`\n]*)` → `([^`\n]*)`", PAGE)
]
ROWS = re.findall(r"^\| `([a-zA-Z0-9_]+)[^`]*` \| .*? \| `(.*)` → `.*` \|$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("template", "result"), EXAMPLES)
def test_an_example_gives_what_the_page_says(template: str, result: str) -> None:
    if result.startswith("error: "):
        with pytest.raises(ExpressionError) as caught:
            Evaluator().resolve(template, CONTEXT)
        assert caught.value.kind == result.removeprefix("error: ")
    else:
        assert Evaluator().resolve(template, CONTEXT) == json.loads(result)


def test_every_function_has_a_row_with_an_example_of_its_own() -> None:
    documented = {name for name, example in ROWS if re.search(rf"\b{name}\b", example)}
    assert documented == set(LIBRARY)


def test_the_sample_error_is_what_an_author_sees() -> None:
    with pytest.raises(ExpressionError) as caught:
        Evaluator().resolve("{{ inputs.name | uper }}", CONTEXT)
    assert str(caught.value) in PAGE
