"""The pages of the documentation and their blocks of code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)


def blocks(page: Path, *infos: str) -> list[tuple[int, str]]:
    """The page's blocks of the given kinds, each with the line on which its code begins."""
    text = page.read_text(encoding="utf-8")
    matches = [match for match in BLOCK.finditer(text) if match["info"].strip() in infos]
    return [(text.count("\n", 0, match.start("code")) + 1, match["code"]) for match in matches]


def pages_with(*infos: str) -> list[Path]:
    return [page for page in PAGES if blocks(page, *infos)]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))
