"""The example of a task of another package, as the page on tasks shows it."""

import re
from pathlib import Path

from understudy import data
from understudy.tasks import Task

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"


def test_the_page_on_tasks_runs():
    space: dict[str, object] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), space)
    counted = space["counted"]
    assert isinstance(counted, data.Data)
    assert isinstance(counted.task, Task)
    meter, targets = counted.task.meter(), counted.train.targets
    answer = counted.task.answer((targets.float() + 1e-9).log().unsqueeze(1))
    meter.update(answer, targets)
    assert meter.compute()["miscount"] < 1e-3
