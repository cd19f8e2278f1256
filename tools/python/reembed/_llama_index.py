# SPDX-License-Identifier: Apache-2.0
"""LlamaIndex's own classes over reembed.Embeddings. Imported only when asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

if TYPE_CHECKING:
    from ._embeddings import Embeddings


class ReembedEmbedding(BaseEmbedding):
    _embeddings: Any = PrivateAttr()

    def __init__(self, embeddings: Embeddings, **more: Any) -> None:
        super().__init__(model_name=embeddings.model, **more)
        self._embeddings = embeddings

    @classmethod
    def class_name(cls) -> str:
        return "ReembedEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        found: list[float] = self._embeddings.embed_query(query)
        return found

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> list[float]:
        found: list[float] = self._embeddings.get_text_embedding(text)
        return found

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        found: list[list[float]] = self._embeddings.embed_documents(texts)
        return found


class ReembedRetriever(BaseRetriever):
    def __init__(self, embeddings: Embeddings, k: int, flags: dict[str, Any]) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.k = k
        self.flags = flags

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        hits = self.embeddings.search(query_bundle.query_str, self.k, **self.flags)
        return [
            NodeWithScore(node=TextNode(text=hit.text, id_=str(hit.key), metadata={"key": hit.key}), score=hit.score)
            for hit in hits
        ]


def as_embedding(embeddings: Embeddings) -> ReembedEmbedding:
    return ReembedEmbedding(embeddings)


def as_retriever(embeddings: Embeddings, k: int, flags: dict[str, Any]) -> ReembedRetriever:
    return ReembedRetriever(embeddings, k, flags)
