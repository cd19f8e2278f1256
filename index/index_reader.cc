// SPDX-License-Identifier: Apache-2.0
#include "index/index_reader.h"

#include <faiss/IndexFlat.h>
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>
#include <faiss/IndexIVF.h>
#include <faiss/IndexIVFFlat.h>
#include <faiss/IndexPreTransform.h>
#include <faiss/IndexRefine.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/number/normalize.h"
#include "engine/status_macros.h"
#include "index/faiss_io.h"
#include "index/faiss_words.h"
#include "index/index_store.h"

namespace reembed {
namespace {

// The part of an index that is searched first: behind ids, transforms and refinement.
faiss::Index* Core(faiss::Index* index) {
  for (;;) {
    if (auto* const ids = dynamic_cast<faiss::IndexIDMap*>(index)) {
      index = ids->index;
    } else if (auto* const transformed = dynamic_cast<faiss::IndexPreTransform*>(index)) {
      index = transformed->index;
    } else if (auto* const refined = dynamic_cast<faiss::IndexRefine*>(index)) {
      index = refined->base_index;
    } else {
      return index;
    }
  }
}

}  // namespace

struct IndexReader::State {
  std::string path;
  IndexDescription description;
  FaissIndex index;
  bool has_description = false;
  faiss::IndexIDMap2* ids = nullptr;                       // index; null: it has ids of its own, mostly places
  faiss::IndexIVF* ivf = nullptr;                          // in index; null if there is none
  faiss::IndexHNSW* hnsw = nullptr;                        // in index; null if there is none
  KeyTable keys;                                           // of rows whose ids are ordinals
  absl::flat_hash_map<absl::string_view, int64_t> places;  // of text keys; filled by the first Find() out of order
  std::vector<float> vector;
  int64_t next = 0;
  std::vector<IndexShard> shards;  // empty: `index` is all of it
  std::vector<int64_t> firsts;     // [shards]: places of their first rows
  int64_t used = -1;               // the shard that `index` is; -1: none

  // The place of the first row of `index`.
  int64_t base() const { return shards.empty() ? 0 : firsts[static_cast<size_t>(used)]; }

  int64_t ShardOf(int64_t place) const {
    return std::upper_bound(firsts.begin(), firsts.end(), place) - firsts.begin() - 1;
  }

  // Makes `index` this shard.
  absl::Status Use(int64_t shard) {
    if (shards.empty() || shard == used) return absl::OkStatus();
    const IndexShard& next_one = shards[static_cast<size_t>(shard)];
    const std::string file = ShardPath(path, next_one);
    index.reset();  // never two at a time
    ids = nullptr;
    ivf = nullptr;
    hnsw = nullptr;
    used = -1;
    ABSL_ASSIGN_OR_RETURN(FaissIndex read, LoadFaissIndex(file, next_one.mark));
    const auto metric = description.metric == Metric::kL2 ? faiss::METRIC_L2 : faiss::METRIC_INNER_PRODUCT;
    if (read->ntotal != next_one.rows || read->d != description.model.dim || read->metric_type != metric) {
      return absl::DataLossError(absl::StrCat(file, ": expected ", next_one.rows, " rows of dim ",
                                              description.model.dim, " as in ", path, ", got ", read->ntotal,
                                              " of dim ", read->d, ", or another metric"));
    }
    index = std::move(read);
    used = shard;
    Look();
    return description.id_kind == IdKind::kOrdinal ? CheckKeys() : absl::OkStatus();
  }

  // Precondition: Use(ShardOf(place)), for keys that are ids.
  KeyView KeyAt(int64_t place) const {
    if (description.id_kind == IdKind::kOrdinal) return keys.key(place);
    return ids == nullptr ? place : static_cast<int64_t>(ids->id_map[static_cast<size_t>(place - base())]);
  }

  // What is behind the ids.
  faiss::Index* proper() const { return ids == nullptr ? index.get() : ids->index; }

  absl::Status TakeShards(std::vector<IndexShard> all) {
    shards = std::move(all);
    description.rows = 0;
    for (const IndexShard& shard : shards) {
      firsts.push_back(description.rows);
      description.rows += shard.rows;
    }
    return Use(0);
  }

  // The place of a row; -1 if there is none.
  absl::StatusOr<int64_t> PlaceOf(KeyView key) {
    if (next < description.rows) {
      ABSL_RETURN_IF_ERROR(Use(ShardOf(next)));
      if (KeyAt(next) == key) return next;
    }
    if (description.id_kind == IdKind::kKey) {
      const auto* const number = std::get_if<int64_t>(&key);
      if (number == nullptr) return -1;
      if (ids == nullptr && shards.empty()) return *number >= 0 && *number < description.rows ? *number : -1;
      const auto count = std::max<int64_t>(1, static_cast<int64_t>(shards.size()));
      const int64_t begin = std::max<int64_t>(used, 0);  // the one that is there first
      for (int64_t i = 0; i < count; ++i) {
        ABSL_RETURN_IF_ERROR(Use((begin + i) % count));
        const auto found = ids->rev_map.find(*number);
        if (found != ids->rev_map.end()) return base() + found->second;
      }
      return -1;
    }
    const auto* const text = std::get_if<absl::string_view>(&key);
    if (text == nullptr) return -1;
    if (places.empty()) {
      for (int64_t place = 0; place < keys.size(); ++place) places.emplace(keys.key(place), place);
    }
    const auto found = places.find(*text);
    return found == places.end() ? -1 : found->second;
  }

  absl::StatusOr<std::optional<StoredVector>> At(int64_t place) {
    next = place + 1;
    ABSL_RETURN_IF_ERROR(Use(ShardOf(place)));
    ABSL_RETURN_IF_ERROR(
        CallFaiss(absl::StatusCode::kFailedPrecondition, absl::StrCat(path, ": cannot give vectors back"), [&] {
          if (ivf != nullptr && ivf->direct_map.no()) ivf->make_direct_map(true);
          proper()->reconstruct(place - base(), vector.data());
        }));
    return StoredVector{KeyAt(place), vector};
  }

  // Finds the parts of `index`.
  void Look() {
    ids = dynamic_cast<faiss::IndexIDMap2*>(index.get());
    faiss::Index* const core = Core(proper());
    ivf = dynamic_cast<faiss::IndexIVF*>(core);
    hnsw = dynamic_cast<faiss::IndexHNSW*>(core);
    vector.resize(description.model.dim);
  }

  // Those of `index`.
  absl::Status CheckKeys() const {
    bool good = keys.size() == description.rows;
    const int64_t end = shards.empty() ? keys.size() : base() + index->ntotal;
    for (int64_t place = base(); good && place < end; ++place)
      good = keys.id(place) == (ids == nullptr ? place : ids->id_map[static_cast<size_t>(place - base())]);
    return good ? absl::OkStatus()
                : absl::DataLossError(absl::StrCat(path, ": the ids of its key file are not those of the index"));
  }

  // The nearest rows of `index`.
  absl::Status Search(absl::Span<const float> query, const SearchOptions& options, absl::Span<int64_t> found,
                      absl::Span<float> scores) {
    static_assert(sizeof(faiss::Index::idx_t) == sizeof(int64_t));
    const int k = static_cast<int>(found.size());
    SetBreadth(options, k);
    // FAISS divides queries among threads; for one query there is nothing to divide, only threads to wake and wait for.
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    absl::Status status = CallFaiss(absl::StatusCode::kInternal, absl::StrCat(path, ": cannot search"), [&] {
      index->search(1, query.data(), k, scores.data(), reinterpret_cast<faiss::Index::idx_t*>(found.data()));
    });
    omp_set_num_threads(threads);
    return status;
  }

  void SetBreadth(const SearchOptions& options, int k) {
    if (ivf != nullptr) {
      const auto by_size = static_cast<int64_t>(2 * std::sqrt(static_cast<double>(ivf->nlist)));
      const int64_t unasked = description.nprobe > 0 ? description.nprobe : by_size;
      const int64_t wanted = options.nprobe > 0 ? options.nprobe : unasked;
      ivf->nprobe = std::clamp<int64_t>(wanted, 1, static_cast<int64_t>(ivf->nlist));
    }
    if (hnsw != nullptr) {
      const int64_t least = description.ef_search > 0 ? std::max(description.ef_search, k) : std::max(64, 2 * k);
      const int64_t wanted = options.ef_search > 0 ? options.ef_search : least;
      hnsw->hnsw.efSearch = static_cast<int>(std::clamp<int64_t>(wanted, 1, std::max<int64_t>(description.rows, 1)));
    }
  }
};

IndexReader::IndexReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
IndexReader::~IndexReader() = default;

absl::StatusOr<std::unique_ptr<IndexReader>> IndexReader::Open(const std::string& path) {
  const IndexPaths paths(path);
  absl::StatusOr<IndexDescription> description = ReadDescription(paths.description);
  if (!description.ok()) {
    return absl::Status(
        description.status().code(),
        absl::StrCat(path, ": expected an index with its description beside it: ", description.status().message(),
                     "; a run with the target faiss:", path, " makes one"));
  }
  std::vector<IndexShard> shards;
  FaissIndex index;
  if (description->shards > 0) {
    ABSL_ASSIGN_OR_RETURN(shards, ReadShards(path, description->index_file, description->rows));
  } else {
    ABSL_ASSIGN_OR_RETURN(index, IndexStore(path).Load(*description));
  }
  auto state = std::make_unique<State>();
  state->path = path;
  state->description = *std::move(description);
  state->has_description = true;
  if (state->description.id_kind == IdKind::kOrdinal) {
    ABSL_ASSIGN_OR_RETURN(state->keys, KeyTable::Read(paths.keys, state->description.keys_file));
  }
  if (!shards.empty()) {
    ABSL_RETURN_IF_ERROR(state->TakeShards(std::move(shards)));
  } else {
    state->index = std::move(index);
    state->Look();
    if (state->description.id_kind == IdKind::kOrdinal) ABSL_RETURN_IF_ERROR(state->CheckKeys());
  }
  return std::unique_ptr<IndexReader>(new IndexReader(std::move(state)));
}

absl::StatusOr<std::unique_ptr<IndexReader>> IndexReader::OfShards(const std::string& path,
                                                                   IndexDescription description,
                                                                   std::vector<IndexShard> shards) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->description = std::move(description);
  state->description.id_kind = IdKind::kKey;  // ids alone are asked for
  ABSL_RETURN_IF_ERROR(state->TakeShards(std::move(shards)));
  return std::unique_ptr<IndexReader>(new IndexReader(std::move(state)));
}

std::unique_ptr<IndexReader> IndexReader::Of(const std::string& path, IndexDescription description, FaissIndex index) {
  auto state = std::make_unique<State>();
  state->path = path;
  state->description = std::move(description);
  state->description.rows = index->ntotal;
  state->index = std::move(index);
  state->Look();
  return std::unique_ptr<IndexReader>(new IndexReader(std::move(state)));
}

FaissIndex IndexReader::Release() { return std::move(state_->index); }

absl::StatusOr<std::unique_ptr<IndexReader>> IndexReader::OpenAny(const std::string& path) {
  if (access(IndexPaths(path).description.c_str(), F_OK) == 0) return Open(path);
  ABSL_ASSIGN_OR_RETURN(FaissIndex index, LoadForeignFaissIndex(path));
  IndexDescription description;
  description.model.dim = index->d;
  description.metric = index->metric_type == faiss::METRIC_L2 ? Metric::kL2 : Metric::kInnerProduct;
  return Of(path, std::move(description), std::move(index));
}

const IndexDescription& IndexReader::description() const { return state_->description; }
int IndexReader::dim() const { return state_->description.model.dim; }
int64_t IndexReader::rows() const { return state_->description.rows; }

absl::StatusOr<std::vector<Hit>> IndexReader::Search(absl::Span<const float> query, int k,
                                                     const SearchOptions& options) {
  if (static_cast<int>(query.size()) != dim() || k < 1) {
    return absl::InvalidArgumentError(absl::StrCat(state_->path, ": expected a query of ", dim(),
                                                   " numbers and k of at least 1, got ", query.size(), " and ", k));
  }
  std::vector<float> direction(query.begin(), query.end());
  const bool finite = CheckVector(direction) != VectorFault::kNotFinite;
  const bool cosine = state_->description.metric == Metric::kCosine;
  if (!finite || (cosine && !NormalizeRows(absl::MakeSpan(direction), dim()).ok())) {
    return absl::InvalidArgumentError(absl::StrCat(state_->path, ": expected a query with a direction, got ",
                                                   finite ? "only zeros" : "a number that is not finite"));
  }
  std::vector<Hit> hits;
  if (rows() == 0) return hits;
  k = static_cast<int>(std::min<int64_t>(k, rows()));
  std::vector<float> scores(k);
  std::vector<int64_t> labels(k, -1);
  ABSL_RETURN_IF_ERROR(SearchIds(direction, options, absl::MakeSpan(labels), absl::MakeSpan(scores)));
  for (int i = 0; i < k; ++i) {
    if (labels[i] < 0) continue;
    if (state_->description.id_kind == IdKind::kKey) {
      hits.push_back({static_cast<int64_t>(labels[i]), scores[i]});
    } else {
      hits.push_back({std::string(state_->keys.key(state_->keys.FindId(labels[i]))), scores[i]});
    }
  }
  return hits;
}

absl::Status IndexReader::SearchIds(absl::Span<const float> query, const SearchOptions& options,
                                    absl::Span<int64_t> ids, absl::Span<float> scores) {
  if (state_->shards.empty()) return state_->Search(query, options, ids, scores);
  std::vector<std::pair<float, int64_t>> found;
  const int64_t begin = std::max<int64_t>(state_->used, 0);  // the one that is there first
  for (int64_t i = 0; i < shards(); ++i) {
    ABSL_RETURN_IF_ERROR(SearchShardIds((begin + i) % shards(), query, options, ids, scores));
    for (size_t at = 0; at < ids.size(); ++at) {
      if (ids[at] >= 0) found.emplace_back(scores[at], ids[at]);
    }
  }
  const bool small_is_near = state_->description.metric == Metric::kL2;
  // Of equally near rows the lesser id, so that which shard came first does not show.
  std::sort(found.begin(), found.end(), [small_is_near](const auto& a, const auto& b) {
    if (a.first == b.first) return a.second < b.second;
    return small_is_near ? a.first < b.first : a.first > b.first;
  });
  std::fill(ids.begin(), ids.end(), -1);
  for (size_t at = 0; at < std::min(ids.size(), found.size()); ++at) {
    scores[at] = found[at].first;
    ids[at] = found[at].second;
  }
  return absl::OkStatus();
}

int64_t IndexReader::shards() const { return std::max<int64_t>(1, static_cast<int64_t>(state_->shards.size())); }

absl::Status IndexReader::UseShard(int64_t shard) { return state_->Use(shard); }

absl::Status IndexReader::SearchShardIds(int64_t shard, absl::Span<const float> query, const SearchOptions& options,
                                         absl::Span<int64_t> ids, absl::Span<float> scores) {
  ABSL_RETURN_IF_ERROR(state_->Use(shard));
  return state_->Search(query, options, ids, scores);
}

SearchBreadth IndexReader::breadth() const {
  return {.lists = state_->ivf == nullptr ? 0 : static_cast<int64_t>(state_->ivf->nlist),
          .is_graph = state_->hnsw != nullptr};
}

bool IndexReader::is_exact() const {
  if (state_->description.is_mapped) return false;  // to find its rows takes a table of all of them
  faiss::Index* const proper = state_->proper();
  if (dynamic_cast<faiss::IndexPreTransform*>(proper) != nullptr) return false;
  const faiss::Index* const held = state_->hnsw != nullptr ? state_->hnsw->storage : Core(proper);
  return dynamic_cast<const faiss::IndexFlat*>(held) != nullptr ||
         dynamic_cast<const faiss::IndexIVFFlat*>(held) != nullptr;
}

std::string IndexReader::kind() const {
  if (state_->index == nullptr) return "shards";  // the last that was asked for could not be read
  const std::string words = FaissWords(*state_->index);
  return state_->shards.empty() ? words : absl::StrCat(state_->shards.size(), " shards of ", words);
}

bool IndexReader::has_description() const { return state_->has_description; }

absl::StatusOr<std::optional<StoredVector>> IndexReader::Next() {
  if (state_->next >= rows()) return std::nullopt;
  return state_->At(state_->next);
}

absl::StatusOr<std::optional<StoredVector>> IndexReader::Find(KeyView key) {
  ABSL_ASSIGN_OR_RETURN(const int64_t place, state_->PlaceOf(key));
  if (place < 0) return std::nullopt;
  return state_->At(place);
}

}  // namespace reembed
