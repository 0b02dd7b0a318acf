"""``understudy answers``: fill a store of the teachers' answers, without training a student."""

import tempfile
from contextlib import nullcontext
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from understudy.cli._live import Live
from understudy.cli._options import RecipeArgument, RunOptions, TrainOptions, with_options
from understudy.cli._shared import err, out, print_findings, print_json
from understudy.errors import UserError
from understudy.training.interrupt import listening


@with_options
def answers(
    recipe: RecipeArgument,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="The run folder, in which distill goes on; without one, the recipe names the folder of the answers "
            "and the teachers' weights.",
            show_default=False,
        ),
    ] = None,
    *,
    options: TrainOptions,
) -> None:
    """Store the teachers' answers that a recipe reads, without training a student.

    Example: understudy answers recipe.toml --out runs/kd --set answers.views=8
    """
    from understudy import recipe as recipes
    from understudy.cli._run import prepared
    from understudy.plans.group import Group
    from understudy.plans.training import Builders
    from understudy.runs import Run
    from understudy.runs.folder import RunFolder
    from understudy.training import preflight

    group = Group.started()
    if group is not None and group.rank:
        with listening() as stop:
            group.follow(Builders(options.trust or ()), stop)
        return
    with (
        tempfile.TemporaryDirectory() as nowhere,
        listening() as stop,
        Live(err) as live,
        group.led() if group else nullcontext(),
    ):
        begun = RunFolder(folder).settings() if folder else None
        read = recipes.read(recipe, options.changes or [], settings=options.settings, begun=begun)
        if folder is None and (read.answers is None or read.answers.folder is None):
            raise UserError("name the folder of the answers, --set answers.folder=..., or a run folder, --out")
        if folder is None and any(table.train is not None for table in read.taught_by.values()):
            raise UserError("a teacher of the recipe is trained first: name a run folder for it, --out")
        place = folder or Path(nowhere)
        make = partial(
            Run,
            out=place,
            callback=live,
            stop=stop,
            checkpoint_seconds=options.seconds,
            cache=options.opened_cache,
        )
        chosen = {field.name: getattr(options, field.name) for field in fields(options)}
        alone = RunOptions(**chosen, workers=None if group else 1)
        run = prepared(make, read, alone, live, place, group=group)
        run.folder.look(recipes.write(run.recipe))
        run.fills = True
        if options.check:
            findings = list(run.check())
            print_findings(findings, err, verbose=options.verbose)
            preflight.passes(findings)
        stored = run.store_answers()
    if options.json:
        print_json([asdict(filled) for filled in stored])
        return
    for filled in stored:
        out.print(filled.line, markup=False, highlight=False, soft_wrap=True)
