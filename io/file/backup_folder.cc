// SPDX-License-Identifier: Apache-2.0
#include "io/file/backup_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/ledger.h"
#include "engine/number/json_reader.h"
#include "engine/number/json_text.h"
#include "engine/number/json_value.h"
#include "engine/number/json_writer.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/mapped_file.h"
#include "io/file/own_file.h"
#include "io/job/ledger_hash.h"

namespace reembed {
namespace {

namespace fs = std::filesystem;

constexpr char kManifest[] = "/manifest.json";
constexpr char kLock[] = "/lock";
// Stands last in the manifest and covers what is before it: the places that `restore` writes to are in there.
constexpr char kOwnHash[] = ",\n \"manifest_xxh3_128\":";

// The owner's alone: it holds all the texts.
absl::Status MakeFolder(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return absl::OkStatus();
  return FileError(path, "make the folder", errno);
}

bool IsEmptyFolder(const std::string& path) {
  std::error_code failed;
  return fs::is_directory(path, failed) && fs::is_empty(path, failed) && !failed;
}

std::string HashOf(absl::string_view bytes) {
  const std::array<char, 16> hash = EncodeHash(HashText(bytes));
  return absl::BytesToHexString(absl::string_view(hash.data(), hash.size()));
}

// One part a line, for people who look into it.
std::string ManifestJson(const BackupManifest& manifest) {
  std::string json = absl::StrCat(
      "{\"format\":", kBackupFormat, ",\n \"program\":", JsonQuoted(manifest.program),
      ",\n \"system\":", JsonQuoted(manifest.system),
      ",\n \"made\":", JsonQuoted(absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", manifest.made, absl::UTCTimeZone())),
      ",\n \"parts\":[");
  for (size_t i = 0; i < manifest.parts.size(); ++i) {
    const BackupPart& part = manifest.parts[i];
    JsonWriter rows, object;
    for (const auto& [name, count] : part.rows) rows.Add(name, count);
    object.Add("file", part.file)
        .Add("kind", part.kind)
        .Add("origin", part.origin)
        .Add("bytes", part.bytes)
        .Add("xxh3_128", part.hash)
        .AddRaw("rows", rows.ToString());
    absl::StrAppend(&json, i == 0 ? "\n  " : ",\n  ", object.ToString());
  }
  json += "]";
  const std::string hash = HashOf(json);
  return absl::StrCat(json, kOwnHash, JsonQuoted(hash), "}\n");
}

// Whether the manifest ends with the hash of what stands before it.
bool HasItsHash(absl::string_view json) {
  const size_t at = json.rfind(kOwnHash);
  return at != absl::string_view::npos &&
         absl::StartsWith(json.substr(at), absl::StrCat(kOwnHash, JsonQuoted(HashOf(json.substr(0, at)))));
}

// Who else can have written what lies at `path`; empty: nobody.
std::string OtherWriters(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return "";
  if (info.st_uid != geteuid() && info.st_uid != 0) return absl::StrCat(path, " belongs to another user");
  const bool open = (info.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (info.st_mode & S_ISVTX) == 0;
  return open ? absl::StrCat("others may write to ", path) : "";
}

bool TakePart(absl::string_view json, BackupPart* part) {
  const std::optional<JsonObject> object = JsonObject::Parse(json);
  if (!object.has_value() || !object->Take("file", &part->file) || !object->Take("kind", &part->kind) ||
      !object->Take("origin", &part->origin) || !object->Take("xxh3_128", &part->hash) ||
      !object->Take("bytes", &part->bytes)) {
    return false;
  }
  const std::optional<JsonObject> rows = JsonObject::Parse(object->Raw("rows"));
  if (!rows.has_value()) return false;
  for (const auto& [name, count] : rows->members()) {
    const std::optional<int64_t> number = JsonInteger(count);
    if (!number.has_value()) return false;
    part->rows.emplace_back(name, *number);
  }
  // Nothing outside the folder is ever meant, nor the folder.
  return !part->file.empty() && !fs::path(part->file).is_absolute() && part->file.find("..") == std::string::npos;
}

}  // namespace

absl::StatusOr<std::string> HashFile(const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return HashOf(file.bytes());
}

absl::StatusOr<std::unique_ptr<BackupFolder>> BackupFolder::Make(const std::string& dir) {
  std::string name = dir;
  while (name.size() > 1 && name.back() == '/') name.pop_back();
  ABSL_ASSIGN_OR_RETURN(const bool exists, PathExists(name));
  if (exists && !IsEmptyFolder(name)) {
    return absl::AlreadyExistsError(
        absl::StrCat(name, ": exists already, and a backup never overwrites another; name a new folder"));
  }
  std::unique_ptr<BackupFolder> folder(new BackupFolder(name, name + ".partial"));
  const std::string& partial = folder->partial_;
  folder->finished_ = true;  // what is there may be another process's, until the lock is ours
  std::error_code failed;
  fs::create_directories(fs::absolute(name).parent_path(), failed);
  ABSL_RETURN_IF_ERROR(MakeFolder(partial));
  ABSL_ASSIGN_OR_RETURN(folder->lock_, JobLock::Acquire(partial + kLock));
  folder->finished_ = false;
  // What a process left here that died.
  for (const fs::directory_entry& entry : fs::directory_iterator(partial, failed)) {
    if (entry.path().filename() != "lock") fs::remove_all(entry.path(), failed);
    if (failed) return FileError(entry.path().string(), "remove", failed.value());
  }
  return folder;
}

BackupFolder::~BackupFolder() {
  if (finished_) return;
  std::error_code ignored;
  fs::remove_all(partial_, ignored);
}

absl::StatusOr<std::string> BackupFolder::PathOf(const std::string& file) const {
  std::string path = partial_;
  for (const fs::path& piece : fs::path(file).parent_path()) {
    absl::StrAppend(&path, "/", piece.string());
    ABSL_RETURN_IF_ERROR(MakeFolder(path));
  }
  return absl::StrCat(partial_, "/", file);
}

absl::Status BackupFolder::Add(BackupPart part) {
  const std::string path = absl::StrCat(partial_, "/", part.file);
  {
    ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToWrite(path));
    ABSL_ASSIGN_OR_RETURN(part.bytes, file.Size());
    ABSL_RETURN_IF_ERROR(file.Sync());
  }
  ABSL_ASSIGN_OR_RETURN(part.hash, HashFile(path));
  ABSL_RETURN_IF_ERROR(SyncFolderOf(path));
  parts_.push_back(std::move(part));
  return absl::OkStatus();
}

absl::StatusOr<BackupManifest> BackupFolder::Finish(const std::string& program, const std::string& system) {
  BackupManifest manifest{.program = program, .system = system, .made = absl::Now(), .parts = parts_};
  const std::string path = partial_ + kManifest;
  ABSL_RETURN_IF_ERROR(ReplaceOwnFile(path, ManifestJson(manifest)));
  // The lock is held by the open file, which needs no name any more.
  if (unlink((partial_ + kLock).c_str()) != 0) return FileError(partial_ + kLock, "remove", errno);
  ABSL_RETURN_IF_ERROR(SyncFolderOf(path));
  ABSL_RETURN_IF_ERROR(RenameDurably(partial_, dir_));
  finished_ = true;
  return manifest;
}

absl::StatusOr<BackupManifest> ReadBackupManifest(const std::string& dir) {
  if (std::error_code ignored; fs::is_regular_file(dir, ignored)) {
    return absl::InvalidArgumentError(
        absl::StrCat(dir, ": is a file, and a backup is a folder; name that, and unpack an archive first"));
  }
  const std::string path = dir + kManifest;
  const absl::StatusOr<MappedFile> file = MappedFile::Open(path);
  if (absl::IsNotFound(file.status())) {
    const absl::StatusOr<bool> partial = PathExists(dir + ".partial");
    return absl::NotFoundError(absl::StrCat(dir, ": holds no backup (no manifest.json)",
                                            partial.ok() && *partial ? "; a backup into it was begun but not finished"
                                                                     : "; name the folder that `reembed backup` made"));
  }
  ABSL_RETURN_IF_ERROR(file.status());
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(path, ": ", what, "; this backup cannot be trusted"));
  };
  const absl::string_view json = file->bytes();
  const std::optional<JsonObject> root = JsonObject::Parse(json);
  if (!root.has_value()) return damaged("is not JSON");
  int64_t format = 0;
  if (!root->Take("format", &format)) return damaged("names no format");
  if (format > kBackupFormat) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": has format ", format, ", and this program knows ",
                                                      kBackupFormat, "; a newer version of reembed reads it"));
  }
  BackupManifest manifest;
  std::string made;
  const std::optional<std::vector<absl::string_view>> parts = JsonElements(root->Raw("parts"));
  if (!root->Take("program", &manifest.program) || !root->Take("system", &manifest.system) ||
      !root->Take("made", &made) || !parts.has_value() ||
      !absl::ParseTime(absl::RFC3339_full, made, &manifest.made, nullptr)) {
    return damaged("lacks a name that it must have");
  }
  for (const absl::string_view each : *parts) {
    BackupPart part;
    if (!TakePart(each, &part)) return damaged("has a part that is not whole");
    manifest.parts.push_back(std::move(part));
  }
  std::string hash;
  const bool has_hash = root->Take("manifest_xxh3_128", &hash);
  if (has_hash && !HasItsHash(json)) return damaged("was changed since it was written");
  if (!has_hash) manifest.doubt = absl::StrCat(path, " has no checksum");
  for (const std::string& each : {dir, path}) {
    if (const std::string others = OtherWriters(each); !others.empty()) manifest.doubt = others;
  }
  return manifest;
}

absl::Status CheckBackupPart(const std::string& dir, const BackupPart& part) {
  const std::string path = absl::StrCat(dir, "/", part.file);
  ABSL_ASSIGN_OR_RETURN(const File file, File::OpenToRead(path));
  ABSL_ASSIGN_OR_RETURN(const int64_t bytes, file.Size());
  if (bytes != part.bytes) {
    return absl::DataLossError(absl::StrCat(path, ": expected ", part.bytes, " bytes as the manifest says, got ", bytes,
                                            "; this backup cannot be trusted"));
  }
  ABSL_ASSIGN_OR_RETURN(const std::string hash, HashFile(path));
  if (hash == part.hash) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": its bytes are not those that were written (XXH3-128 ", hash,
                                          ", expected ", part.hash, "); this backup cannot be trusted"));
}

}  // namespace reembed
