"""Mutations of texts, bytes and nested plain values, each a function of a generator."""

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

NUMBERS = (
    "nan", "inf", "-inf", "-1", "0", "1", "1e308", "-1e308", "1e-308", "1" + "0" * 30, "9" * 4301, "0x" + "f" * 2000,
    "1e999", "-0.0", "0.5", "true", "2", "1_0", "00", "1e9", "1000000001", "9223372036854775808", "1e-5",
)  # fmt: skip
WORDS = (
    "", " ", "a", "..", "../../x", "/etc/passwd", "kd", "alone", "fitnets", "auto", "resnet8", "demo", "x" * 300,
    "a/b", ".", "\\", "\x00", "\x1b[31m", "\u202e", "[bold]", "<script>", "{{7}}", "%s%n", "$HOME", "os:system",
    "python:os:system", "timm:hf-hub:x/y", "transformers:timm_wrapper", "resnet" + "9" * 40, "a -> b", "a->", "->",
    "1..20", "{1, 2}", "é" * 200, "none", "null", "NaN", "x\ny", "'", '"', "\udc80",
)  # fmt: skip


LETTERS = tuple(map(chr, (0, 9, 10, 27, 34, 39, 91, 93, 123, 125, 0x202E, 0x1F600)))


def value(draw: random.Random, depth: int = 0) -> Any:
    """Some plain value: a number at an edge, a word, a table, a list."""
    kind = draw.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return draw.choice([0, 1, -1, 2, 10**9, 10**30, 2**63, 2**64, -(2**63)])
    if kind == 1:
        return draw.choice([0.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e308, 1e-308, 1e30])
    if kind == 2:
        return draw.choice([True, False])
    if kind in (3, 4):
        return draw.choice(WORDS)
    if kind == 5:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind == 6:
        return {draw.choice(WORDS): value(draw, depth + 1) for _ in range(draw.randrange(4))}
    nested: Any = draw.choice([[], {}, 1])
    for _ in range(draw.choice([5, 30, 300])):
        nested = [nested] if draw.random() < 0.5 else {"a": nested}
    return nested


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in nested tables and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def tree(draw: random.Random, original: Any, changes: int = 3) -> Any:
    """A copy with a few values exchanged, removed, added or moved."""
    changed = copy.deepcopy(original)
    for _ in range(draw.randint(1, changes)):
        known = list(places(changed))
        if not known:
            return value(draw)
        path = draw.choice(known)
        holder = _at(changed, path[:-1])
        kind = draw.randrange(6)
        if kind == 0:
            del holder[path[-1]]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice(WORDS)] = value(draw)
        elif kind == 2:
            holder[path[-1]] = copy.deepcopy(_at(changed, draw.choice(known)))
            if len(repr(changed)) > 200_000:
                return changed
        else:
            holder[path[-1]] = value(draw)
    return changed


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def text(draw: random.Random, original: str, pieces: tuple[str, ...] = (*NUMBERS, *WORDS)) -> str:
    """A copy with pieces inserted, removed, doubled or put elsewhere."""
    changed = original
    for _ in range(draw.randint(1, 4)):
        start, end = sorted((draw.randint(0, len(changed)), draw.randint(0, len(changed))))
        end = min(end, start + draw.choice([0, 1, 3, 40]))
        kind = draw.randrange(5)
        middle = changed[start:end]
        if kind == 0:
            middle = ""
        elif kind == 1:
            middle = draw.choice(pieces)
        elif kind == 2:
            middle *= draw.choice([2, 50])
        elif kind == 3:
            middle = draw.choice((*LETTERS, chr(draw.randrange(32, 127))))
        else:
            middle += draw.choice(pieces)
        changed = changed[:start] + middle + changed[end:]
    return changed


def raw(draw: random.Random, original: bytes) -> bytes:
    """A copy with bytes flipped, cut off, exchanged or added."""
    changed = bytearray(original)
    kind = draw.randrange(6)
    if kind == 0:
        return bytes(changed[: draw.randrange(len(changed) + 1)])
    if kind == 1:
        return b""
    if kind == 2:
        return bytes(changed) + draw.randbytes(draw.choice([1, 8, 4096]))
    if kind == 3:
        return draw.randbytes(draw.choice([1, 8, 64, 4096]))
    for _ in range(draw.choice([1, 4, 64])):
        if changed:
            place = draw.randrange(min(len(changed), draw.choice([16, 1024, len(changed)])))
            changed[place] = draw.randrange(256)
    return bytes(changed)


def either(draw: random.Random, *ways: Callable[[], Any]) -> Any:
    return draw.choice(ways)()
