"""A check by hand, until every term says its bounds as annotations."""

from understudy.errors import UserError
from understudy.objective.term import Term


def require_positive(term: Term, **settings: float) -> None:
    for name, value in settings.items():
        if not value > 0:
            raise UserError(f"{term}: {name} must be above 0, not {value}")
