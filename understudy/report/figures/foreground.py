"""The methods in colour in figures with a line per method."""

from understudy.runs.records import BASELINE, Result

MOST = 5  # methods with a colour and a label each


def foreground(result: Result) -> list[str]:
    """All methods where they are few; otherwise alone, the kept one, and the best on validation."""
    if len(result.methods) <= MOST:
        return list(result.methods)
    figure = result.first
    known = {name: method.validation(figure.name) for name, method in result.methods.items()}
    best = sorted(
        (name for name, value in known.items() if value is not None),
        key=lambda name: -figure.quality(known[name] or 0.0),
    )
    chosen = dict.fromkeys([*(name for name in (BASELINE, result.foremost) if name in known), *best, *known])
    kept = list(chosen)[:MOST]
    return [name for name in result.methods if name in kept]
