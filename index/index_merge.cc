// SPDX-License-Identifier: Apache-2.0
#include "index/index_merge.h"

#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/invlists/InvertedLists.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "index/index_reader.h"
#include "index/index_store.h"
#include "index/ivf_parts.h"

namespace reembed {
namespace {

// The rows of several readers, one behind the other.
class ChainedReader final : public VectorReader {
 public:
  explicit ChainedReader(std::vector<std::unique_ptr<IndexReader>> readers) : readers_(std::move(readers)) {}

  int dim() const override { return readers_.front()->dim(); }
  int64_t rows() const override {
    int64_t rows = 0;
    for (const auto& reader : readers_) rows += reader->rows();
    return rows;
  }
  absl::StatusOr<std::optional<StoredVector>> Next() override {
    for (; at_ < readers_.size(); ++at_) {
      ABSL_ASSIGN_OR_RETURN(const std::optional<StoredVector> row, readers_[at_]->Next());
      if (row.has_value()) return row;
    }
    return std::nullopt;
  }
  absl::StatusOr<std::optional<StoredVector>> Find(KeyView) override {
    return absl::UnimplementedError("a chain of indexes is read from its beginning to its end");
  }

 private:
  const std::vector<std::unique_ptr<IndexReader>> readers_;
  size_t at_ = 0;
};

absl::Status CheckAlike(const IndexReader& first, const std::string& a, const IndexReader& other,
                        const std::string& b) {
  const IndexDescription& one = first.description();
  const IndexDescription& two = other.description();
  const auto words = [](const IndexDescription& d) {
    return absl::StrCat(d.model.name.empty() ? "an unknown model" : d.model.name, ", ", d.model.dim, " numbers, ",
                        MetricName(d.metric));
  };
  if (one.model.name == two.model.name && one.model.dim == two.model.dim && one.metric == two.metric) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(
      absl::StrCat(b, ": expected an index like ", a, " (", words(one), "), got one of ", words(two)));
}

// Puts lists together whose codes mean the same.
class ListMerge {
 public:
  ListMerge(absl::Span<const std::string> paths, const IndexBuildOptions& options) : paths_(paths), options_(options) {}

  absl::StatusOr<BuiltIndex> Run(const std::string& path) {
    for (const std::string& part : paths_) ABSL_RETURN_IF_ERROR(Take(part));
    for (size_t i = 1; i < parts_.size(); ++i) {
      ABSL_RETURN_IF_ERROR(CheckTrainedAlike(*parts_[0], paths_[0], *parts_[i], paths_[i]));
    }
    description_.is_mapped = true;
    description_.rows = rows_;
    description_.recall_queries = 0;
    description_.recall_at_10 = 0;
    description_.fingerprint = 0;
    description_.built_from = absl::StrJoin(paths_, " ");
    description_.reembed_version = options_.version;
    const auto write = [this](const std::string& file) {
      return MergeIvfParts(parts_[0].get(), parts_, file, [this](int64_t done, int64_t total) {
        if (options_.progress) options_.progress({BuildStage::kMerge, rows_ * done / total, rows_});
      });
    };
    ABSL_RETURN_IF_ERROR(IndexStore(path).ReplaceBy(write, key_lines_, description_, IndexStore::Old::kSave));
    ABSL_ASSIGN_OR_RETURN(IndexDescription written, ReadDescription(IndexPaths(path).description));
    const int64_t bytes = written.index_file.bytes;
    return BuiltIndex{.description = std::move(written), .bytes = bytes};
  }

 private:
  absl::Status Take(const std::string& part) {
    ABSL_ASSIGN_OR_RETURN(const IndexDescription description, ReadDescription(IndexPaths(part).description));
    if (parts_.empty()) description_ = description;
    if (description.id_kind != description_.id_kind) {
      return absl::InvalidArgumentError(absl::StrCat(part, ": expected keys of the kind that ", paths_[0],
                                                     " has, got the other: texts and integers"));
    }
    ABSL_ASSIGN_OR_RETURN(FaissIndex index, IndexStore(part).Load(description));
    std::vector<int64_t> new_ids;  // by place
    ABSL_RETURN_IF_ERROR(NewIds(part, description, index.get(), &new_ids));
    if (auto* const with_ids = dynamic_cast<faiss::IndexIDMap2*>(index.get())) {
      with_ids->own_fields = false;
      index = FaissIndex(with_ids->index);
    }
    faiss::IndexIVF* const ivf = PlainIvf(index.get());
    auto* const lists = ivf == nullptr ? nullptr : dynamic_cast<faiss::ArrayInvertedLists*>(ivf->invlists);
    if (lists == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          part, ": is ", description.factory, ", whose codes cannot be put together with others; build the index anew ",
          "from the vectors of all"));
    }
    for (auto& list : lists->ids) {
      for (auto& id : list) id = new_ids[static_cast<size_t>(id)];
    }
    rows_ += description.rows;
    parts_.push_back(std::move(index));
    return absl::OkStatus();
  }

  absl::Status NewIds(const std::string& part, const IndexDescription& description, faiss::Index* index,
                      std::vector<int64_t>* new_ids) {
    if (description.id_kind == IdKind::kOrdinal) {
      ABSL_ASSIGN_OR_RETURN(const KeyTable keys, KeyTable::Read(IndexPaths(part).keys, description.keys_file));
      for (int64_t place = 0; place < keys.size(); ++place) {
        ABSL_RETURN_IF_ERROR(CheckNewKey(part, std::string(keys.key(place))));
        KeyTable::AppendLine(rows_ + place, keys.key(place), &key_lines_);
        new_ids->push_back(rows_ + place);
      }
      return absl::OkStatus();
    }
    const auto* const with_ids = dynamic_cast<const faiss::IndexIDMap2*>(index);
    if (with_ids == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(part, ": its lists stay on the disk; put indexes together before they do"));
    }
    for (const int64_t id : with_ids->id_map) {
      ABSL_RETURN_IF_ERROR(CheckNewKey(part, absl::StrCat(id)));
      new_ids->push_back(id);
    }
    return absl::OkStatus();
  }

  absl::Status CheckNewKey(const std::string& part, const std::string& key) {
    if (known_.insert(key).second) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(part, ": row ", key, ": is in an index before it, too"));
  }

  const absl::Span<const std::string> paths_;
  const IndexBuildOptions& options_;
  IndexDescription description_;
  std::vector<FaissIndex> parts_;
  absl::flat_hash_set<std::string> known_;
  std::string key_lines_;
  int64_t rows_ = 0;
};

}  // namespace

absl::StatusOr<BuiltIndex> MergeIndexes(absl::Span<const std::string> paths, const std::string& path,
                                        IndexBuildOptions options) {
  std::vector<std::unique_ptr<IndexReader>> readers;
  bool exact = true;
  for (const std::string& part : paths) {
    ABSL_ASSIGN_OR_RETURN(std::unique_ptr<IndexReader> reader, IndexReader::OpenAny(part));
    if (!readers.empty()) ABSL_RETURN_IF_ERROR(CheckAlike(*readers.front(), paths[0], *reader, part));
    exact = exact && reader->is_exact();
    readers.push_back(std::move(reader));
  }
  if (readers.empty()) return absl::InvalidArgumentError("expected indexes to put together, got none");
  const IndexDescription first = readers.front()->description();
  options.model = first.model;
  options.source = first.source;
  options.spec.metric = first.metric;
  ABSL_RETURN_IF_ERROR(IndexStore(path).CheckReplaceable(first.model));
  if (!exact && options.spec.factory.empty()) {
    readers.clear();
    return ListMerge(paths, options).Run(path);
  }
  if (!exact) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected indexes with exact vectors to build ",
                                                   options.spec.factory, " from, got one with codes"));
  }
  if (options.spec.factory.empty()) options.spec.factory = first.asked_factory.empty() ? "HNSW32" : first.asked_factory;
  if (options.spec.ef_construction == 0) options.spec.ef_construction = first.ef_construction;
  options.built_from = absl::StrJoin(paths, " ");
  ChainedReader reader(std::move(readers));
  return BuildIndex(&reader, paths.size() == 1 ? paths[0] : absl::StrCat("the indexes ", absl::StrJoin(paths, ", ")),
                    path, options);
}

}  // namespace reembed
