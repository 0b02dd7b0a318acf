"""Several trainings in one process, step by step in turn."""

from collections.abc import Iterator

from understudy.errors import UserError
from understudy.training.loop import Training


class Interleaved:
    """Takes steps of several trainings in turn.

    The one with the fewest steps takes the next step, so that all stay together, also where some began earlier.
    """

    def __init__(self) -> None:
        self._under_way: list[tuple[Training, Iterator[None]]] = []

    def add(self, training: Training) -> None:
        self._under_way.append((training, training.steps()))

    def until_one_ends(self) -> Training:
        """The next training that ends; an error in one of them does not affect the others."""
        while True:
            taken = training, steps = self._furthest_behind()
            self._under_way.remove(taken)
            with training.surroundings():
                if next(steps, training) is training:  # the default, which means that no step was left
                    return training
            self._under_way.append(taken)

    def _furthest_behind(self) -> tuple[Training, Iterator[None]]:
        begun = [one for one in self._under_way if one[0].place.steps]
        ending = any(training.place.steps == training.total_steps for training, _ in begun)
        # While some end, their successors wait, so that these begin together.
        return min(begun if ending else self._under_way, key=lambda one: one[0].place.steps)

    def leave(self) -> None:
        """Let all save their state and end."""
        for training, _ in self._under_way:
            try:
                if training.place.steps:
                    training.save(wait=True)
            except UserError as error:  # the others still have something to save
                training.callback.note(str(error))
        self._under_way.clear()
