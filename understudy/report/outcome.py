"""What a person sees first: the verdict, the big figures, the accuracy of every method."""

from collections.abc import Iterator, Mapping

from understudy.measure import Spread
from understudy.report.drawing import Drawn
from understudy.report.pieces import badge, figure, tile
from understudy.report.record import Result, Verdict
from understudy.report.words import count, escape, milliseconds, percent, ratio, short


def outcome(result: Result, figures: Mapping[str, Drawn]) -> str:
    drawn = figures.get("accuracy")
    chart = figure(drawn, _caption(result)) if drawn else ""
    tiles = "\n".join(tile(*told) for told in _tiles(result))
    return (
        f'<div class="outcome{"" if chart else " plain"}">\n<div class="brought">\n'
        f'<ul class="verdicts" aria-label="Verdicts">\n{_verdicts(result)}\n</ul>\n'
        f'<dl class="tiles">\n{tiles}\n</dl>\n</div>\n{chart}\n</div>'
    )


def notes(result: Result) -> str:
    """What the run itself finds worth a look: terms that do nothing, a teacher that teaches nothing soft."""
    items = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _verdicts(result: Result) -> str:
    if result.verdicts:
        return "\n".join(_verdict(name, verdict) for name, verdict in result.verdicts.items())
    if result.distilled:
        told = (
            "Without the student trained alone on the same course (method alone), nobody can tell what "
            "distillation brought."
        )
    else:
        told = "Nothing was distilled in this run: the student learned from the labels alone."
    return _verdict("", Verdict(verdict="unknown", sentence=told))


def _verdict(name: str, verdict: Verdict) -> str:
    sentence = escape(verdict.sentence)
    if name and verdict.sentence.startswith(name):
        sentence = f"<strong>{escape(name)}</strong>{escape(verdict.sentence[len(name) :])}"
    return f'<li class="verdict {verdict.verdict}">{badge(verdict.verdict)}<span>{sentence}</span></li>'


def _caption(result: Result) -> str:
    if any(len(found.trainings) > 1 for found in result.methods.values()):
        return "A dot for each seed, a bar for the mean, a band of one standard deviation to either side."
    return "One seed: the spread is not known."


def _tiles(result: Result) -> Iterator[tuple[str, str, str]]:
    """Figure, what it is, what it is compared to."""
    name, by_validation = result.foremost
    found = result.spread_of(name)
    against = [f"alone {percent(result_alone.mean)}"] if (result_alone := _alone(result, name)) else []
    against += [f"teacher {percent(taught.mean)}"] if (taught := result.teacher_spread) else []
    if len(result.distilled) > 1:
        against.append("the best on validation" if by_validation else "the best of all")
    yield percent(found.mean if found else None), _by(name), " · ".join(against)
    yield from _costs(result)


def _by(method: str) -> str:
    return "accuracy, trained alone" if method == "alone" else f"accuracy with {method}"


def _costs(result: Result) -> Iterator[tuple[str, str, str]]:
    student, teacher = result.network_of(result.foremost[0]), result.networks.get("teacher")
    ours, theirs = student.parameters, teacher.parameters if teacher else None
    if told := ratio(theirs, ours, "smaller", "larger"):
        yield told[0], told[1], f"{count(theirs)} → {count(ours)} parameters"
    elif ours is not None:
        yield short(ours), "parameters", ""
    ours, theirs = student.multiplications, teacher.multiplications if teacher else None
    if told := ratio(theirs, ours, "fewer multiplications", "more multiplications"):
        yield told[0], told[1], f"{short(theirs)} → {short(ours)}"
    elif ours is not None:
        yield short(ours), "multiplications", ""
    if student.latency_ms is None:
        return
    now, before = student.latency_ms.p50, teacher.latency_ms.p50 if teacher and teacher.latency_ms else None
    if told := ratio(before, now, "faster", "slower"):
        yield told[0], told[1], f"{milliseconds(before)} → {milliseconds(now)} for one image"
    else:
        yield milliseconds(now), "for one image", "median of many calls"


def _alone(result: Result, foremost: str) -> Spread | None:
    return result.spread_of("alone") if "alone" in result.methods and foremost != "alone" else None
