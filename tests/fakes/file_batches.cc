// SPDX-License-Identifier: Apache-2.0
#include "tests/fakes/file_batches.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <random>

#include "absl/strings/str_cat.h"

namespace reembed {

FileTestFolder::FileTestFolder() {
  // In memory where there is such a place: the loops of these tests sync thousands of files.
  std::error_code none;
  const bool in_memory = std::filesystem::is_directory("/dev/shm", none);
  const std::filesystem::path parent = in_memory ? "/dev/shm" : std::filesystem::temp_directory_path();
  std::string path = (parent / "reembed-file-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr) std::abort();
  path_ = path;
}

FileTestFolder::~FileTestFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string FileTestFolder::operator/(absl::string_view name) const { return absl::StrCat(path_, "/", name); }

std::vector<std::string> FileTestFolder::Names() const {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(path_))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::string FileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void WriteFileBytes(const std::string& path, absl::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

Key FileRowSet::KeyOf(int64_t ordinal) const {
  if (keys == FileKeys::kIntegers) return 1000 + 3 * ordinal;
  return absl::StrCat("key \"", ordinal, "\"\n\xC3\xA9\\");
}

std::vector<float> FileRowSet::VectorOf(int64_t ordinal) const {
  std::minstd_rand random(static_cast<uint32_t>(ordinal * 7919 + 17));
  std::vector<float> vector(static_cast<size_t>(dim));
  for (float& number : vector) number = static_cast<float>(random()) / 1e9F - 1.0F;
  vector[0] = static_cast<float>(ordinal);
  return vector;
}

bool FileRowSet::IsRejected(int64_t ordinal) const {
  return reject_every > 0 && ordinal % reject_every == reject_every - 1;
}

int64_t FileRowSet::StoredRows(int64_t end) const { return reject_every > 0 ? end - end / reject_every : end; }

std::unique_ptr<Batch> FileRowSet::MakeBatch(RowRange range) const {
  const int rows = static_cast<int>(range.size());
  auto batch = std::make_unique<Batch>(BatchLimits{.max_texts = rows + 1, .max_rows = rows + 1}, dim);
  batch->set_range(range);
  for (int64_t ordinal = range.begin; ordinal < range.end; ++ordinal) {
    const Key key = KeyOf(ordinal);
    if (IsRejected(ordinal)) {
      batch->AddRow(ordinal, ViewOf(key), -1)->reject = absl::InvalidArgumentError("rejected by the test");
    } else {
      batch->AddRowWithText(ordinal, ViewOf(key), ordinal, "text", 1);
    }
  }
  for (BatchRow& row : batch->rows()) {
    if (row.text < 0) continue;
    const std::vector<float> vector = VectorOf(row.ordinal);
    float* const to = batch->vectors().data() + static_cast<int64_t>(row.text) * dim;
    std::copy(vector.begin(), vector.end(), to);
    row.vector = to;
  }
  return batch;
}

absl::Status WriteRows(const FileRowSet& rows, RowRange range, VectorSink* sink) {
  const std::unique_ptr<Batch> batch = rows.MakeBatch(range);
  const Batch* const batches[] = {batch.get()};
  std::vector<RefusedRow> refused;
  if (absl::Status status = sink->Write(batches, &refused); !status.ok()) return status;
  return refused.empty() ? absl::OkStatus() : refused.front().reason;
}

absl::Status WriteAll(const FileRowSet& rows, int64_t end, int64_t batch_rows, VectorSink* sink) {
  const absl::StatusOr<int64_t> position = sink->Open({.model = {"m", rows.dim}, .expected_rows = end}, {});
  if (!position.ok()) return position.status();
  for (int64_t begin = 0; begin < end; begin += batch_rows) {
    const RowRange range = {begin, std::min(end, begin + batch_rows)};
    if (absl::Status status = WriteRows(rows, range, sink); !status.ok()) return status;
  }
  return sink->Complete();
}

absl::Status CheckReader(const FileRowSet& rows, int64_t end, VectorReader* reader) {
  if (reader->rows() != rows.StoredRows(end)) {
    return absl::DataLossError(absl::StrCat("expected ", rows.StoredRows(end), " rows, got ", reader->rows()));
  }
  for (int64_t ordinal = 0; ordinal < end; ++ordinal) {
    if (rows.IsRejected(ordinal)) continue;
    const absl::StatusOr<std::optional<StoredVector>> row = reader->Next();
    if (!row.ok()) return row.status();
    if (!row->has_value()) return absl::DataLossError(absl::StrCat("ends before row ", ordinal));
    const std::vector<float> vector = rows.VectorOf(ordinal);
    if ((*row)->key != ViewOf(rows.KeyOf(ordinal))) return absl::DataLossError(absl::StrCat("key of row ", ordinal));
    if ((*row)->vector != absl::MakeConstSpan(vector)) return absl::DataLossError(absl::StrCat("vector ", ordinal));
  }
  const absl::StatusOr<std::optional<StoredVector>> behind = reader->Next();
  if (!behind.ok()) return behind.status();
  return behind->has_value() ? absl::DataLossError("more rows than expected") : absl::OkStatus();
}

}  // namespace reembed
