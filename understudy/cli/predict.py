"""``understudy predict``: the predictions of a student for images or texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from understudy.bounds import MOST
from understudy.cli._options import JsonOption, MethodOption, StudentTrustOption, TrainingOption
from understudy.cli._shared import confirmed, err, out, print_json, student_in

if TYPE_CHECKING:
    from understudy.shipping.predict import Prediction


def predict(
    student: Annotated[Path, typer.Argument(help="A run folder, or an exported file.", show_default=False)],
    images: Annotated[list[str], typer.Argument(help="Files, folders, patterns.", show_default=False)],
    top: Annotated[int, typer.Option(min=1, max=MOST, help="How many classes to name.")] = 3,
    batch: Annotated[int, typer.Option(min=1, max=1_000_000, help="Images that are answered at once.")] = 32,
    draw: Annotated[
        Path | None, typer.Option(help="A folder for copies of the images with the boxes of a detector.")
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            help="Answer the test.tsv of one of GLUE's tasks, and write this file in the benchmark's form; it has the "
            "benchmark's name, such as MRPC.tsv or MNLI-m.tsv.",
            dir_okay=False,
        ),
    ] = None,
    method: MethodOption = None,
    training: TrainingOption = None,
    trust: StudentTrustOption = None,
    json: JsonOption = False,
) -> None:
    """Predict by a run's student or by an exported file; of classes, the likeliest are listed.

    Example: understudy predict runs/mine photos/cat.jpg --top 1
    """
    from understudy.shipping.predict import predict as predicted

    student = student_in(student, method, training)
    if submission is not None:
        from understudy.shipping.glue import write_submission

        count = write_submission(student, images, submission, batch=batch, trust=confirmed(student, trust))
        if json:
            print_json({"file": str(submission), "samples": count})
        else:
            out.print(f"{submission}: {count:,} answers", highlight=False, soft_wrap=True)
        return
    predictions = predicted(student, images, top=top, batch=batch, trust=confirmed(student, trust), draw=draw)
    if json:
        print_json([_plain(prediction) for prediction in predictions])
    for prediction in predictions:
        if prediction.problem is not None:
            err.print(f"understudy: {prediction.problem}", highlight=False, soft_wrap=True)
        elif not json:
            _tell(prediction)
    if any(prediction.problem is not None for prediction in predictions):
        raise typer.Exit(2)


def _tell(prediction: "Prediction") -> None:
    out.print(f"{prediction.image}: {prediction.text}", markup=False, highlight=False, soft_wrap=True)


def _plain(prediction: "Prediction") -> dict[str, object]:
    return {"image": prediction.image, **(prediction.record or {"classes": []}), "problem": prediction.problem}
