// SPDX-License-Identifier: Apache-2.0
#include "io/file/hdf5_file.h"

#include <hdf5.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/location.h"
#include "engine/status_macros.h"
#include "io/file/file.h"
#include "io/file/hdf5_call.h"
#include "io/file/hdf5_read_driver.h"

namespace reembed {
namespace {

// A message names no more datasets than this.
constexpr size_t kMaxNames = 32;

herr_t AddDatasetName(hid_t group, const char* name, const H5L_info_t* link, void* to) {
  auto* const names = static_cast<std::vector<std::string>*>(to);
  H5O_info_t object;
  // A soft or external link may lead nowhere.
  if (link->type == H5L_TYPE_ERROR || H5Oget_info_by_name(group, name, &object, H5P_DEFAULT) < 0) return 0;
  if (object.type == H5O_TYPE_DATASET) names->push_back(name);
  return names->size() < kMaxNames ? 0 : 1;
}

hid_t NewTypeOf(Hdf5Kind kind) {
  if (kind == Hdf5Kind::kFloats) return H5Tcopy(H5T_IEEE_F32LE);
  if (kind == Hdf5Kind::kIntegers) return H5Tcopy(H5T_STD_I64LE);
  const hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

[[nodiscard]] bool WriteAttribute(hid_t file, const std::string& name, hid_t type, const void* value) {
  const Hdf5Id space(H5Screate(H5S_SCALAR));
  const Hdf5Id attribute(H5Acreate2(file, name.c_str(), type, space.get(), H5P_DEFAULT, H5P_DEFAULT));
  return attribute.ok() && H5Awrite(attribute.get(), type, value) >= 0;
}

// Refuses what the library's family and multi drivers have made: the rows lie in several files. Their superblock
// (version 0 or 1, HDF5 File Format Specification III.A) has the address of a driver information block, which one file
// alone has not. The library takes memory for that block as it says, before it knows how long the file is.
absl::Status CheckOneFile(const std::string& path) {
  constexpr absl::string_view kSignature("\x89HDF\r\n\x1a\n", 8);
  constexpr int64_t kFirstUserBlock = 512;
  constexpr size_t kVersion = 8, kAddressBytes = 13;
  constexpr size_t kAddresses[] = {24, 28};  // where they begin, by version: three others, then the one we look for
  absl::StatusOr<File> file = File::OpenToRead(path);
  if (!file.ok() || !file->IsRegular()) return absl::OkStatus();  // the library says more
  ABSL_ASSIGN_OR_RETURN(const int64_t size, file->Size());
  char head[kAddresses[1] + size_t{4} * 8] = {};
  // Of user blocks the library knows those of 512 bytes times a power of two.
  for (int64_t begin = 0; begin < size; begin = begin == 0 ? kFirstUserBlock : 2 * begin) {
    ABSL_ASSIGN_OR_RETURN(const size_t got, file->ReadAt(begin, absl::MakeSpan(head)));
    if (absl::string_view(head, got).substr(0, kSignature.size()) != kSignature) continue;
    const auto version = static_cast<unsigned char>(head[kVersion]);
    const auto width = static_cast<size_t>(static_cast<unsigned char>(head[kAddressBytes]));
    if (version > 1 || width > 8 || kAddresses[version] + 4 * width > got) return absl::OkStatus();
    const absl::string_view driver(head + kAddresses[version] + 3 * width, width);
    if (driver.find_first_not_of('\xff') == absl::string_view::npos) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": is one of the files that HDF5's family or multi driver makes, or damaged; copy them into one file "
        "first, for example with h5repart"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::string_view NameOf(Hdf5Kind kind) {
  switch (kind) {
    case Hdf5Kind::kFloats:
      return "floats";
    case Hdf5Kind::kIntegers:
      return "integers";
    case Hdf5Kind::kTexts:
      return "strings";
    case Hdf5Kind::kOther:
      break;
  }
  return "something else";
}

absl::StatusOr<std::unique_ptr<Hdf5File>> Hdf5File::Open(const std::string& path, Access access) {
  ABSL_RETURN_IF_ERROR(CheckOneFile(path));
  const Hdf5Call call;
  const bool reads = access == Access::kRead;
  const Hdf5Id reading(reads ? NewHdf5ReadAccess() : -1);
  const hid_t id =
      H5Fopen(path.c_str(), reads ? H5F_ACC_RDONLY : H5F_ACC_RDWR, reading.ok() ? reading.get() : H5P_DEFAULT);
  if (id < 0) return call.Error(path, "open", absl::StatusCode::kDataLoss);
  return std::unique_ptr<Hdf5File>(new Hdf5File(id, path));
}

absl::StatusOr<std::unique_ptr<Hdf5File>> Hdf5File::Create(const std::string& path) {
  // The library does not replace a file that is still open, see ~Hdf5File(); a new one by the same name it does not
  // mind.
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && (!S_ISREG(info.st_mode) || info.st_nlink > 1)) return NotOursError(path);
  if (unlink(path.c_str()) != 0 && errno != ENOENT) return FileError(path, "replace", errno);
  const Hdf5Call call;
  const hid_t id = H5Fcreate(path.c_str(), H5F_ACC_EXCL, H5P_DEFAULT, H5P_DEFAULT);
  if (id < 0) return call.Error(path, "make the file", absl::StatusCode::kInternal);
  return std::unique_ptr<Hdf5File>(new Hdf5File(id, path));
}

Hdf5File::~Hdf5File() {
  const Hdf5Call call;
  // When closing cannot write, the library frees the file and keeps its identifier, which ends in a crash. A file that
  // cannot be written therefore stays open.
  if (H5Fflush(id_, H5F_SCOPE_LOCAL) >= 0) H5Fclose(id_);
}

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5File::DatasetOrNull(const std::string& name) const {
  int64_t id;
  {
    const Hdf5Call call;
    // "a/b" needs "a" first: the library calls it an error to ask for both at once.
    for (size_t slash = 0; slash != std::string::npos;) {
      slash = name.find('/', slash + 1);
      const std::string part = name.substr(0, slash);
      const htri_t exists = part.empty() ? 0 : H5Lexists(id_, part.c_str(), H5P_DEFAULT);
      if (exists < 0) {
        return call.Error(path_, absl::StrCat("look for the dataset `", name, "`"), absl::StatusCode::kDataLoss);
      }
      if (exists == 0) return nullptr;
    }
    id = H5Dopen2(id_, name.c_str(), H5P_DEFAULT);
    H5L_info_t link;
    if (id < 0 && H5Oexists_by_name(id_, name.c_str(), H5P_DEFAULT) <= 0 &&
        H5Lget_info(id_, name.c_str(), &link, H5P_DEFAULT) >= 0 && link.type != H5L_TYPE_HARD) {
      return absl::NotFoundError(
          absl::StrCat(path_, ": `", name, "` is a link to a dataset or a file that is not there"));
    }
    if (id < 0) return call.Error(path_, absl::StrCat("open the dataset `", name, "`"), absl::StatusCode::kDataLoss);
  }
  return Hdf5Dataset::Take(id, path_, name);
}

std::vector<std::string> Hdf5File::DatasetNames() const {
  const Hdf5Call call;
  std::vector<std::string> names;
  H5Literate(id_, H5_INDEX_NAME, H5_ITER_INC, nullptr, AddDatasetName, &names);
  return names;
}

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5File::Dataset(const std::string& name) const {
  absl::StatusOr<std::unique_ptr<Hdf5Dataset>> dataset = DatasetOrNull(name);
  if (!dataset.ok() || *dataset != nullptr) return dataset;
  const std::vector<std::string> names = DatasetNames();
  const std::string near = NearestName(name, names);
  return absl::NotFoundError(absl::StrCat(
      path_, ": there is no dataset `", name, "`", near.empty() ? "" : absl::StrCat(" (did you mean `", near, "`?)"),
      names.empty() ? "; it has none" : absl::StrCat("; it has ", absl::StrJoin(names, ", "))));
}

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5File::AddDataset(const std::string& name, Hdf5Kind kind,
                                                                  int64_t chunk_rows, int64_t columns) {
  // WriteChunk() writes whole chunks: filling them before would write them twice.
  return Add(
      name, [kind] { return NewTypeOf(kind); }, kind != Hdf5Kind::kFloats, chunk_rows, columns);
}

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5File::AddMatrix(const std::string& name, OutputType type,
                                                                 int64_t chunk_rows, int64_t columns) {
  return Add(
      name, [type] { return NewHdf5Type(type); }, false, chunk_rows, columns);
}

absl::StatusOr<std::unique_ptr<Hdf5Dataset>> Hdf5File::Add(const std::string& name,
                                                           absl::FunctionRef<int64_t()> new_type, bool fills,
                                                           int64_t chunk_rows, int64_t columns) {
  int64_t id;
  {
    const Hdf5Call call;
    const int dimensions = columns == 0 ? 1 : 2;
    const hsize_t width = static_cast<hsize_t>(columns);
    const hsize_t none[] = {0, width};
    const hsize_t most[] = {H5S_UNLIMITED, width};
    const hsize_t chunk[] = {static_cast<hsize_t>(chunk_rows), width};
    const Hdf5Id type(new_type());
    const Hdf5Id space(H5Screate_simple(dimensions, none, most));
    const Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE));
    H5Pset_chunk(properties.get(), dimensions, chunk);
    if (!fills) H5Pset_fill_time(properties.get(), H5D_FILL_TIME_NEVER);
    id = H5Dcreate2(id_, name.c_str(), type.get(), space.get(), H5P_DEFAULT, properties.get(), H5P_DEFAULT);
    if (id < 0) return call.Error(path_, absl::StrCat("make the dataset `", name, "`"), absl::StatusCode::kInternal);
  }
  return Hdf5Dataset::Take(id, path_, name);
}

absl::Status Hdf5File::SetAttribute(const std::string& name, const std::string& value) {
  const Hdf5Call call;
  const Hdf5Id type(NewTypeOf(Hdf5Kind::kTexts));
  const char* const text = value.c_str();
  if (!WriteAttribute(id_, name, type.get(), &text)) {
    return call.Error(path_, absl::StrCat("set the attribute `", name, "`"), absl::StatusCode::kInternal);
  }
  return absl::OkStatus();
}

absl::Status Hdf5File::SetAttribute(const std::string& name, int64_t value) {
  const Hdf5Call call;
  const Hdf5Id type(NewTypeOf(Hdf5Kind::kIntegers));
  if (!WriteAttribute(id_, name, type.get(), &value)) {
    return call.Error(path_, absl::StrCat("set the attribute `", name, "`"), absl::StatusCode::kInternal);
  }
  return absl::OkStatus();
}

absl::Status Hdf5File::Flush() {
  const Hdf5Call call;
  if (H5Fflush(id_, H5F_SCOPE_LOCAL) < 0) return call.Error(path_, "write", absl::StatusCode::kInternal);
  return absl::OkStatus();
}

}  // namespace reembed
