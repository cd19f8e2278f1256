// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_IO_STORE_SQLITE_HRANA_H_
#define REEMBED_IO_STORE_SQLITE_HRANA_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "io/net/http_loop.h"
#include "io/store/sqlite/sql_db.h"

// Hrana over HTTP, the protocol of libSQL servers (sqld, Turso): POST {url}/v2/pipeline with JSON.
// Source: tursodatabase/libsql, docs/HRANA_3_SPEC.md.
//
// Every pipeline that is sent ends with `close`, so no stream outlives its answer: there is no baton to keep, no server
// to stick to, and no transaction that stays open between two calls. Only QueryInStream() is different.
//
// Every error names the server, says its own words, and has a code that tells the caller what to do:
//   kUnavailable         no connection, overloaded, another writer: try again
//   kUnauthenticated     no token, or one that the server does not take; says where to put it
//   kNotFound            no such database there
//   kResourceExhausted   disk or memory of the server are used up
//   kFailedPrecondition  a constraint or trigger refused a change, the server is read-only, or blocks this database
//   kOutOfRange          the answer would be longer than the server sends
//   kDataLoss            the server says its data are damaged
//   kInvalidArgument     wrong SQL, a value that does not fit
namespace reembed {

struct HranaServer {
  std::string name;   // for messages
  std::string url;    // http:// or https://, without / at the end
  std::string token;  // empty: none; in no message
  std::shared_ptr<std::atomic<bool>> answered = std::make_shared<std::atomic<bool>>(false);  // whether it has
};

// Result rows, [rows, columns]. The bytes of the values are owned here.
struct HranaRows {
  size_t columns = 0;
  std::vector<SqliteValue> values;
  std::deque<std::string> bytes;  // of texts and blobs
  size_t answer_bytes = 0;        // how long the answer was

  size_t rows() const { return columns == 0 ? 0 : values.size() / columns; }
};

// What became of one statement of a batch.
struct HranaStep {
  absl::Status status;       // kAborted: it was not run, because the transaction had not begun
  bool refused = false;      // by the row itself: a constraint, a trigger, a value that does not fit
  int64_t changed_rows = 0;  // triggers not counted
};

// A stream that stays open between two calls, so that a transaction can: the server knows it by the baton, which is new
// in every answer, and may want to be asked elsewhere. Empty: not begun. A server ends one that rests for ten seconds.
struct HranaStream {
  std::string baton;
  std::string base_url;
};

// The same statement with different arguments, many times in one transaction.
class HranaBatch {
 public:
  explicit HranaBatch(absl::string_view sql);

  void Add(absl::Span<const SqliteValue> arguments);

  // Another statement, without arguments, that runs in the same transaction; it counts as one of the batch.
  void AddOther(absl::string_view sql);

  void Clear();

  size_t size() const { return statements_; }
  size_t size_bytes() const { return body_.size(); }

 private:
  friend class HranaConnection;
  std::string head_, body_, base64_;
  size_t statements_ = 0;
};

// Used by one thread at a time.
class HranaConnection {
 public:
  // Connects later. `patience`: how long calls try again while the server is away or busy; before it has answered
  // once, they do not.
  static absl::StatusOr<std::unique_ptr<HranaConnection>> Make(HranaServer server, absl::Duration patience);

  // The number of parameters of one statement, which is not run. Errors: kInvalidArgument (wrong SQL, or several).
  absl::StatusOr<int> CountParameters(absl::string_view sql);

  // Runs one statement by itself and replaces *rows. It may have run more than once when the connection broke.
  absl::Status Query(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaRows* rows);

  // Runs one statement in the stream, which it begins or goes on with. Never repeated: an error other than the
  // statement's own ends the stream.
  absl::Status QueryInStream(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaStream* stream,
                             HranaRows* rows);

  // Runs the batch in one transaction and replaces *steps, one for each statement of the batch. A statement that fails
  // keeps no other from running. OK: what has an OK status there is stored. The batch may have run more than once.
  // kAborted: nothing is stored, as a statement ended the transaction (RAISE(ROLLBACK)); *steps say which one.
  // kDeadlineExceeded: nothing is stored, it took longer than the server gives a transaction.
  absl::Status Transact(const HranaBatch& batch, std::vector<HranaStep>* steps);

  const HranaServer& server() const { return server_; }

 private:
  HranaConnection(HranaServer server, absl::Duration patience, std::unique_ptr<HttpLoop> http)
      : server_(std::move(server)), patience_(patience), http_(std::move(http)) {}

  absl::StatusOr<std::string> Post(absl::string_view body, absl::string_view base_url = "");
  absl::Status StatusOf(int http_status, absl::string_view body) const;
  absl::Status Persist(absl::FunctionRef<absl::Status()> work);

  const HranaServer server_;
  const absl::Duration patience_;
  const std::unique_ptr<HttpLoop> http_;
  absl::Duration asked_wait_;  // that its last answer named; zero: none
};

}  // namespace reembed

#endif  // REEMBED_IO_STORE_SQLITE_HRANA_H_
