// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_FALKORDB_FALKORDB_GRAPH_H_
#define REEMBED_IO_STORE_FALKORDB_FALKORDB_GRAPH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/key.h"
#include "engine/location.h"
#include "io/net/resp_client.h"

namespace reembed {

// How to get into a server, beyond what a location says: locations are written down, passwords are not.
struct FalkorOptions {
  std::string password;                        // empty: none
  absl::Duration patience = absl::Minutes(2);  // how long to wait for a server that went away
};

// What a location `falkordb://[user@]host[:port]/graph?name=value&...` asks for.
//   label           of the nodes (required)
//   key             property that names a node: text or integer, each once (required)
//   text            property with the text (a source needs it)
//   vector          property with the vector (a target needs it)
//   model_property  property that says which model made the vector; none by default
//   where           Cypher condition over the node `n` that selects nodes of the source
//   index           of a target: vector index to build at the end: cosine or euclidean; default none
struct FalkorLocation {
  RespAddress address;
  std::string graph, label, key, text, vector, model_property, where, index;
};

// Errors: kInvalidArgument (another scheme, an unknown parameter or value, something is missing).
absl::StatusOr<FalkorLocation> ParseFalkorLocation(const Location& location, const FalkorOptions& options);

// One value of a compact reply: [type, value]. Borrows from its FalkorRows.
// Source: https://docs.falkordb.com/design/client-spec.html
class FalkorCell {
 public:
  enum class Type {
    kNull = 1,
    kText = 2,
    kInteger = 3,
    kBoolean = 4,
    kDouble = 5,
    kArray = 6,
    kMap = 10,
    kVector = 12
  };

  FalkorCell(RespValue type, RespValue value) : type_(type), value_(value) {}

  Type type() const { return static_cast<Type>(type_.Integer()); }
  bool IsNull() const { return type() == Type::kNull; }
  int64_t Integer() const { return value_.Integer(); }
  absl::string_view Text() const { return value_.Text(); }  // also of a boolean (`true`) and a double (`0.5`)
  size_t size() const { return value_.size(); }             // of an array; of a map: twice its entries
  FalkorCell operator[](size_t i) const { return FalkorCell(value_[i][0], value_[i][1]); }  // of an array
  absl::string_view MapKey(size_t i) const { return value_[2 * i].Text(); }                 // of a map
  FalkorCell MapValue(size_t i) const { return FalkorCell(value_[2 * i + 1][0], value_[2 * i + 1][1]); }

  // Reads the numbers of a vector, or of an array as which older servers show vectors, into `out`. Returns how many the
  // cell has, -1 if it is no vector; only what fits is written.
  int64_t Vector(absl::Span<float> out) const;

 private:
  RespValue type_, value_;
};

// The rows of an answer. Nodes are never asked for, only their properties, so no ids of labels or names are in it.
class FalkorRows {
 public:
  explicit FalkorRows(RespReply reply) : reply_(std::move(reply)) {}
  size_t size() const { return reply_.value().size() == 3 ? reply_.value()[1].size() : 0; }
  FalkorCell operator()(size_t row, size_t column) const {
    const RespValue cell = reply_.value()[1][row][column];
    return FalkorCell(cell[0], cell[1]);
  }

 private:
  RespReply reply_;
};

// A graph that is there, on a server that is FalkorDB. Used by one thread.
class FalkorGraph {
 public:
  // Errors: as RespClient; kFailedPrecondition (no FalkorDB), kNotFound (no such graph; names the nearest one).
  static absl::StatusOr<std::unique_ptr<FalkorGraph>> Open(const FalkorLocation& asked, absl::Duration patience);

  // The same server, and there a graph that need not be there: the first change makes it.
  static absl::StatusOr<std::unique_ptr<FalkorGraph>> OpenNew(const FalkorLocation& asked, absl::Duration patience);

  // One query. kRead: the server refuses every change. Errors: as RespClient.
  enum class Access { kRead, kWrite };
  absl::StatusOr<FalkorRows> Query(absl::string_view cypher, Access access = Access::kRead);

  // The one integer that the query answers.
  absl::StatusOr<int64_t> Count(absl::string_view cypher);

  // Waits until the append-only file of the server is on its disk (Redis 7.2, Valkey). False: nobody can wait for that
  // here, as the server is older, keeps no such file, or leaves it to the machine (appendfsync=no).
  // Errors: kUnavailable.
  absl::StatusOr<bool> Sync();

  // Which process answers: as long as it is the same, the server has what it has acknowledged. Where the user may not
  // ask for that, each connection is taken for another server's.
  // Errors: kUnavailable.
  absl::StatusOr<std::string> ServerRun();

  RespClient* client() { return client_.get(); }
  std::string Message(absl::string_view what) const;  // address/graph: what

 private:
  FalkorGraph(std::unique_ptr<RespClient> client, std::string name)
      : client_(std::move(client)), name_(std::move(name)) {}

  const std::unique_ptr<RespClient> client_;
  const std::string name_;
};

// `name` in backticks. Names with a backtick are refused by ParseFalkorLocation: Cypher cannot escape it here.
std::string FalkorName(absl::string_view name);

// Literals for the parameters in front of a query. Texts are without NUL: the server reads the query as a C string.
void AppendFalkorText(absl::string_view text, std::string* out);
void AppendFalkorKey(KeyView key, std::string* out);

}  // namespace reembed

#endif  // REEMBED_IO_STORE_FALKORDB_FALKORDB_GRAPH_H_
