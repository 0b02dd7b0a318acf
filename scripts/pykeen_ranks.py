"""Makes tests/tasks/pykeen_ranks.json: filtered ranks of PyKEEN's evaluator on its small sets, for scores with ties.

    python scripts/pykeen_ranks.py > tests/tasks/pykeen_ranks.json

Needs pykeen (1.11.1 made the file). The scores are products of whole numbers between -2 and 2 from a seed, so that many
are equal.
"""

import json
import sys
from importlib.metadata import version

import torch
from pykeen.datasets import UMLS, Kinships, Nations
from pykeen.evaluation import RankBasedEvaluator
from pykeen.evaluation.evaluator import create_sparse_positive_filter_, filter_scores_

WIDTH, SEED, MOST = 4, 5, 200  # triples of the test part at most, so that the file stays small
FIGURES = {
    "mrr": "both.realistic.inverse_harmonic_mean_rank",
    "hits_at_10": "both.realistic.hits_at_10",
    "hits_at_3": "both.realistic.hits_at_3",
    "hits_at_1": "both.realistic.hits_at_1",
}


def measured(dataset):
    """The set's triples, and what the evaluator says of the scores."""
    train, test = dataset.training.mapped_triples, dataset.testing.mapped_triples[:MOST]
    entities, relations = dataset.num_entities, dataset.num_relations
    generator = torch.Generator().manual_seed(SEED)
    embeddings = torch.randint(-2, 3, (entities + 2 * relations, WIDTH), generator=generator).float()
    evaluator = RankBasedEvaluator(filtered=True)
    everything = torch.cat((train, test))
    for target, column, asked, inverse in (("tail", 2, 0, 0), ("head", 0, 2, relations)):
        queries = embeddings[test[:, asked]] * embeddings[entities + test[:, 1] + inverse]
        scores = queries @ embeddings[:entities].T
        true_scores = scores.gather(1, test[:, column : column + 1])
        positives, _ = create_sparse_positive_filter_(test, everything, filter_col=column)
        filtered = filter_scores_(scores, positives)
        filtered[torch.arange(len(test)), test[:, column]] = true_scores.squeeze(1)
        evaluator.process_scores_(test, target, filtered, true_scores)
    found = evaluator.finalize().to_flat_dict()
    return {
        "name": type(dataset).__name__,
        "entities": entities,
        "relations": relations,
        "width": WIDTH,
        "seed": SEED,
        "train": [triple for triple in train.tolist() if _touches(triple, test)],
        "test": test.tolist(),
        "figures": {name: found[key] for name, key in FIGURES.items()},
    }


def _touches(triple, test):
    """Whether a training triple can be filtered out of some query; the others are left out of the file."""
    same_tail_query = (test[:, 0] == triple[0]) & (test[:, 1] == triple[1])
    same_head_query = (test[:, 2] == triple[2]) & (test[:, 1] == triple[1])
    return bool((same_tail_query | same_head_query).any())


sets = [measured(kind(create_inverse_triples=False)) for kind in (Nations, UMLS, Kinships)]
json.dump({"pykeen": version("pykeen"), "sets": sets}, sys.stdout, separators=(",", ":"))
