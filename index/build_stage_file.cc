// SPDX-License-Identifier: Apache-2.0
#include "index/build_stage_file.h"

#include <faiss/Index.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "index/flat_json.h"
#include "index/index_files.h"

namespace reembed {
namespace {

constexpr int64_t kFormat = 1;

template <typename T>
T Get(const FlatJson& object, const char* name) {
  const auto found = object.find(name);
  const bool fits = found != object.end() && std::holds_alternative<T>(found->second);
  return fits ? std::get<T>(found->second) : T();
}

}  // namespace

std::string BuildStageFile::IndexPath(int64_t rows) const { return absl::StrCat(index_, rows); }

std::optional<BuildStageFile::Record> BuildStageFile::ReadRecord(const std::string& path) {
  const absl::StatusOr<std::string> json = ReadSmallFile(path);
  if (!json.ok()) return std::nullopt;
  const absl::StatusOr<FlatJson> object = ParseFlatJson(*json);
  if (!object.ok() || Get<int64_t>(*object, "format") != kFormat) return std::nullopt;
  Record record{.identity = Get<std::string>(*object, "identity"),
                .rows = Get<int64_t>(*object, "rows"),
                .trained_rows = Get<int64_t>(*object, "trained_rows"),
                .mark = {.bytes = Get<int64_t>(*object, "bytes")}};
  if (!absl::SimpleHexAtoi(Get<std::string>(*object, "checksum"), &record.mark.checksum)) return std::nullopt;
  return record;
}

absl::StatusOr<std::optional<BuildStageFile::Stage>> BuildStageFile::Load() const {
  const std::optional<Record> record = ReadRecord(description_);
  if (!record.has_value() || record->identity != identity_) return std::nullopt;
  absl::StatusOr<FaissIndex> index = LoadFaissIndex(IndexPath(record->rows), record->mark);
  if (index.ok() && (*index)->ntotal == record->rows) return Stage{*std::move(index), record->trained_rows};
  if (index.status().code() == absl::StatusCode::kResourceExhausted) return index.status();
  return std::nullopt;
}

absl::Status BuildStageFile::Save(const faiss::Index& index, int64_t trained_rows) const {
  const std::string path = IndexPath(index.ntotal);
  ABSL_ASSIGN_OR_RETURN(const FileMark mark, SaveFaissIndex(index, path));
  ABSL_RETURN_IF_ERROR(WriteRecord(description_, {identity_, index.ntotal, trained_rows, mark}));
  RemoveIndexes(path);
  return absl::OkStatus();
}

absl::Status BuildStageFile::WriteRecord(const std::string& path, const Record& record) {
  const std::string json = JsonWriter()
                               .Add("format", kFormat)
                               .Add("identity", record.identity)
                               .Add("rows", record.rows)
                               .Add("trained_rows", record.trained_rows)
                               .Add("bytes", record.mark.bytes)
                               .Add("checksum", absl::StrCat(absl::Hex(record.mark.checksum, absl::kZeroPad16)))
                               .ToString();
  const std::string next = absl::StrCat(path, ".new");
  ABSL_RETURN_IF_ERROR(WriteWholeFile(next, json + "\n").status());
  if (std::rename(next.c_str(), path.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(next, ": cannot rename to ", path));
  }
  return SyncDirectoryOf(path);
}

void BuildStageFile::RemoveIndexes(const std::string& but) const {
  namespace fs = std::filesystem;
  const fs::path prefix = index_;
  const std::string name = prefix.filename().string();
  std::error_code ignored;
  const fs::path folder = prefix.has_parent_path() ? prefix.parent_path() : fs::path(".");
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string file = entry.path().filename().string();
    if (!absl::StartsWith(file, name) || file == fs::path(but).filename()) continue;
    if (file.find_first_not_of("0123456789", name.size()) == std::string::npos) unlink(entry.path().c_str());
  }
}

void BuildStageFile::Remove() const {
  unlink(description_.c_str());
  unlink((description_ + ".new").c_str());
  RemoveIndexes("");
}

}  // namespace reembed
