"""The line numbers of keys in a TOML file, which the standard parser does not report."""

import re
from collections.abc import Sequence

Path = tuple[str, ...]

_HEADER = re.compile(r"^\s*\[\[?\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


class Lines:
    """Line numbers of tables and keys."""

    def __init__(self, text: str):
        self._lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # of the tables in each array of tables
        table: Path = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = self._table(_parts(header[1]), line.lstrip().startswith("[["))
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                path = table + _parts(key[1])
                for length in range(len(table) + 1, len(path) + 1):
                    self._lines.setdefault(path[:length], number)

    def _table(self, parts: Path, in_array: bool) -> Path:
        """The path of a header. For an array of tables it ends with the number of the latest table."""
        table: Path = ()
        for part in parts[:-1]:
            table += (part,)
            if table in self._counts:
                table += (str(self._counts[table] - 1),)
        table += parts[-1:]
        if in_array:
            self._counts[table] = self._counts.get(table, 0) + 1
            table += (str(self._counts[table] - 1),)
        return table

    def of(self, path: Sequence[str]) -> int | None:
        """The line of the key, or of the nearest table around it."""
        for sought in (path, ".".join(path).split(".")):  # a key with dots may be written without quotes
            if (line := self._lines.get(tuple(sought))) is not None:
                return line
        for length in range(len(path) - 1, 0, -1):
            if (line := self._lines.get(tuple(path[:length]))) is not None:
                return line
        return None


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))
