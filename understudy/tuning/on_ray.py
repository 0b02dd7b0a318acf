"""Trials on a Ray cluster: workers that take part in a search, each with its own trials, in its folder."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from understudy.errors import UserError
from understudy.plans.engines.ray import POLL_SECONDS, Ray
from understudy.training.interrupt import Stopped, StopRequest
from understudy.tuning.side_by_side import Part

if TYPE_CHECKING:
    from understudy.tuning.trials import Trials
    from understudy.tuning.tune import Tuning


class Helper:
    """A worker of the cluster. It accepts a stop while it trains."""

    def __init__(self, folder: str):
        with contextlib.suppress(OSError):  # paths in a recipe may be relative
            os.chdir(folder)
        self.stopping = StopRequest()

    def take(self, part: Part) -> str:
        """Train trials until there are enough; a user's mistake is returned."""
        with contextlib.suppress(Stopped):
            try:
                part.take(self.stopping)
            except UserError as error:
                return str(error)
        return ""

    def begun(self) -> None:
        """Answer, which shows that the cluster has started this worker."""

    def stop(self, number: int) -> None:
        self.stopping.signal_number = number


def search_on(engine: Ray, tuning: "Tuning", trials: "Trials", count: int) -> None:
    """Train trials on as many workers as the engine has, until there are ``count`` in all.

    Workers for which the cluster has no room yet are not waited for: neither at a stop, nor where no trial is left.
    """
    part, stop = Part.of(tuning, count), engine.stop
    helpers = [engine.actor(Helper) for _ in range(engine.workers)]
    waiting = {helper.take.remote(part): helper for helper in helpers}
    answers = {reply: (helper.begun.remote(),) for reply, helper in waiting.items()}
    shown = {trial.number for trial in trials.all() if trial.state != "running"}
    try:
        while waiting:
            done, _ = engine.ray.wait(list(waiting), num_returns=1, timeout=POLL_SECONDS)
            for reply in done:
                del waiting[reply]
                if _ended(engine, tuning, reply):
                    waiting = _begun(engine, waiting, answers)
            for trial in trials.all():
                if trial.state != "running" and trial.number not in shown:
                    shown.add(trial.number)
                    tuning.callback.trial_begins(trial)
                    tuning.callback.trial_ends(trial)
            if stop:
                waiting = _begun(engine, waiting, answers)
                for helper in waiting.values():
                    helper.stop.remote(int(stop.signal_number))
                if waiting:
                    engine.ray.wait(list(waiting), num_returns=len(waiting))
                raise Stopped(stop.signal_number)
    finally:
        for helper in helpers:
            engine.ray.kill(helper)


def _begun(engine: Ray, waiting: dict[Any, Any], answers: Mapping[Any, Sequence[Any]]) -> dict[Any, Any]:
    """The workers that the cluster has started."""
    return {reply: waiting[reply] for reply in engine.begun({reply: answers[reply] for reply in waiting})}


def _ended(engine: Ray, tuning: "Tuning", reply: Any) -> bool:
    """The end of a worker: no trial is left to begin, or others go on with the one that it lost."""
    try:
        mistake: str = engine.ray.get(reply)
    except engine.ray.exceptions.RayError as error:
        mistake = type(error).__name__
    if mistake:
        tuning.callback.note(f"a worker ended early ({mistake}): its trial is trained by the others, or here")
    return not mistake
