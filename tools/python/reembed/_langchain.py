# SPDX-License-Identifier: Apache-2.0
"""LangChain's own classes over reembed.Embeddings. Imported only when asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings as _Embeddings
from langchain_core.retrievers import BaseRetriever

if TYPE_CHECKING:
    from ._embeddings import Embeddings


class ReembedEmbeddings(_Embeddings):
    def __init__(self, embeddings: Embeddings) -> None:
        self.embeddings = embeddings

    def embed_query(self, text: str) -> list[float]:
        return self.embeddings.embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embeddings.embed_documents(texts)


class ReembedRetriever(BaseRetriever):
    embeddings: Any
    k: int = 5
    flags: dict[str, Any] = {}

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [
            Document(page_content=hit.text, metadata={"key": hit.key, "score": hit.score})
            for hit in self.embeddings.search(query, self.k, **self.flags)
        ]


def as_embeddings(embeddings: Embeddings) -> ReembedEmbeddings:
    return ReembedEmbeddings(embeddings)


def as_retriever(embeddings: Embeddings, k: int, flags: dict[str, Any]) -> ReembedRetriever:
    return ReembedRetriever(embeddings=embeddings, k=k, flags=flags)
