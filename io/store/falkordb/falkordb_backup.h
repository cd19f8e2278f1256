// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_BACKUP_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_BACKUP_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/location.h"
#include "io/file/backup_folder.h"
#include "io/store/falkordb/falkordb_graph.h"

// A graph as a gzip file of JSON, in the form of AutoMem's own backups, which read ours, as we read theirs:
//   {"timestamp": "20260131_120000", "graph_name": "memories",
//    "nodes": [{"id": 7, "labels": ["Memory"], "properties": {...}}, ...],
//    "relationships": [{"source_id": 7, "type": "RELATES_TO", "target_id": 9, "properties": {...}}, ...],
//    "stats": {"node_count": 2, "relationship_count": 1}}
// Ours also say, where AutoMem does not look: "vectors" of a node, the properties that are vectors and not lists, and
// "indexes". Source: github.com/verygoodplugins/automem, scripts/backup_automem.py, scripts/restore_from_backup.py.
//
// Numbers with a fraction have the 15 digits that FalkorDB shows; it shows no more to anybody.
namespace reembed {

// A location that needs no label and no key. Errors: as ParseFalkorLocation.
absl::StatusOr<FalkorLocation> ParseFalkorGraph(const Location& place, const FalkorOptions& options);

// Reads the graph into the new file `to`. It is not of one moment: nodes first, then the relationships between them.
// Nothing is cut off by the server's RESULTSET_SIZE. Returns the nodes by their first label, and the relationships.
// Errors: as RespClient, FalkorGraph::Open; kFailedPrecondition (a value that the form cannot hold: names the node and
// the property); kAborted (nodes were deleted meanwhile).
absl::StatusOr<RowCounts> BackUpFalkorGraph(const FalkorLocation& from, const std::string& timestamp,
                                            const std::string& to);

// Puts the graph in the file `from` into the place of `to`: it is loaded and counted beside it, under the name
// GRAPH__restore_NUMBER, and takes the name in one step. Others of such names are the dead's, and removed. Nothing is
// added to it. Returns what a user should know besides, or nothing. Errors: as RespClient; kDataLoss (the file is not
// whole, or not of this form; the graph beside it is not what the file says).
absl::StatusOr<std::string> RestoreFalkorGraph(const std::string& from, const FalkorLocation& to, RestoreProgress told);

// How many nodes the graph has; -1: there is none. Errors: as RespClient.
absl::StatusOr<int64_t> CountFalkorNodes(const FalkorLocation& place);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_BACKUP_H_
