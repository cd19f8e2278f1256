// SPDX-License-Identifier: Apache-2.0
#include "io/file/vectors_json.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/number/json_scanner.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "engine/number/number_text.h"
#include "engine/status_macros.h"
#include "io/file/file.h"

namespace reembed {
namespace {

void Identify(const struct stat& file, uint64_t (&identity)[4]) {
  identity[0] = file.st_ino;
  identity[1] = static_cast<uint64_t>(file.st_size);
  identity[2] = static_cast<uint64_t>(file.st_mtim.tv_sec);
  identity[3] = static_cast<uint64_t>(file.st_mtim.tv_nsec);
}

// Reads the file's structure. Where it is false, scanner->position() is the place.
class Parser {
 public:
  using Collection = VectorsJson::Collection;
  using Entry = VectorsJson::Entry;

  explicit Parser(absl::string_view text) : text_(text), scanner_(text, JsonScanner::Numbers::kPython) {}

  bool Parse(std::vector<Collection>* collections) {
    return ForEachMember([&](absl::string_view key, std::string name) {
             Collection collection{.key = key, .name = std::move(name)};
             if (!ParseCollection(&collection)) return false;
             collections->push_back(std::move(collection));
             return true;
           }) &&
           scanner_.AtEnd();
  }

  size_t position() const { return scanner_.position(); }
  const std::string& problem() const { return problem_; }

 private:
  // Calls take(key with quotes, its text) behind each colon of the object that comes next.
  template <typename Take>
  bool ForEachMember(Take take) {
    if (!scanner_.Take('{')) return false;
    if (scanner_.Take('}')) return true;
    while (true) {
      absl::string_view key;
      if (!scanner_.TakeString(&key) || !scanner_.Take(':')) return false;
      const std::optional<absl::string_view> name = JsonString(key, &space_);
      if (!name.has_value() || !take(key, std::string(*name))) return false;
      if (scanner_.Take('}')) return true;
      if (!scanner_.Take(',')) return false;
    }
  }

  bool ParseCollection(Collection* collection) {
    // NOLINTNEXTLINE(performance-unnecessary-value-param): it goes into the table.
    return ForEachMember([&](absl::string_view key, std::string id) {
      Entry entry{.key = key};
      if (!ParseEntry(id, &entry)) return false;
      // Of two with one id, Python's reader has the last, at the place of the first.
      const auto [place, is_new] = collection->by_id.emplace(std::move(id), collection->entries.size());
      if (is_new) {
        collection->entries.push_back(entry);
      } else {
        collection->entries[place->second] = entry;
      }
      return true;
    });
  }

  bool ParseEntry(absl::string_view id, Entry* entry) {
    scanner_.Peek();
    const size_t begin = scanner_.position();
    const bool parsed = ForEachMember([&](absl::string_view, const std::string& name) {
      if (name == "vector") return ParseVector(entry);
      absl::string_view value;
      if (!scanner_.TakeValue(&value)) return false;
      if (name == "user_id") entry->user_id = value;
      if (name == "agent_id") entry->agent_id = value;
      if (name == "text") entry->text = value;
      return true;
    });
    if (!parsed) return false;
    entry->value = text_.substr(begin, scanner_.position() - begin);
    const char* const lacks = entry->user_id.empty()    ? "user_id"
                              : entry->agent_id.empty() ? "agent_id"
                              : entry->vector.empty()   ? "vector"
                                                        : nullptr;
    if (lacks != nullptr) problem_ = absl::StrCat("entry ", id, " has no `", lacks, "`");
    return lacks == nullptr;
  }

  bool ParseVector(Entry* entry) {
    const char first = scanner_.Peek();
    const size_t begin = scanner_.position();
    absl::string_view value;
    if (first == '[') {
      scanner_.Take('[');
      size_t numbers;
      bool all_numbers;
      if (!scanner_.TakeRestOfArray(&numbers, &all_numbers)) return false;
      entry->dim = all_numbers ? static_cast<int64_t>(numbers) : -1;
    } else {
      if (!scanner_.TakeValue(&value)) return false;
      entry->dim = value == "null" ? 0 : -1;
    }
    entry->vector = text_.substr(begin, scanner_.position() - begin);
    return true;
  }

  const absl::string_view text_;
  JsonScanner scanner_;
  std::string space_, problem_;
};

// The first `bytes` bytes of `file` in a file without a name in the same folder, which ends with the object. Where the
// file system can, blocks are shared. Nothing: there may be no such file, or there is no room for it.
// Errors: kUnavailable (the file became shorter meanwhile).
absl::StatusOr<File> NamelessCopy(const File& file, int64_t bytes) {
  const size_t slash = file.path().rfind('/');
  const std::string folder = slash == std::string::npos ? "." : file.path().substr(0, slash + 1);
  File copy(open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600), file.path());
  if (copy.fd() < 0) return File();
  for (int64_t done = 0; done < bytes;) {
    off_t from = done;
    off_t to = done;
    const ssize_t copied = copy_file_range(file.fd(), &from, copy.fd(), &to, static_cast<size_t>(bytes - done), 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied < 0) return File();
    if (copied == 0) {
      return absl::UnavailableError(
          absl::StrCat(file.path(), ": became shorter while it was read; stop MemU, then run this again"));
    }
    done += copied;
  }
  return copy;
}

}  // namespace

const VectorsJson::Entry* VectorsJson::Collection::Find(absl::string_view id) const {
  const auto found = by_id.find(std::string(id));
  return found == by_id.end() ? nullptr : &entries[found->second];
}

absl::StatusOr<std::unique_ptr<VectorsJson>> VectorsJson::Open(const std::string& path) {
  auto file = std::unique_ptr<VectorsJson>(new VectorsJson(path));
  ABSL_RETURN_IF_ERROR(file->Map());
  if (file->data_ == nullptr) return file;
  ABSL_RETURN_IF_ERROR(file->Parse());
  return file;
}

VectorsJson::~VectorsJson() {
  if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
}

absl::Status VectorsJson::Map() {
  ABSL_ASSIGN_OR_RETURN(const bool exists, PathExists(path_));
  if (!exists) return absl::OkStatus();
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(path_));
  struct stat info {};
  if (fstat(file.fd(), &info) != 0) return FileError(path_, "read its size", errno);
  Identify(info, identity_);
  if (info.st_size == 0) {
    return absl::DataLossError(absl::StrCat(path_, ": is empty; restore a copy, or remove it to start anew"));
  }
  // Whoever cuts a file short that is mapped ends the process that mapped it: nobody can do so to a nameless copy.
  ABSL_ASSIGN_OR_RETURN(const File copy, NamelessCopy(file, info.st_size));
  const int fd = copy.fd() < 0 ? file.fd() : copy.fd();
  void* const mapped = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (mapped == MAP_FAILED) return FileError(path_, "map it", errno);
  data_ = static_cast<const char*>(mapped);
  size_ = static_cast<size_t>(info.st_size);
  return absl::OkStatus();
}

absl::Status VectorsJson::Parse() {
  Parser parser({data_, size_});
  if (parser.Parse(&collections_)) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(
      path_, ": byte ", parser.position(), ": ",
      parser.problem().empty() ? "expected an object of collections of entries, as MemU writes it" : parser.problem(),
      "; MemU forgets every vector when it loads such a file: restore a copy, or repair the place by hand"));
}

const VectorsJson::Collection* VectorsJson::Find(absl::string_view name) const {
  for (const Collection& collection : collections_) {
    if (collection.name == name) return &collection;
  }
  return nullptr;
}

bool VectorsJson::HasChanged() const {
  struct stat info {};
  uint64_t now[4] = {};
  if (stat(path_.c_str(), &info) == 0) Identify(info, now);
  for (int i = 0; i < 4; ++i) {
    if (now[i] != identity_[i]) return true;
  }
  return false;
}

void AppendVectorsJsonEntry(absl::string_view user_id, absl::string_view agent_id, absl::Span<const float> vector,
                            absl::string_view text_token, std::string* out) {
  out->append("{\n      \"user_id\": ");
  AppendAsciiJsonString(user_id, out);
  out->append(",\n      \"agent_id\": ");
  AppendAsciiJsonString(agent_id, out);
  out->append(",\n      \"vector\": [");
  for (size_t i = 0; i < vector.size(); ++i) {
    out->append(i == 0 ? "\n        " : ",\n        ");
    AppendPythonNumber(vector[i], out);
  }
  out->append("\n      ],\n      \"text\": ");
  out->append(text_token.data(), text_token.size());
  out->append("\n    }");
}

}  // namespace reembed
