"""The embedding node without batches, for `bundled.questions`."""

from lanemesh import Batch
from lanemesh_services.search.embedding_nodes import EmbeddingTransformer


class EmbeddingUnbatched(EmbeddingTransformer):
    """Embeds each text by a call of its own."""

    batch = Batch(max=1, within=0)
