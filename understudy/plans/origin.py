"""What a training was begun as: this very node under this very key, or a mixture that nobody else may take."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import JsonValue

from understudy.errors import UserError
from understudy.plans.key import key_of
from understudy.plans.node import Node
from understudy.recipe.overrides import without_nones
from understudy.training.records import Record

WHAT = ("network", "method", "settings", "balance", "config", "seed", "role", "teachers", "data")  # what a node is
WHERE = ("root", "workers")  # of its data: where they lie and how they are read


def check_same(node: Node, before: Mapping[str, JsonValue] | None, folder: Path) -> None:
    """What lies under a training's name must be that training; where and how fast it was done is another matter."""
    if before is None:
        return
    wanted = node.model_dump(mode="json")
    differing = [part for part in WHAT if _said(before.get(part)) != _said(wanted[part])]
    if differing:
        raise UserError(
            f"{folder} holds another training of that name (it differs in {', '.join(differing)}): choose another "
            "--out, or another name"
        )


class OriginRecord(Record):
    """What a checkpoint says of the training to which it belongs."""

    node: dict[str, JsonValue] | None = None  # None: it does not say
    keys: list[str]


class Origin:
    """Goes into every checkpoint of a training, and says on resuming whether that is still what is wanted."""

    def __init__(self, node: Node, key: str, folder: Path):
        self.node, self.folder, self.keys = node, folder, [key]

    @property
    def key(self) -> str:
        """Of what came out: the planned one, where all of it was done as planned."""
        return self.keys[0] if len(self.keys) == 1 else key_of({"in turn": self.keys})

    def state(self) -> dict[str, JsonValue]:
        return OriginRecord(node=self.node.model_dump(mode="json"), keys=self.keys).content()

    def resume(self, before: object, note: Callable[[str], None]) -> None:
        """Compare this training with the ``state`` in a checkpoint; a checkpoint of another training is refused."""
        begun = OriginRecord(keys=["unknown"]) if before is None else OriginRecord.model_validate(before)
        check_same(self.node, begun.node, self.folder)
        keys = list(dict.fromkeys([*begun.keys, *self.keys]))
        if keys != self.keys:
            note(
                f"{self.node.name} was begun with other code, data, threads or settings than today's: it goes on from "
                "its checkpoint, and its result goes into no cache"
            )
        self.keys = keys


def _said(value: JsonValue) -> JsonValue:
    """A part of a node without what may differ: keys that are not used, and where and how data are read."""
    plain = without_nones(value)
    return {key: item for key, item in plain.items() if key not in WHERE} if isinstance(plain, dict) else plain
