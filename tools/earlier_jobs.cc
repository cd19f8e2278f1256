// SPDX-License-Identifier: Apache-2.0
#include "tools/earlier_jobs.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/status_macros.h"
#include "io/job/ledger_tables.h"
#include "tools/place.h"
#include "tools/streams.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

// The same file has one name, whether it is there yet or not, and through links.
std::string FileOf(const std::string& path) {
  std::error_code failed;
  const fs::path canonical = fs::weakly_canonical(fs::absolute(path, failed), failed);
  return failed ? path : canonical.string();
}

// HOST:PORT/REST of an address, without what does not say where: how it is spoken to, who asks.
std::string ServerOf(absl::string_view path, absl::string_view default_host, absl::string_view default_port) {
  for (const absl::string_view prefix : {"https://", "http://", "wss://", "ws://", "//"}) {
    if (absl::ConsumePrefix(&path, prefix)) break;
  }
  const size_t slash = std::min(path.find('/'), path.size());
  absl::string_view host = path.substr(0, slash), rest = path.substr(slash), port = default_port;
  absl::ConsumeSuffix(&rest, "/");
  if (const size_t at = host.rfind('@'); at != absl::string_view::npos) host.remove_prefix(at + 1);
  if (const size_t colon = host.rfind(':'); colon != absl::string_view::npos && !absl::EndsWith(host, "]")) {
    port = host.substr(colon + 1);
    host = host.substr(0, colon);
  }
  if (host.empty()) host = default_host;
  if (host == "127.0.0.1" || host == "[::1]") host = "localhost";
  return absl::StrCat(absl::AsciiStrToLower(host), port.empty() ? "" : ":", port, rest);
}

// The last part of an address is the collection.
VectorPlace QdrantPlace(const Location& target) {
  std::string server = ServerOf(target.path, "localhost", "6333");
  const size_t slash = server.rfind('/');
  if (slash == std::string::npos) return {.store = absl::StrCat("qdrant:", server)};
  return {.store = absl::StrCat("qdrant:", server.substr(0, slash)),
          .table = server.substr(slash + 1),
          .column = target.Get("vector")};
}

VectorPlace PostgresPlace(const Location& target) {
  std::string host = target.Get("host");
  if (absl::StartsWith(host, "/")) host.clear();  // a socket, and so this machine
  const std::string port = target.Get("port", "5432");
  // Where no schema is named the search path decides, which is `public` unless somebody changed it.
  return {.store = absl::StrCat("postgres:", ServerOf(target.path, host.empty() ? "localhost" : host, port)),
          .table = absl::StrCat(target.Get("schema", "public"), ".", target.Get("table")),
          .column = target.Get("vector")};
}

bool IsBelow(const std::string& path, const std::string& folder) {
  return path == folder || absl::StartsWith(path, absl::StrCat(folder, "/"));
}

// The folders with a ledger in one of `folders`, each once.
std::vector<std::string> LedgerFolders(absl::Span<const std::string> folders) {
  std::vector<std::string> found;
  const auto add = [&found](const std::string& folder) {
    const absl::StatusOr<std::vector<std::string>> streams = JobFolders(folder);
    if (!streams.ok()) return false;
    for (const std::string& stream : *streams) found.push_back(FileOf(stream));
    return true;
  };
  for (const std::string& folder : folders) {
    if (fs::exists(fs::path(folder) / "ledger.db")) {
      add(folder);
      continue;
    }
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.is_directory(ignored)) add(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

// The job in `folder` for each of its targets that is `place`.
absl::Status AddJobs(const std::string& folder, const VectorPlace& place, std::vector<EarlierJob>* jobs) {
  const absl::StatusOr<std::unique_ptr<LedgerConnection>> ledger =
      OpenLedgerReadOnly(absl::StrCat(folder, "/ledger.db"));
  if (absl::IsNotFound(ledger.status())) return absl::OkStatus();  // killed before it had begun
  ABSL_RETURN_IF_ERROR(ledger.status());
  ABSL_ASSIGN_OR_RETURN(const JobStats stats, ReadStats(ledger->get()));
  for (const auto& [name, position] : stats.sinks) {
    const absl::StatusOr<Location> target = ParseLocation(name);
    if (!target.ok() || PlaceOf(*target) != place) continue;
    ABSL_ASSIGN_OR_RETURN(const LedgerHead head, ReadHead(ledger->get()));
    EarlierJob job{.directory = folder,
                   .identity = head.identity,
                   .keep_vectors = head.keep_vectors,
                   .target = name,
                   .rows = stats.rows,
                   .position = position,
                   .rolled_back = stats.rolled_back};
    if (!stats.receipts.empty()) job.began = stats.receipts.front().started;
    if (!stats.receipts.empty()) job.ended = stats.receipts.back().ended;
    for (const Receipt& receipt : stats.receipts) {
      if (receipt.rows_embedded > 0) job.bought = receipt.ended;
    }
    jobs->push_back(std::move(job));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<VectorPlace> PlaceOf(const Location& target) {
  const auto lower = [&target](absl::string_view name) { return absl::AsciiStrToLower(target.Get(name)); };
  if (target.scheme == "-") return std::nullopt;
  if (IsPostgres(target)) return PostgresPlace(target);
  if (target.scheme == "qdrant") return QdrantPlace(target);
  if (target.scheme == "falkordb") {
    return VectorPlace{.store = absl::StrCat("falkordb:", ServerOf(target.path, "localhost", "6379")),
                       .table = target.Get("label"),
                       .column = target.Get("vector")};
  }
  if (target.scheme == "libsql") {
    return VectorPlace{.store = absl::StrCat("libsql:", ServerOf(target.path, "localhost", "")),
                       .table = lower("table"),
                       .column = lower("vector")};
  }
  const std::string store = absl::StrCat(target.scheme, ":", FileOf(target.path));
  // SQLite takes names in any case for the same.
  if (target.scheme == "sqlite") return VectorPlace{.store = store, .table = lower("table"), .column = lower("vector")};
  if (target.scheme == "memu") return VectorPlace{.store = store, .table = target.Get("collection")};
  return VectorPlace{.store = store};
}

EarlierJobs FindEarlierJobs(const Location& target, absl::Span<const std::string> folders, const std::string& except) {
  EarlierJobs found;
  const std::optional<VectorPlace> place = PlaceOf(target);
  if (!place.has_value()) return found;
  const std::string left_out = except.empty() ? "" : FileOf(except);
  for (const std::string& folder : LedgerFolders(folders)) {
    if (!left_out.empty() && IsBelow(folder, left_out)) continue;
    if (absl::Status read = AddJobs(folder, *place, &found.jobs); !read.ok()) {
      found.unreadable.emplace_back(read.message());
    }
  }
  std::stable_sort(found.jobs.begin(), found.jobs.end(), [](const EarlierJob& a, const EarlierJob& b) {
    return a.ended.value_or(absl::InfinitePast()) > b.ended.value_or(absl::InfinitePast());
  });
  return found;
}

absl::StatusOr<std::unique_ptr<WrittenRows>> WrittenRows::Open(const EarlierJob& job) {
  std::unique_ptr<WrittenRows> written(new WrittenRows);
  ABSL_ASSIGN_OR_RETURN(written->reader_, JobReader::Open(job.directory));
  ABSL_ASSIGN_OR_RETURN(const std::vector<RejectedRow> rejects,
                        written->reader_->ListRejects(written->reader_->rows() * 2 + 1));
  for (const RejectedRow& row : rejects) {
    if (row.sink == job.target) written->refused_.insert(row.ordinal);
  }
  ABSL_ASSIGN_OR_RETURN(written->rows_, written->reader_->Scan(0));
  written->end_ = job.position;
  return written;
}

absl::StatusOr<std::optional<WrittenRow>> WrittenRows::Next() {
  while (true) {
    ABSL_ASSIGN_OR_RETURN(const std::optional<LedgerRow> row, rows_->Next());
    if (!row.has_value() || row->ordinal >= end_) return std::nullopt;
    if (row->state != SlotState::kKept || refused_.contains(row->ordinal)) continue;
    return WrittenRow{.key = row->key, .hash = row->hash, .slot = row->slot};
  }
}

}  // namespace reembed
