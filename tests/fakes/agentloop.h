// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_FAKES_AGENTLOOP_H_
#define REEMBED_TESTS_FAKES_AGENTLOOP_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

// What a test must know of an agentloop database without asking the code under test: read with SQLite alone.
namespace reembed {

// Of every row that the system wants embedded and that can be: message_id -> content.
std::map<int64_t, std::string> EmbeddableMessages(const std::string& db);

// message_id -> bytes of `embedding`, of all rows where it is not NULL; empty if there is no such column.
std::map<int64_t, std::string> StoredEmbeddings(const std::string& db);

// One text of everything in the database but the columns embedding and embedding_model.
std::string DumpWithoutEmbeddings(const std::string& db);

// Every row of a query, columns joined by `|`.
std::vector<std::string> Query(const std::string& db, const std::string& sql);

// Runs statements that change the database.
void Change(const std::string& db, const std::string& sql);

// What the built-in embedder must have made of a text: the bytes of [dim] float32, little-endian.
std::string ExpectedEmbedding(const std::string& text, int dim);

}  // namespace reembed

#endif  // REEMBED_TESTS_FAKES_AGENTLOOP_H_
