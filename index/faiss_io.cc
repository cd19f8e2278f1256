// SPDX-License-Identifier: Apache-2.0
#include "index/faiss_io.h"

#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFPQ.h>
#include <faiss/IndexIVFPQFastScan.h>
#include <faiss/IndexPQ.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <faiss/VectorTransform.h>
#include <faiss/impl/FaissException.h>
#include <faiss/impl/io.h>
#include <faiss/index_factory.h>
#include <faiss/index_io.h>
#include <faiss/invlists/OnDiskInvertedLists.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "index/faiss_check.h"
#include "index/ivf_parts.h"

namespace reembed {
namespace {

// Hands FAISS an index file, but no number that would make it allocate more than the file could fill.
//
// FAISS reads a size as one 8-byte number and allocates before it reads on. In its files every single 8-byte number is
// a count of things that follow or came before, except for two constants of 2^20 in each header. So none may be greater
// than the file; what follows a 1 may be the only item of an array, e.g. an id, and is let through. The lengths of
// inverted lists come as an array and are added up here.
class BoundedReader final : public faiss::FileIOReader {
 public:
  enum class Start { kOurs, kAny };

  BoundedReader(const std::string& path, std::FILE* file, int64_t bytes, Start start)
      : FileIOReader(file), most_(std::max<uint64_t>(bytes, 1 << 20)), start_(start) {
    name = path;
  }

  size_t operator()(void* to, size_t size, size_t items) override {
    const size_t read = std::fread(to, size, items, f);
    if (read != items) return read;
    if (std::exchange(at_start_, false) && size * items == 4) return AllowFirstTag(static_cast<char*>(to)) ? read : 0;
    return Allow(to, size, items) ? read : 0;
  }

 private:
  // Our files begin with an IndexIDMap2. While FAISS reads one it fills a table from as many ids as the header says,
  // which may be more than there are; so it is given an IndexIDMap instead, which has no such table.
  bool AllowFirstTag(char* tag) {
    if (std::memcmp(tag, "IxM2", 4) == 0) {
      std::memcpy(tag, "IxMp", 4);
      return true;
    }
    return start_ == Start::kAny && (std::memcmp(tag, "IxMp", 4) == 0 || AllowTag(tag));
  }

  bool Allow(const void* read, size_t size, size_t items) {
    const bool is_lone_item = std::exchange(last_number_is_one_, false) && size == 8 && items == 1;
    if (size == 4 && items == 1) return AllowTag(read);
    // Truth values are the only single bytes; any but 0 and 1 is undefined to look at.
    if (size == 1 && items == 1) return *static_cast<const unsigned char*>(read) <= 1;
    if (size != 8) return true;
    if (next_is_list_lengths_) {
      next_is_list_lengths_ = false;
      return AllowListLengths(read, items);
    }
    if (items != 1 || is_lone_item) return true;
    std::memcpy(&last_number_, read, 8);
    last_number_is_one_ = last_number_ == 1;
    next_is_list_lengths_ = std::exchange(next_is_list_count_, false);
    // All ones stand for "not set"; no array can be as long.
    return last_number_ <= most_ || last_number_ == UINT64_MAX;
  }

  bool AllowTag(const void* read) {
    constexpr int kMostParts = 16;  // nested in each other; our factories make up to five
    char tag[4];
    std::memcpy(tag, read, 4);
    if (std::memcmp(tag, "IxM", 3) == 0) return false;  // only at the start
    if (tag[0] == 'I' && (tag[1] == 'x' || tag[1] == 'H' || tag[1] == 'w') && ++parts_ > kMostParts) return false;
    sparse_ = std::memcmp(tag, "sprs", 4) == 0;
    next_is_list_count_ = sparse_ || std::memcmp(tag, "full", 4) == 0;
    if (next_is_list_count_) code_bytes_ = last_number_;
    return true;
  }

  // "full": the length of each list; "sprs": pairs of a list and its length.
  bool AllowListLengths(const void* read, size_t items) const {
    if (code_bytes_ > most_ || (sparse_ && items % 2 != 0)) return false;
    const auto* const bytes = static_cast<const char*>(read);
    uint64_t sum = 0;
    for (size_t i = sparse_ ? 1 : 0; i < items; i += sparse_ ? 2 : 1) {
      uint64_t length;
      std::memcpy(&length, bytes + i * 8, 8);
      if (length > most_) return false;
      sum += length;
    }
    return sum <= most_ / (code_bytes_ + 8);
  }

  const uint64_t most_;
  const Start start_;
  bool at_start_ = true;
  int parts_ = 0;
  uint64_t last_number_ = 0;
  bool last_number_is_one_ = false;
  uint64_t code_bytes_ = 0;
  bool sparse_ = false;
  bool next_is_list_count_ = false;
  bool next_is_list_lengths_ = false;
};

class OutputFileWriter final : public faiss::IOWriter {
 public:
  OutputFileWriter(const std::string& path, OutputFile* file) : file_(file) { name = path; }
  size_t operator()(const void* from, size_t size, size_t items) override {
    return file_->Write(from, size * items) ? items : 0;
  }

 private:
  OutputFile* const file_;
};

faiss::MetricType FaissMetric(Metric metric) {
  return metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
}

void Tune(faiss::Index* index, const IndexSpec& spec) {
  // Too few training rows are refused before they get here: FAISS need not warn on stderr.
  constexpr int kNoWarning = 1;
  if (auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(index)) Tune(transformed->index, spec);
  if (auto* const refined = dynamic_cast<faiss::IndexRefine*>(index)) {
    // As many as are asked for are only put into another order. In the file, so that other programs find as much.
    constexpr float kRefinedForEach = 8;
    refined->k_factor = std::max(refined->k_factor, kRefinedForEach);
    Tune(refined->base_index, spec);
  }
  const auto clusters = [&spec](faiss::ClusteringParameters* cp) {
    cp->min_points_per_centroid = kNoWarning;
    // An int in FAISS; any will do.
    if (spec.seed != 0) cp->seed = static_cast<int>(spec.seed % 0x7FFFFFFF);
  };
  if (auto* const ivf = dynamic_cast<faiss::IndexIVF*>(index)) clusters(&ivf->cp);
  // Polysemous codes cost minutes of training and serve a kind of search that we do not use.
  if (auto* const pq = dynamic_cast<faiss::IndexPQ*>(index)) {
    pq->do_polysemous_training = false;
    clusters(&pq->pq.cp);
  }
  if (auto* const pq = dynamic_cast<faiss::IndexIVFPQFastScan*>(index)) clusters(&pq->pq.cp);
  if (auto* const pq = dynamic_cast<faiss::IndexIVFPQ*>(index)) {
    pq->do_polysemous_training = false;
    clusters(&pq->pq.cp);
  }
  if (auto* const hnsw = dynamic_cast<faiss::IndexHNSW*>(index); hnsw != nullptr && spec.ef_construction > 0) {
    hnsw->hnsw.efConstruction = spec.ef_construction;
  }
}

// FAISS says so when it trains, which is when all rows were read.
absl::Status CheckTransforms(const faiss::Index& index, absl::string_view what) {
  const auto* const transformed = dynamic_cast<const faiss::IndexPreTransform*>(&index);
  if (transformed == nullptr) return absl::OkStatus();
  for (const faiss::VectorTransform* const one : transformed->chain) {
    if (dynamic_cast<const faiss::PCAMatrix*>(one) == nullptr || one->d_out <= one->d_in) continue;
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected a PCA to at most ", one->d_in, " numbers, got one to ", one->d_out));
  }
  return absl::OkStatus();
}

// The same index with a table from ids to places. `plain` was checked.
FaissIndex WithIdTable(FaissIndex plain) {
  auto& from = static_cast<faiss::IndexIDMap&>(*plain);
  auto* const to = new faiss::IndexIDMap2;
  FaissIndex index(to);
  static_cast<faiss::IndexIDMap&>(*to) = from;
  to->own_fields = std::exchange(from.own_fields, false);
  to->construct_rev_map();
  return index;
}

// A kind of index is four letters in its file; FAISS says of one that it does not know which these are.
absl::Status UnknownKindError(const std::string& path, absl::string_view kind) {
  return absl::DataLossError(absl::StrCat(path, ": holds a kind of index that FAISS ", FaissVersion(), " cannot read (",
                                          kind, "); write it with an older FAISS, or as another kind"));
}

absl::Status OfUnknownKind(const std::string& path, const absl::Status& status) {
  if (!absl::StrContains(status.message(), "not recognized")) return status;
  // The names of all kinds begin so.
  if (absl::StrContains(status.message(), "(\"I")) return UnknownKindError(path, status.message());
  return absl::DataLossError(
      absl::StrCat(path, ": expected an index of FAISS, got another kind of file (", status.message(), ")"));
}

// Whether the lists of a mapped index end inside its file; a search would end the process otherwise.
absl::Status CheckMappedLists(const std::string& path, faiss::Index* index) {
  const faiss::IndexIVF* const ivf = PlainIvf(index);
  const auto* const lists = ivf == nullptr ? nullptr : dynamic_cast<const faiss::OnDiskInvertedLists*>(ivf->invlists);
  if (lists == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected an IVF index with plain lists, which can stay on the disk, got another kind"));
  }
  int64_t rows = 0;
  for (size_t list = 0; list < ivf->nlist; ++list) {
    const auto& at = lists->lists[list];
    const bool inside = at.offset <= lists->totsize &&
                        at.size <= (lists->totsize - at.offset) / (ivf->code_size + sizeof(faiss::Index::idx_t));
    if (!inside) return absl::DataLossError(absl::StrCat(path, ": damaged index: it ends inside list ", list));
    rows += static_cast<int64_t>(at.size);
  }
  if (rows == ivf->ntotal) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": damaged index: expected ", ivf->ntotal, " rows in its lists, got ", rows));
}

absl::StatusOr<FaissIndex> Load(const std::string& path, BoundedReader::Start start, int flags = 0) {
  std::FILE* const file = std::fopen(path.c_str(), "rbe");
  struct stat info;
  if (file == nullptr || fstat(fileno(file), &info) != 0) {
    const int error = errno;
    if (file != nullptr) std::fclose(file);
    return absl::ErrnoToStatus(error, absl::StrCat(path, ": cannot open"));
  }
  FaissIndex index;
  absl::Status status = CallFaiss(absl::StatusCode::kDataLoss, absl::StrCat(path, ": damaged index"), [&] {
    BoundedReader reader(path, file, info.st_size, start);
    index.reset(faiss::read_index(&reader, flags));
  });
  std::fclose(file);
  if (!status.ok()) return OfUnknownKind(path, status);
  const auto damaged = [&path](const absl::Status& why) {
    if (absl::IsUnimplemented(why)) return UnknownKindError(path, why.message());
    return absl::Status(why.code(), absl::StrCat(path, ": damaged index: ", why.message()));
  };
  // A map that lies in the file is made again from the lists when it is needed.
  if (auto* const ivf = dynamic_cast<faiss::IndexIVF*>(index.get()); ivf != nullptr) ivf->direct_map.clear();
  if (flags != 0) ABSL_RETURN_IF_ERROR(CheckMappedLists(path, index.get()));
  if (status = CheckFaissIndex(*index); !status.ok()) return damaged(status);
  if (dynamic_cast<faiss::IndexIDMap*>(index.get()) == nullptr) return index;
  status = CallFaiss(absl::StatusCode::kDataLoss, "ids", [&] { index = WithIdTable(std::move(index)); });
  if (!status.ok()) return damaged(status);
  return index;
}

}  // namespace

void FaissDeleter::operator()(faiss::Index* index) const { delete index; }

std::string FaissVersion() {
  return absl::StrCat(FAISS_VERSION_MAJOR, ".", FAISS_VERSION_MINOR, ".", FAISS_VERSION_PATCH);
}

absl::Status CallFaiss(absl::StatusCode code, absl::string_view what, absl::FunctionRef<void()> call) {
  try {
    call();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": not enough memory"));
  } catch (const faiss::FaissException& e) {
    // "Error in <function> at <file:line>: <what went wrong>"; the place says nothing to users.
    const absl::string_view words = e.what();
    const size_t begin = words.find(": ");
    return absl::Status(code, absl::StrCat(what, ": FAISS says `",
                                           begin == absl::string_view::npos ? words : words.substr(begin + 2), "`"));
  } catch (const std::exception& e) {
    return absl::Status(code, absl::StrCat(what, ": ", e.what()));
  }
  return absl::OkStatus();
}

absl::StatusOr<FaissIndex> MakeFaissIndex(const IndexSpec& spec, absl::string_view factory, int dim) {
  FaissIndex made;
  const std::string what = absl::StrCat("index factory `", factory, "` for dim ", dim);
  absl::Status status = CallFaiss(absl::StatusCode::kInvalidArgument, what, [&] {
    FaissIndex proper(faiss::index_factory(dim, std::string(factory).c_str(), FaissMetric(spec.metric)));
    Tune(proper.get(), spec);
    auto* const with_ids = new faiss::IndexIDMap2(proper.get());
    with_ids->own_fields = true;
    static_cast<void>(proper.release());
    made.reset(with_ids);
  });
  if (status.ok()) status = CheckTransforms(*static_cast<faiss::IndexIDMap2&>(*made).index, what);
  if (status.ok()) return made;
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "; write for example Flat, HNSW32, IVF,Flat or IVF4096,PQ64"));
}

absl::StatusOr<FaissIndex> LoadFaissIndex(const std::string& path, const FileMark& mark) {
  ABSL_RETURN_IF_ERROR(CheckFile(path, mark));
  ABSL_ASSIGN_OR_RETURN(FaissIndex index, Load(path, BoundedReader::Start::kOurs));
  const auto& with_ids = static_cast<const faiss::IndexIDMap2&>(*index);
  if (with_ids.rev_map.size() == with_ids.id_map.size()) return index;
  return absl::DataLossError(absl::StrCat(path, ": damaged index: expected each id once"));
}

absl::StatusOr<FaissIndex> LoadForeignFaissIndex(const std::string& path) {
  return Load(path, BoundedReader::Start::kAny);
}

absl::StatusOr<FaissIndex> LoadMappedFaissIndex(const std::string& path) {
  return Load(path, BoundedReader::Start::kAny, faiss::IO_FLAG_MMAP | faiss::IO_FLAG_READ_ONLY);
}

int64_t RowsPerAdd(int dim) { return std::clamp<int64_t>((int64_t{64} << 20) / (int64_t{4} * dim), 1, 4096); }

absl::StatusOr<FileMark> SaveFaissIndex(const faiss::Index& index, const std::string& path) {
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  const absl::Status status = CallFaiss(absl::StatusCode::kInternal, path, [&] {
    OutputFileWriter writer(path, file.get());
    faiss::write_index(&index, &writer);
  });
  absl::StatusOr<FileMark> mark = file->Close();
  return status.ok() || !mark.ok() ? mark : status;
}

}  // namespace reembed
