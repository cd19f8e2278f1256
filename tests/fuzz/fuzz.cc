// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "absl/status/statusor.h"
#include "engine/key.h"

namespace {

// libFuzzer looks here, beside the edges that the compiler counts.
[[gnu::section("__libfuzzer_extra_counters"), gnu::used]] uint8_t outcomes[1024];

void (*end_of_finding)() = [] { std::abort(); };

uint64_t HashOf(absl::string_view bytes, bool with_digits) {
  uint64_t hash = 14695981039346656037u;  // FNV-1a
  for (const char c : bytes) {
    if (!with_digits && c >= '0' && c <= '9') continue;
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  return hash ^ (hash >> 29);
}

}  // namespace

namespace reembed::fuzz {

size_t Input::Choose(size_t choices) {
  if (rest_.empty()) return 0;
  const auto byte = static_cast<uint8_t>(rest_.front());
  rest_.remove_prefix(1);
  return static_cast<uint8_t>(byte - '0') % choices;
}

Pieces::Pieces(absl::string_view bytes) : rest_(bytes), random_(HashOf(bytes, true) | 1) {}

absl::string_view Pieces::Next() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  // Single bytes as often as pieces of some hundred.
  const size_t most = size_t{1} << (random_ % 10);
  const absl::string_view piece = rest_.substr(0, 1 + (random_ >> 32) % most);
  rest_.remove_prefix(piece.size());
  return piece;
}

void Require(bool holds, absl::string_view what) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %.*s\n", static_cast<int>(what.size()), what.data());
  end_of_finding();
}

void SetEndOfFinding(void (*end)()) { end_of_finding = end; }

void Saw(absl::string_view outcome) {
  uint8_t& count = outcomes[HashOf(outcome, false) % sizeof(outcomes)];
  if (count < 255) ++count;
}

void Saw(const absl::Status& status) { Saw(status.message().substr(0, 200)); }

bool SameBits(absl::Span<const float> a, absl::Span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

Scratch::Scratch() {
  const char* const wanted = getenv("TMPDIR");
  const bool memory = access("/dev/shm", W_OK) == 0;
  dir_ = std::string(wanted != nullptr ? wanted : memory ? "/dev/shm" : "/tmp") + "/reembed-fuzz-XXXXXX";
  Require(mkdtemp(dir_.data()) != nullptr, "a folder can be made in $TMPDIR, /dev/shm or /tmp");
}

Scratch::~Scratch() {
  for (const auto& [name, fd] : files_) close(fd);
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

std::string Scratch::Write(const std::string& name, absl::string_view bytes) {
  std::string path = dir_ + "/" + name;
  const auto [file, is_new] = files_.try_emplace(name, -1);
  if (is_new) file->second = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  const auto size = static_cast<off_t>(bytes.size());
  Require(ftruncate(file->second, size) == 0 && pwrite(file->second, bytes.data(), bytes.size(), 0) == size,
          "a scratch file can be written");
  return path;
}

void ReadAll(VectorReader* reader) {
  Require(reader->dim() >= 0 && reader->rows() >= 0, "no number is below zero");
  std::optional<Key> first;
  int64_t rows = 0;
  while (true) {
    const absl::StatusOr<std::optional<StoredVector>> row = reader->Next();
    Saw(row.status());
    if (!row.ok()) return;
    if (!row->has_value()) break;
    Require((*row)->vector.size() == static_cast<size_t>(reader->dim()), "a vector has the reader's width");
    Require(++rows <= reader->rows(), "there are no more rows than the reader says");
    if (!first.has_value()) first = Own((*row)->key);
  }
  if (!first.has_value()) return;
  const absl::StatusOr<std::optional<StoredVector>> again = reader->Find(ViewOf(*first));
  Saw(again.status());
  Require(again.ok() && again->has_value() && (*again)->key == ViewOf(*first), "a row that is there is found");
}

void ReadAll(Source* source) {
  std::optional<Key> first, last;
  int64_t rows = 0;
  while (true) {
    const absl::StatusOr<std::optional<RowView>> row = source->Next();
    Saw(row.status());
    if (!row.ok()) return;
    if (!row->has_value()) break;
    ++rows;
    Saw((*row)->problem);
    last = Own((*row)->key);
    if (!first.has_value()) first = last;
  }
  const absl::StatusOr<int64_t> counted = source->CountRows();
  Require(counted.ok() && *counted == rows, "as many rows come as are counted");
  if (!first.has_value()) return;
  const absl::StatusOr<std::optional<RowView>> found = source->Find(ViewOf(*first));
  Require(found.ok() && found->has_value() && (*found)->key == ViewOf(*first), "a row that is there is found");
}

}  // namespace reembed::fuzz
