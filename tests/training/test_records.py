"""Records: what is written is read back equal, by the same class."""

import json
import types
import typing
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, JsonValue

from understudy.errors import UserError
from understudy.plans.engines.messages import Event, Outcome, from_worker
from understudy.runs import records as of_runs
from understudy.runs.records import (
    FailedTrainings,
    Landscapes,
    ProofRecord,
    Result,
    SearchRecord,
    SearchTime,
    Similarity,
    Surface,
)
from understudy.training.progress import Progress
from understudy.training.records import Epoch, File, Record, StageEnd, TrainingRecord

NUMBERS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53).map(float)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=5)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | NUMBERS.filter(lambda x: abs(x) < 1e300) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=3,
)


def of_kind(kind: object) -> st.SearchStrategy:
    """Values of a field's type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is JsonValue or ("JsonValue" in str(kind) and origin is None):
        return PLAIN
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*map(of_kind, arguments))
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is list:
        return st.lists(of_kind(arguments[0]), min_size=1, max_size=2)
    if origin is tuple:
        each = arguments[:1] if arguments[-1] is Ellipsis else arguments
        return st.tuples(*map(of_kind, each))
    if origin is dict:
        return st.dictionaries(TEXTS, of_kind(arguments[1]), min_size=1, max_size=2)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return of_record(kind)
    if is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: of_kind(hints[field.name]) for field in fields(kind)})
    return {
        str: TEXTS,
        int: st.integers(-(2**53), 2**53),
        float: NUMBERS,
        bool: st.booleans(),
        type(None): st.none(),
    }[kind]


def of_record(kind: type[BaseModel]) -> st.SearchStrategy:
    """Records of a class, with some of the fields that may be left out."""
    if kind is Surface:
        row = st.lists(NUMBERS | st.none(), min_size=3, max_size=3)
        square = st.lists(row, min_size=3, max_size=3)
        axis = st.lists(NUMBERS, min_size=3, max_size=3)
        return st.builds(Surface, training=TEXTS, method=TEXTS, seed=st.integers(0, 9), axis=axis, losses=square)
    if kind is Similarity:
        row = st.lists(NUMBERS, min_size=1, max_size=1)
        return st.builds(
            Similarity,
            teacher=st.just(["a", "b"]),
            student=st.just(["c"]),
            samples=st.integers(0, 9),
            methods=st.dictionaries(TEXTS, st.lists(row, min_size=2, max_size=2), max_size=2),
        )
    hints = typing.get_type_hints(kind)
    given_: dict[str, st.SearchStrategy] = {}
    optional: dict[str, st.SearchStrategy] = {}
    for name, field in kind.model_fields.items():
        if name != "format" or not issubclass(kind, File):
            (given_ if field.is_required() else optional)[name] = of_kind(hints[name])
    if kind is Result:  # each method has a network
        one = typing.get_args(hints["networks"])[1]
        given_["networks"] = st.dictionaries(TEXTS, of_kind(one), max_size=1).flatmap(
            lambda others: of_kind(one).map(lambda student: {**others, "student": student})
        )
    return st.fixed_dictionaries(given_, optional=optional).map(lambda values: kind(**values))


FILES = [Result, SearchRecord, Landscapes, TrainingRecord, FailedTrainings, SearchTime]
QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def test_every_record_of_a_run_is_looked_at():
    named = {kind for kind in vars(of_runs).values() if isinstance(kind, type) and issubclass(kind, File)}
    assert named - {File} <= set(FILES)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_was_written_is_read_back_equal(kind):
    @QUICK
    @given(of_record(kind))
    def check(record):
        text = record.text()
        again = kind.of_text(text, Path("file.json"), way_out="")
        assert again == record
        assert again.text() == text
        assert json.loads(text)["format"] == kind.FORMAT

    check()


@pytest.mark.parametrize("kind", [Epoch, StageEnd, TrainingRecord, ProofRecord])
def test_a_record_is_equal_after_it_was_a_line(kind):
    @QUICK
    @given(of_record(kind))
    def check(record: Record):
        assert kind.model_validate(json.loads(json.dumps(record.content()))) == record

    check()


@QUICK
@given(of_record(Epoch), of_record(Event) | of_record(Outcome))
def test_a_line_of_a_log_and_a_message_of_a_worker_are_read_back_equal(epoch, message):
    assert Epoch.of_line(epoch.line()) == epoch
    assert from_worker(message.line()) == message


@QUICK
@given(st.lists(of_record(StageEnd), max_size=3), st.integers(0, 9), NUMBERS)
def test_a_checkpoint_gives_the_progress_back(ends, steps, seconds):
    progress = Progress(steps=steps, seconds=seconds, ends=ends)
    assert Progress.of(json.loads(json.dumps(progress.state()))) == progress


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"seconds": 1.0}', "names no format"),
        ('{"format": 99, "seconds": 1.0}', "is of format 99"),
        ('{"format": 1, "seconds": "long"}', "is damaged"),
        ('{"format": 1, "seconds": 1.0, "hours": 1}', "is damaged"),
        ("[]", "is damaged"),
        ("{", "is damaged"),
    ],
)
def test_another_format_and_damage_are_one_line_each(text, reason):
    with pytest.raises(UserError, match=rf"^search\.json {reason}.*: remove it$") as caught:
        SearchTime.of_text(text, Path("search.json"), way_out="remove it")
    assert "\n" not in str(caught.value)
