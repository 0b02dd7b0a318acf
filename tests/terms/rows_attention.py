"""Terms on the layers and the attention of transformers."""

from tests.terms.table import Row
from understudy.terms import MiniLM, Patience, TinyBERT

ATTENTION, LAYER = "layers.1.self_attn -> layers.0.self_attn", "layers.0 -> layers.0"
ALIKE = "layers.0.self_attn -> layers.0.self_attn"

ROWS = [
    Row(Patience(LAYER), equal=0.0, attention=True),
    Row(Patience(("layers.1 -> layers.0", LAYER), normalize=False), attention=True),
    Row(TinyBERT(ALIKE, ("layers.0:input -> layers.0:input", LAYER)), equal=0.0, attention=True),
    Row(MiniLM(ATTENTION), attention=True),
    Row(MiniLM(ALIKE, value_relation=False), equal=0.0, attention=True),
]
