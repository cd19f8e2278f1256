# SPDX-License-Identifier: Apache-2.0
"""Search in an index that a job has made, and vectors of single texts by the same model: in the words of LangChain and
of LlamaIndex."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._command import call, check
from ._errors import FailedError, UsageError
from ._flags import words_of
from ._results import Hit

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings as LangChainEmbeddings
    from langchain_core.retrievers import BaseRetriever as LangChainRetriever
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from llama_index.core.retrievers import BaseRetriever as LlamaIndexRetriever


class Embeddings:
    """The model of an index, and the index: `Embeddings("messages.faiss")`.

    `flags` are those of the command that say who embeds: embedder, api_base, api_key_env, ... Model and width are the
    index's own; only its built-in embedder needs no flags.

    `embed_query` and `embed_documents` are LangChain's interface, `get_query_embedding`, `get_text_embedding` and
    `get_text_embedding_batch` LlamaIndex's. Where those frameworks ask for an object of their own class:
    `to_langchain()`, `to_llama_index()`, and `langchain_retriever()`, `llama_index_retriever()` to search.
    """

    def __init__(
        self, index: str | os.PathLike[str], *, env: Mapping[str, str] | None = None, **flags: Any
    ) -> None:
        self.index = Path(index).expanduser()
        description = Path(f"{self.index}.json")
        try:
            said = json.loads(description.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise UsageError(f"{description}: is not the description of an index that reembed made ({problem})") from None
        self.model: str = said["model"]
        self.dimensions: int = said["dim"]
        self.rows: int = said["rows"]
        self._env = env
        self._flags = flags

    def __repr__(self) -> str:
        return f"<reembed index {self.index}: {self.rows} rows, {self.model}, {self.dimensions} dimensions>"

    def search(self, query: str, k: int = 5, **flags: Any) -> list[Hit]:
        """The k nearest rows. `flags`: nprobe, ef_search, source."""
        words = ["search", f"--index={self.index}", f"--top={k}", "--json", *words_of(None, {**self._flags, **flags})]
        # Behind --, so that no query is taken for a flag.
        outcome = call([*words, "--", query], env=self._env)
        check(outcome, None)
        return [Hit(m["key"], m["score"], m.get("text", "")) for m in outcome.all("hit")]

    def embed_query(self, text: str) -> list[float]:
        """The vector of a text to search with, [dimensions]."""
        return self._embed([text], "query")[0]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """The vectors of texts as they are stored, in their order."""
        return self._embed(texts, "document")

    def _embed(self, texts: Sequence[str], input_type: str) -> list[list[float]]:
        if not texts:
            return []
        flags = dict(self._flags)
        if self.model == "reembed-lexical-1":
            flags.setdefault("embedder", "builtin")
        else:
            flags.setdefault("model", self.model)
            flags.setdefault("input_type", input_type)
        lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))
        found: dict[int, list[float]] = {}
        with tempfile.TemporaryDirectory(prefix="reembed-") as folder:
            words = ["run", "--source=jsonl:-?key=id&text=text", "--target=jsonl:-", f"--dimensions={self.dimensions}"]
            words += [f"--job={folder}/job", "--max-passes=0", *words_of(None, flags)]
            outcome = call(words, env=self._env, standard_input=lines)
        for message in outcome.messages:
            if "embedding" in message:
                found[message["key"]] = message["embedding"]
        missing = [i for i in range(len(texts)) if i not in found]
        check(outcome, None, good=(0, 3))
        if missing:
            said = "; ".join(outcome.notes[-3:])
            raise FailedError(f"no vector for text {missing[0]}: {said}", 3, None, outcome.notes)
        return [found[i] for i in range(len(texts))]

    def get_query_embedding(self, query: str) -> list[float]:
        return self.embed_query(query)

    def get_text_embedding(self, text: str) -> list[float]:
        return self._embed([text], "document")[0]

    def get_text_embedding_batch(self, texts: list[str], show_progress: bool = False, **_: Any) -> list[list[float]]:
        return self._embed(texts, "document")

    def to_langchain(self) -> LangChainEmbeddings:
        """The same as a `langchain_core.embeddings.Embeddings`. Wants langchain-core."""
        from ._langchain import as_embeddings

        return as_embeddings(self)

    def langchain_retriever(self, k: int = 5, **flags: Any) -> LangChainRetriever:
        """Searches the index, as a LangChain retriever: documents with `key` and `score` in their metadata."""
        from ._langchain import as_retriever

        return as_retriever(self, k, flags)

    def to_llama_index(self) -> BaseEmbedding:
        """The same as a LlamaIndex `BaseEmbedding`. Wants llama-index-core."""
        from ._llama_index import as_embedding

        return as_embedding(self)

    def llama_index_retriever(self, k: int = 5, **flags: Any) -> LlamaIndexRetriever:
        """Searches the index, as a LlamaIndex retriever."""
        from ._llama_index import as_retriever

        return as_retriever(self, k, flags)
