// SPDX-License-Identifier: Apache-2.0
#include "io/store/sqlite/libsql_db.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/page_walk.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Servers send at most 10 MB for a statement; much shorter answers waste round trips.
constexpr PageSize::Limits kAnswers{
    .first_rows = 256, .least_rows = 2, .fewest_rows = 2, .page_bytes = size_t{2} << 20};

class LibsqlDb final : public SqlDb {
 public:
  explicit LibsqlDb(std::unique_ptr<HranaConnection> connection)
      : SqlDb(connection->server().name), connection_(std::move(connection)) {}

  absl::StatusOr<SqliteStatement> Prepare(absl::string_view sql) const override {
    ABSL_ASSIGN_OR_RETURN(const int parameters, connection_->CountParameters(sql));
    return SqliteStatement(std::make_unique<Cursor>(this, std::string(sql), parameters));
  }

  int64_t rows_per_answer() const override { return static_cast<int64_t>(answers_.walk_rows()); }

  // Answers are JSON; sqld panics over a text that cannot be in one, and so for every row of its page.
  bool gives_any_text() const override { return false; }

 private:
  class Cursor final : public SqlCursor {
   public:
    Cursor(const LibsqlDb* db, std::string sql, int parameters)
        : db_(db), sql_(std::move(sql)), arguments_(static_cast<size_t>(parameters)) {}

    void Bind(int parameter, const SqliteValue& value) override {
      if (parameter <= parameters()) arguments_[static_cast<size_t>(parameter) - 1] = value;
    }

    absl::StatusOr<bool> Step() override {
      if (!running_) {
        ABSL_RETURN_IF_ERROR(db_->Query(sql_, arguments_, &rows_));
        running_ = true;
        row_ = 0;
      } else {
        ++row_;
      }
      if (row_ < rows_.rows()) return true;
      Reset();
      return false;
    }

    void Reset() override {
      running_ = false;
      rows_ = HranaRows();
    }

    SqliteValue Get(int column) const override {
      return rows_.values[row_ * rows_.columns + static_cast<size_t>(column)];
    }

    int parameters() const override { return static_cast<int>(arguments_.size()); }

   private:
    const LibsqlDb* const db_;
    const std::string sql_;
    std::vector<SqliteValue> arguments_;
    HranaRows rows_;
    size_t row_ = 0;
    bool running_ = false;
  };

  absl::Status Query(absl::string_view sql, absl::Span<const SqliteValue> arguments, HranaRows* rows) const {
    absl::Status status = connection_->Query(sql, arguments, rows);
    size_t asked = answers_.walk_rows();
    if (absl::IsOutOfRange(status)) {
      answers_.TooMuch(&asked);
    } else if (status.ok()) {
      answers_.Came(asked, rows->rows(), rows->answer_bytes);
    }
    return status;
  }

  const std::unique_ptr<HranaConnection> connection_;
  mutable PageSize answers_{kAnswers};
};

}  // namespace

absl::StatusOr<HranaServer> ParseLibsqlServer(const Location& location) {
  HranaServer server{.name = absl::StrCat("libsql:", location.path), .token = location.secret};
  if (location.answered != nullptr) server.answered = location.answered;
  const auto refuse = [&](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat(server.name, ": ", what));
  };
  const std::string tls = location.Get("tls", "1");
  if (tls != "0" && tls != "1") return refuse(absl::StrCat("expected tls=0 or tls=1, got `", tls, "`"));
  absl::string_view rest = location.path;
  absl::string_view scheme = tls == "0" ? "http" : "https";
  if (absl::ConsumePrefix(&rest, "http://") || absl::ConsumePrefix(&rest, "ws://")) {
    scheme = "http";
  } else if (absl::ConsumePrefix(&rest, "https://") || absl::ConsumePrefix(&rest, "wss://")) {
    scheme = "https";
  } else if (absl::ConsumePrefix(&rest, "//")) {
    // The port of http is 80, and no libSQL server is there by accident.
    if (tls == "0" && rest.find(':') == absl::string_view::npos) {
      return refuse("tls=0 wants a port, as in libsql://HOST:8080?tls=0");
    }
  } else if (absl::StartsWith(rest, "file:") || absl::StartsWith(rest, "/") || absl::EndsWith(rest, ".db")) {
    return refuse("names a file; write sqlite:PATH");
  } else {
    return refuse("expected libsql://HOST, or libsql: and an address that begins with http:// or https://");
  }
  while (absl::ConsumeSuffix(&rest, "/")) {
  }
  if (rest.empty()) return refuse("names no host");
  server.url = absl::StrCat(scheme, "://", rest);
  return server;
}

absl::StatusOr<std::unique_ptr<SqlDb>> OpenLibsqlDb(const Location& location, absl::Duration patience) {
  ABSL_ASSIGN_OR_RETURN(HranaServer server, ParseLibsqlServer(location));
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<HranaConnection> connection,
                        HranaConnection::Make(std::move(server), patience));
  return std::make_unique<LibsqlDb>(std::move(connection));
}

}  // namespace reembed
