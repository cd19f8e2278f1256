// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_POSTGRES_POSTGRES_SINK_H_
#define REEMBED_IO_STORE_POSTGRES_POSTGRES_SINK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engine/embedding_client.h"
#include "engine/location.h"
#include "engine/vector_sink.h"

namespace reembed {

struct PostgresSinkOptions {
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away, before kUnavailable
};

// Writes vectors into one column of a PostgreSQL table, found by the row's key, and the model's name into another if
// the location names one. Nothing else of a row changes, except what the table's own triggers do (triggers=skip keeps
// them out). See PostgresLocation for what a location may say.
//
// mode=update: the rows must be there. A row that is gone is refused with kNotFound; one that a constraint or a trigger
//   refuses, with the server's words. Missing columns are added by Open().
// mode=upsert: rows that are not there are added; the table is made when missing, with the columns `key`, `embedding`
//   and `model` unless the location names others; `key` is bigint if the first row's key is an integer, else text.
// new_column=N: Publish() swaps the names, in one short transaction.
// index=hnsw|ivfflat: Publish() builds it without keeping others from writing (CREATE INDEX CONCURRENTLY). How much
//   memory and how many workers it gets is for the server to say, or for the location:
//   options=-c%20maintenance_work_mem=8GB%20-c%20max_parallel_maintenance_workers=7.
// index=rebuild: the first Write() drops the indexes of the column, Publish() builds the same again, see
//   postgres_index.h.
//
// Each Write() sends statements of some MiB, each a transaction of its own whose commit waits for the disk; a statement
// whose answer is lost with the connection is repeated, which changes nothing.
// Errors: as PostgresConnection, PostgresTable, PostgresVectorColumn. Write: kUnavailable, kResourceExhausted: part of
// the call may be stored.
absl::StatusOr<std::unique_ptr<VectorSink>> MakePostgresSink(const Location& location, const Model& model,
                                                             const PostgresSinkOptions& options = {});

// What Prepare() and Publish() will change besides vectors, and what changes by itself with them, one line each; for
// people. Reads only. Errors: as MakePostgresSink.
absl::StatusOr<std::vector<std::string>> PostgresChanges(const Location& location, const Model& model);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_POSTGRES_POSTGRES_SINK_H_
