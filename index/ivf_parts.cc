// SPDX-License-Identifier: Apache-2.0
#include "index/ivf_parts.h"

#include <faiss/IndexIVF.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/impl/io.h>
#include <faiss/index_io.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"

namespace reembed {
namespace {

// Keeps the last four bytes back: behind an index without lists they say that there are none.
class HeaderWriter final : public faiss::IOWriter {
 public:
  explicit HeaderWriter(OutputFile* file) : file_(file) {}
  size_t operator()(const void* from, size_t size, size_t items) override {
    pending_.append(static_cast<const char*>(from), size * items);
    const size_t ready = pending_.size() - std::min(pending_.size(), kTagBytes);
    const bool written = file_->Write(pending_.data(), ready);
    pending_.erase(0, ready);
    return written ? items : 0;
  }
  const std::string& pending() const { return pending_; }

 private:
  static constexpr size_t kTagBytes = 4;
  OutputFile* const file_;
  std::string pending_;
};

// All bytes of an index without its rows.
class BytesWriter final : public faiss::IOWriter {
 public:
  size_t operator()(const void* from, size_t size, size_t items) override {
    bytes_.append(static_cast<const char*>(from), size * items);
    return items;
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Takes the lists and the count out of an index while it lives.
class WithoutLists {
 public:
  WithoutLists(faiss::Index* index, int64_t rows) : index_(index), ivf_(PlainIvf(index)) {
    std::swap(lists_, ivf_->invlists);
    std::swap(rows_, ivf_->ntotal);
    outer_ = index_->ntotal;
    ivf_->ntotal = rows;
    index_->ntotal = rows;
  }
  WithoutLists(const WithoutLists&) = delete;
  WithoutLists& operator=(const WithoutLists&) = delete;
  ~WithoutLists() {
    ivf_->invlists = lists_;
    index_->ntotal = outer_;
    ivf_->ntotal = rows_;
  }

 private:
  faiss::Index* const index_;
  faiss::IndexIVF* const ivf_;
  faiss::InvertedLists* lists_ = nullptr;
  faiss::Index::idx_t rows_ = 0, outer_ = 0;
};

absl::StatusOr<std::string> TrainingOf(const faiss::Index& index, const std::string& name) {
  BytesWriter writer;
  auto* const mutable_index = const_cast<faiss::Index*>(&index);
  if (PlainIvf(mutable_index) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected an IVF index with plain lists, got another kind"));
  }
  const size_t nprobe = std::exchange(PlainIvf(mutable_index)->nprobe, 1);
  ABSL_RETURN_IF_ERROR(CallFaiss(absl::StatusCode::kInternal, name, [&] {
    const WithoutLists without(mutable_index, 0);
    faiss::write_index(&index, &writer);
  }));
  PlainIvf(mutable_index)->nprobe = nprobe;
  return writer.Take();
}

class ListWriter {
 public:
  ListWriter(OutputFile* file, size_t lists, size_t code_bytes, absl::Span<const FaissIndex> parts)
      : file_(file), lists_(lists), code_bytes_(code_bytes) {
    for (const FaissIndex& part : parts) parts_.push_back(PlainIvf(part.get())->invlists);
  }

  // As faiss::write_InvertedLists() writes an ArrayInvertedLists of which most lists have something.
  bool Write(absl::FunctionRef<void(int64_t, int64_t)> merged) {
    Put("ilar", 4);
    PutSize(lists_);
    PutSize(code_bytes_);
    Put("full", 4);
    PutSize(lists_);
    for (size_t list = 0; list < lists_; ++list) {
      size_t size = 0;
      for (const faiss::InvertedLists* const part : parts_) size += part->list_size(list);
      PutSize(size);
    }
    for (size_t list = 0; list < lists_ && good_; ++list) {
      for (const faiss::InvertedLists* const part : parts_) {
        faiss::InvertedLists::ScopedCodes codes(part, list);
        Put(codes.get(), part->list_size(list) * code_bytes_);
      }
      for (const faiss::InvertedLists* const part : parts_) {
        faiss::InvertedLists::ScopedIds ids(part, list);
        Put(ids.get(), part->list_size(list) * sizeof(faiss::Index::idx_t));
      }
      merged(static_cast<int64_t>(list) + 1, static_cast<int64_t>(lists_));
    }
    return good_;
  }

 private:
  void Put(const void* bytes, size_t size) { good_ = good_ && file_->Write(bytes, size); }
  void PutSize(size_t size) { Put(&size, sizeof size); }

  OutputFile* const file_;
  const size_t lists_;
  const size_t code_bytes_;
  std::vector<const faiss::InvertedLists*> parts_;
  bool good_ = true;
};

}  // namespace

faiss::IndexIVF* PlainIvf(faiss::Index* index) {
  if (auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(index)) index = transformed->index;
  auto* const ivf = dynamic_cast<faiss::IndexIVF*>(index);
  const bool is_plain = ivf != nullptr && ivf->invlists != nullptr && ivf->invlists->code_size == ivf->code_size &&
                        ivf->code_size > 0 && ivf->invlists->nlist == ivf->nlist;
  return is_plain ? ivf : nullptr;
}

absl::Status CheckTrainedAlike(const faiss::Index& one, const std::string& a, const faiss::Index& other,
                               const std::string& b) {
  ABSL_ASSIGN_OR_RETURN(const std::string of_one, TrainingOf(one, a));
  ABSL_ASSIGN_OR_RETURN(const std::string of_other, TrainingOf(other, b));
  if (of_one == of_other) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      b, ": was not trained like ", a, ", so a code means something else in it; build both from one trained index"));
}

absl::StatusOr<FileMark> MergeIvfParts(faiss::Index* trained, absl::Span<const FaissIndex> parts,
                                       const std::string& path,
                                       absl::FunctionRef<void(int64_t done, int64_t total)> merged) {
  const faiss::IndexIVF* const ivf = PlainIvf(trained);
  int64_t rows = 0;
  for (const FaissIndex& part : parts) rows += part->ntotal;
  ABSL_ASSIGN_OR_RETURN(std::unique_ptr<OutputFile> file, OutputFile::Create(path));
  HeaderWriter header(file.get());
  ABSL_RETURN_IF_ERROR(CallFaiss(absl::StatusCode::kInternal, path, [&] {
    const WithoutLists without(trained, rows);
    faiss::write_index(trained, &header);
  }));
  if (header.pending() != "il00") {
    return absl::InternalError(absl::StrCat(path, ": FAISS ", FaissVersion(), " writes an index without lists in ",
                                            "another way than expected"));
  }
  const bool written = ListWriter(file.get(), ivf->nlist, ivf->code_size, parts).Write(merged);
  absl::StatusOr<FileMark> mark = file->Close();
  if (mark.ok() && !written) return absl::InternalError(absl::StrCat(path, ": was not written whole"));
  return mark;
}

}  // namespace reembed
