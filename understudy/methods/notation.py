"""Objectives as text, for recipes: ``CE() + 0.9 * KD(temperature=4) + 100 * Hint("layer2 -> layer2")``.

The text is read, never executed: names of terms and schedules, numbers, strings, ``+`` and ``*``, nothing else.
"""

import ast
import dataclasses
import warnings

from understudy.errors import UserError, did_you_mean
from understudy.objective.term import Expression, Sum, as_sum
from understudy.objective.weights import WEIGHTS, auto, linear, step
from understudy.printable import shown

LONGEST = 20_000  # letters; an objective of ten terms has some 500


def parse(text: str) -> Sum:
    """The sum of weighted terms that ``text`` writes down."""
    try:
        if len(text) > LONGEST:
            raise MemoryError
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of literals that Python itself finds odd
            tree = ast.parse(text.strip(), mode="eval").body
        value = _read(tree, text)
    except (SyntaxError, ValueError) as error:  # a ValueError for null bytes, in older Pythons
        column = getattr(error, "offset", None) or 1
        raise UserError(f"objective {shown(text)}: not understood at column {column}") from error
    except (RecursionError, MemoryError) as error:
        raise UserError(f"objective {shown(text)}: too long or too deeply nested") from error
    if not isinstance(value, Expression):
        raise UserError(f"objective {shown(text)}: this is no term; write for example 'CE() + 0.9 * KD(temperature=4)'")
    return as_sum(value)


def _read(node: ast.expr, text: str) -> object:
    match node:
        case ast.BinOp(left, ast.Add(), right):
            return _combine(text, "+", _read(left, text), _read(right, text))
        case ast.BinOp(left, ast.Mult(), right):
            return _combine(text, "*", _read(left, text), _read(right, text))
        case ast.Call(ast.Name(name), arguments, keywords):
            return _call(name, arguments, keywords, text)
        case ast.Name(name):
            return _call(name, [], [], text)
        case _:
            return _literal(node, text)


def _combine(text: str, sign: str, left: object, right: object) -> Expression | float:
    """The sum or the product of two values, where they have one."""
    match sign, left, right:
        case "+", Expression(), Expression():
            return left + right
        case "+", int() | float(), int() | float():
            return left + right
        case "*", int() | float(), int() | float():
            return left * right
        case "*", Expression(), int() | float() | linear() | step() | auto():
            return left * right
        case "*", int() | float() | linear() | step() | auto(), Expression():
            return left * right
    raise UserError(f"objective {shown(text)}: {shown(left)} {sign} {shown(right)} has no meaning")


def _call(name: str, arguments: list[ast.expr], keywords: list[ast.keyword], text: str) -> object:
    from pydantic import TypeAdapter, ValidationError  # here, since it is slow to import

    from understudy.methods.registry import known_terms

    known: dict[str, type[object]] = {**known_terms(), **WEIGHTS}
    if name not in known:
        raise UserError(f"objective {shown(text)}: there is no term {shown(name)}{did_you_mean(name, known)}")
    kind = known[name]
    fields = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    if len(arguments) > len(fields):
        raise UserError(f"objective {shown(text)}: {name} takes {len(fields)} settings, not {len(arguments)}")
    given = dict(zip(fields, (_literal(a, text) for a in arguments), strict=False))
    for keyword in keywords:
        if keyword.arg not in fields:
            near = did_you_mean(str(keyword.arg), fields)
            raise UserError(f"objective {shown(text)}: {name} has no setting {shown(keyword.arg)}{near}")
        given[keyword.arg] = _literal(keyword.value, text)
    try:
        value: object = TypeAdapter(kind).validate_python(given)
        return value
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise UserError(f"objective {shown(text)}: {name}: {where}: {first['msg']}") from error


def _literal(node: ast.expr, text: str) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"objective {shown(text)}: {shown(ast.unparse(node))} is neither a number, a string nor a term"
        ) from error
