"""A method of one's own stays as small as the documents promise."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "adding-a-method.md"


def test_the_example_of_a_new_method_is_under_45_lines():
    code = "".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE))
    for part in ("class Turn(Term)", "METHODS[", "understudy.distill(", "Run(understudy.recipe.parse("):
        assert part in code
    assert len([line for line in code.splitlines() if line.strip()]) < 45
