// SPDX-License-Identifier: Apache-2.0
#include "index/index_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/number/json_text.h"
#include "engine/status_macros.h"
#include "index/flat_json.h"

namespace reembed {
namespace {

constexpr int64_t kFormat = 3;
constexpr int64_t kFormatOfOneFile = 2;
constexpr int64_t kOldestFormat = 1;
constexpr int64_t kLongestDescription = 1 << 20;

absl::Status FileError(absl::string_view what, const std::string& path) {
  const int error = errno;
  // A limit of the file system or of the user is a want of room, too, and goes away like one.
  if (error == EFBIG) {
    return absl::ResourceExhaustedError(absl::StrCat(path, ": cannot ", what, ": ", std::strerror(error)));
  }
  return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot ", what));
}

struct FileCloser {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, FileCloser>;

// Hands the file to `use` in pieces. Errors: kNotFound, kDataLoss (longer than `most_bytes`), and those of the system.
template <typename Use>
absl::Status ReadPieces(const std::string& path, int64_t most_bytes, const Use& use) {
  const File file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return FileError("open", path);
  constexpr int64_t kLeastAtOnce = 4096, kMostAtOnce = int64_t{1} << 20;
  struct stat info;
  const int64_t size = fstat(fileno(file.get()), &info) == 0 ? info.st_size : 0;
  std::vector<char> piece(static_cast<size_t>(std::clamp(size, kLeastAtOnce, kMostAtOnce)));
  int64_t total = 0;
  for (;;) {
    const size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    if (got == 0) break;
    total += static_cast<int64_t>(got);
    if (total > most_bytes) {
      return absl::DataLossError(absl::StrCat(path, ": expected at most ", most_bytes, " bytes, got more"));
    }
    use(absl::string_view(piece.data(), got));
  }
  if (std::ferror(file.get()) != 0) return FileError("read", path);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, int64_t most_bytes) {
  std::string content;
  ABSL_RETURN_IF_ERROR(
      ReadPieces(path, most_bytes, [&](absl::string_view piece) { absl::StrAppend(&content, piece); }));
  return content;
}

absl::Status CheckMark(const std::string& path, const FileMark& got, const FileMark& expected) {
  if (got == expected) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      path, ": expected ", expected.bytes, " bytes with checksum ", absl::Hex(expected.checksum, absl::kZeroPad16),
      ", got ", got.bytes, " bytes with ", absl::Hex(got.checksum, absl::kZeroPad16),
      "; the file is damaged or of another build than its description, build the index again"));
}

// Fields of a description that is being read; remembers whether all were there.
class Fields {
 public:
  explicit Fields(const FlatJson& object) : object_(object) {}

  template <typename T>
  T Get(const char* name) {
    const auto found = object_.find(name);
    ++wanted_;
    if (found != object_.end() && std::holds_alternative<T>(found->second)) return std::get<T>(found->second);
    complete_ = false;
    return T();
  }

  // A number that cannot be negative.
  int64_t Count(const char* name) {
    const auto count = Get<int64_t>(name);
    complete_ = complete_ && count >= 0;
    return count;
  }

  int SmallCount(const char* name) {
    const int64_t count = Count(name);
    complete_ = complete_ && count <= INT32_MAX;
    return static_cast<int>(count);
  }

  FileMark Mark(const char* bytes, const char* checksum) {
    const int64_t size = Count(bytes);
    return {.bytes = size, .checksum = Hex(checksum)};
  }

  uint64_t Hex(const char* name) {
    uint64_t number = 0;
    complete_ = absl::SimpleHexAtoi(Get<std::string>(name), &number) && complete_;
    return number;
  }

  // From 0 to 1; a whole number may stand for a fraction.
  double Share(const char* name) {
    const auto found = object_.find(name);
    const bool whole = found != object_.end() && std::holds_alternative<int64_t>(found->second);
    const double share = whole ? static_cast<double>(Get<int64_t>(name)) : Get<double>(name);
    complete_ = complete_ && share >= 0 && share <= 1;
    return share;
  }

  bool Has(const char* name) const { return object_.contains(name); }
  // All that were asked for are there, and no other.
  bool complete() const { return complete_ && wanted_ == object_.size(); }

 private:
  const FlatJson& object_;
  size_t wanted_ = 0;
  bool complete_ = true;
};

}  // namespace

IndexPaths::IndexPaths(absl::string_view path)
    : index(path), description(absl::StrCat(path, ".json")), keys(absl::StrCat(path, ".keys.jsonl")) {}

void Checksum::AddBlock(const unsigned char* block) {
  // Each step is reversible in the lane, so two inputs that differ in one word leave two different lanes.
  constexpr uint64_t kOdd = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio, Knuth's multiplier
  for (int i = 0; i < kLanes; ++i) {
    uint64_t word;
    std::memcpy(&word, block + static_cast<size_t>(i) * 8, 8);
    lanes_[i] = std::rotl((lanes_[i] ^ word) * kOdd, 29);
  }
}

void Checksum::Add(const void* bytes, size_t size) {
  const auto* from = static_cast<const unsigned char*>(bytes);
  const size_t filled = size_ % sizeof open_;
  size_ += size;
  if (filled > 0) {
    const size_t fits = std::min(size, sizeof open_ - filled);
    std::memcpy(open_ + filled, from, fits);
    from += fits;
    size -= fits;
    if (filled + fits < sizeof open_) return;
    AddBlock(open_);
  }
  for (; size >= sizeof open_; size -= sizeof open_, from += sizeof open_) AddBlock(from);
  if (size > 0) std::memcpy(open_, from, size);
}

uint64_t Checksum::Value() const {
  Checksum last = *this;
  const size_t filled = size_ % sizeof open_;
  std::memset(last.open_ + filled, 0, sizeof open_ - filled);
  last.AddBlock(last.open_);
  uint64_t value = size_;
  for (const uint64_t lane : last.lanes_) value = std::rotl((value ^ lane) * 0xD6E8FEB86659FD93, 32);
  return value;
}

namespace {

// A description ends with the checksum of all before it.
constexpr absl::string_view kOwnChecksum = ",\n  \"checksum\": \"";

std::string ChecksumText(absl::string_view bytes) {
  Checksum checksum;
  checksum.Add(bytes.data(), bytes.size());
  return absl::StrCat(absl::Hex(checksum.Value(), absl::kZeroPad16));
}

}  // namespace

std::string DescriptionJson(const IndexDescription& d) {
  std::string json;
  const auto name = [&json](absl::string_view field) { absl::StrAppend(&json, "  \"", field, "\": "); };
  const auto text = [&](absl::string_view field, absl::string_view value) {
    name(field);
    AppendJsonString(value, &json);
    json.append(",\n");
  };
  const auto number = [&](absl::string_view field, int64_t value) {
    name(field);
    absl::StrAppend(&json, value, ",\n");
  };
  const auto mark = [&](absl::string_view file, const FileMark& value) {
    number(absl::StrCat(file, "_bytes"), value.bytes);
    text(absl::StrCat(file, "_checksum"), absl::StrCat(absl::Hex(value.checksum, absl::kZeroPad16)));
  };
  json.append("{\n");
  number("format", d.shards > 0 ? kFormat : kFormatOfOneFile);
  text("model", d.model.name);
  number("dim", d.model.dim);
  text("metric", MetricName(d.metric));
  text("asked_factory", d.asked_factory);
  text("factory", d.factory);
  number("rows", d.rows);
  number("trained_rows", d.trained_rows);
  text("ids", d.id_kind == IdKind::kKey ? "key" : "ordinal");
  text("faiss_version", d.faiss_version);
  text("source", d.source);
  text("built_from", d.built_from);
  number("seed", d.seed);
  number("ef_construction", d.ef_construction);
  text("fingerprint", absl::StrCat(absl::Hex(d.fingerprint, absl::kZeroPad16)));
  number("nprobe", d.nprobe);
  number("ef_search", d.ef_search);
  name("recall_at_10");
  absl::StrAppend(&json, d.recall_at_10, ",\n");
  number("recall_queries", d.recall_queries);
  text("reembed_version", d.reembed_version);
  name("mapped");
  absl::StrAppend(&json, d.is_mapped ? "true" : "false", ",\n");
  if (d.shards > 0) number("shards", d.shards);
  mark("index", d.index_file);
  mark("keys", d.keys_file);
  name("normalized");
  absl::StrAppend(&json, d.metric == Metric::kCosine ? "true" : "false");
  return absl::StrCat(json, kOwnChecksum, ChecksumText(json), "\"\n}\n");
}

absl::StatusOr<IndexDescription> ReadDescription(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const std::string json, ReadWholeFile(path, kLongestDescription));
  const absl::StatusOr<FlatJson> object = ParseFlatJson(json);
  if (!object.ok()) return absl::DataLossError(absl::StrCat(path, ": ", object.status().message()));
  Fields fields(*object);
  const auto format = fields.Get<int64_t>("format");
  if (format < kOldestFormat || format > kFormat) {
    return absl::DataLossError(absl::StrCat(
        path, ": expected the description of an index in format ", kOldestFormat, " to ", kFormat, ", got ",
        format == 0 ? "no format" : absl::StrCat("format ", format), format > kFormat ? "; update reembed" : ""));
  }
  IndexDescription d;
  d.model.name = fields.Get<std::string>("model");
  const int64_t dim = fields.Count("dim");
  const absl::StatusOr<Metric> metric = ParseMetric(fields.Get<std::string>("metric"));
  d.asked_factory = fields.Get<std::string>("asked_factory");
  d.factory = fields.Get<std::string>("factory");
  d.rows = fields.Count("rows");
  d.trained_rows = fields.Count("trained_rows");
  const auto ids = fields.Get<std::string>("ids");
  d.faiss_version = fields.Get<std::string>("faiss_version");
  d.source = fields.Get<std::string>("source");
  if (format > 1) {
    d.built_from = fields.Get<std::string>("built_from");
    d.seed = fields.Count("seed");
    d.ef_construction = fields.SmallCount("ef_construction");
    d.fingerprint = fields.Hex("fingerprint");
    d.nprobe = fields.SmallCount("nprobe");
    d.ef_search = fields.SmallCount("ef_search");
    d.recall_at_10 = fields.Share("recall_at_10");
    d.recall_queries = fields.Count("recall_queries");
    d.reembed_version = fields.Get<std::string>("reembed_version");
    d.is_mapped = fields.Get<bool>("mapped");
  }
  if (format > kFormatOfOneFile) d.shards = fields.Count("shards");
  d.index_file = fields.Mark("index_bytes", "index_checksum");
  d.keys_file = fields.Mark("keys_bytes", "keys_checksum");
  const auto normalized = fields.Get<bool>("normalized");
  if (fields.Has("checksum")) {  // earlier versions wrote none
    const std::string expected = fields.Get<std::string>("checksum");
    const absl::string_view before = absl::string_view(json).substr(0, absl::string_view(json).rfind(kOwnChecksum));
    if (const std::string got = ChecksumText(before); got != expected) {
      return absl::DataLossError(absl::StrCat(path, ": expected a description with checksum ",
                                              absl::CHexEscape(expected), ", got one with ", got,
                                              "; it was changed or is damaged, build the index again"));
    }
  }
  const bool fits_format = (format > kFormatOfOneFile) == (d.shards > 0);
  if (!fits_format || !fields.complete() || !metric.ok() || dim < 1 || dim > INT32_MAX ||
      (ids != "key" && ids != "ordinal") || normalized != (*metric == Metric::kCosine)) {
    return absl::DataLossError(
        absl::StrCat(path, ": expected the description of an index, got fields that do not fit"));
  }
  d.model.dim = static_cast<int>(dim);
  d.metric = *metric;
  d.id_kind = ids == "key" ? IdKind::kKey : IdKind::kOrdinal;
  return d;
}

absl::Status CheckFile(const std::string& path, const FileMark& mark) {
  Checksum checksum;
  FileMark got;
  ABSL_RETURN_IF_ERROR(ReadPieces(path, INT64_MAX, [&](absl::string_view piece) {
    checksum.Add(piece.data(), piece.size());
    got.bytes += static_cast<int64_t>(piece.size());
  }));
  got.checksum = checksum.Value();
  return CheckMark(path, got, mark);
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
  struct stat info;
  const bool is_open = descriptor >= 0 && fstat(descriptor, &info) == 0;
  if ((!is_open && errno == ELOOP) || (is_open && S_ISREG(info.st_mode) && info.st_nlink > 1)) {
    if (descriptor >= 0) close(descriptor);
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected a file of its own, or nothing, got a link; it is not written to: move it ", "away"));
  }
  std::FILE* const file =
      is_open && (!S_ISREG(info.st_mode) || ftruncate(descriptor, 0) == 0) ? fdopen(descriptor, "wb") : nullptr;
  if (file == nullptr) {
    const absl::Status failed = FileError("create", path);
    if (descriptor >= 0) close(descriptor);
    return failed;
  }
  return std::unique_ptr<OutputFile>(new OutputFile(path, file));
}

OutputFile::~OutputFile() {
  if (file_ != nullptr) std::fclose(file_);
}

bool OutputFile::Write(const void* bytes, size_t size) {
  if (size == 0 || !status_.ok()) return status_.ok();
  if (std::fwrite(bytes, 1, size, file_) != size) {
    status_ = FileError(absl::StrCat("write ", size, " more bytes"), path_);
    return false;
  }
  checksum_.Add(bytes, size);
  bytes_ += static_cast<int64_t>(size);
  return true;
}

absl::StatusOr<FileMark> OutputFile::Close() {
  if (status_.ok() && std::fflush(file_) != 0) status_ = FileError("write", path_);
  if (status_.ok() && fsync(fileno(file_)) != 0) status_ = FileError("sync", path_);
  if (std::fclose(std::exchange(file_, nullptr)) != 0 && status_.ok()) status_ = FileError("close", path_);
  ABSL_RETURN_IF_ERROR(status_);
  return FileMark{.bytes = bytes_, .checksum = checksum_.Value()};
}

absl::StatusOr<FileMark> WriteWholeFile(const std::string& path, absl::string_view content) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  // A failed write is told by Close().
  static_cast<void>(file->Write(content.data(), content.size()));
  return file->Close();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return FileError("open", directory);
  absl::Status status;
  if (fsync(descriptor) != 0) status = FileError("sync", directory);
  close(descriptor);
  return status;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) { return ReadWholeFile(path, kLongestDescription); }

absl::StatusOr<std::string> ReadMarkedFile(const std::string& path, const FileMark& mark) {
  absl::StatusOr<std::string> content = ReadWholeFile(path, mark.bytes);
  ABSL_RETURN_IF_ERROR(content.status());
  Checksum checksum;
  checksum.Add(content->data(), content->size());
  const FileMark got{.bytes = static_cast<int64_t>(content->size()), .checksum = checksum.Value()};
  ABSL_RETURN_IF_ERROR(CheckMark(path, got, mark));
  return content;
}

absl::StatusOr<KeyTable> KeyTable::Read(const std::string& path, const FileMark& mark) {
  ABSL_ASSIGN_OR_RETURN(const std::string content, ReadMarkedFile(path, mark));
  KeyTable table;
  for (const absl::string_view line : absl::StrSplit(content, '\n', absl::SkipEmpty())) {
    const FlatJson object = ParseFlatJson(line).value_or(FlatJson());
    Fields fields(object);
    const int64_t id = fields.Count("id");
    const auto key = fields.Get<std::string>("key");
    if (!fields.complete() || (!table.ids_.empty() && id <= table.ids_.back())) {
      return absl::DataLossError(absl::StrCat(path, ": line ", table.ids_.size() + 1,
                                              ": expected {\"id\":12,\"key\":\"abc\"} with ascending ids"));
    }
    table.ids_.push_back(id);
    table.text_.append(key);
    table.begins_.push_back(table.text_.size());
  }
  return table;
}

void KeyTable::AppendLine(int64_t id, absl::string_view key, std::string* lines) {
  absl::StrAppend(lines, "{\"id\":", id, ",\"key\":");
  AppendJsonString(key, lines);
  lines->append("}\n");
}

int64_t KeyTable::FindId(int64_t id) const {
  const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
  return found != ids_.end() && *found == id ? found - ids_.begin() : -1;
}

}  // namespace reembed
