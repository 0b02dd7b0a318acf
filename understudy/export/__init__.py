"""A student for elsewhere: written for another runtime, and kept only if it proves itself on real data.

A format is one file of this package, with a ``FORMAT`` that says how such a file is written and opened.
"""

from understudy.export import executorch, int8, onnx, program
from understudy.export.exporter import Exported, export
from understudy.export.format import Format, Opened
from understudy.export.proof import Proof, Tolerance

FORMATS: dict[str, Format] = {
    chosen.name: chosen for chosen in (onnx.FORMAT, program.FORMAT, int8.FORMAT, executorch.FORMAT)
}

__all__ = ["FORMATS", "Exported", "Format", "Opened", "Proof", "Tolerance", "export"]
