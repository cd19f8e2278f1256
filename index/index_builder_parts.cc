// SPDX-License-Identifier: Apache-2.0
#include <faiss/IndexHNSW.h>
#include <faiss/IndexIDMap.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/status_macros.h"
#include "index/index_builder.h"
#include "index/ivf_parts.h"

// Building where memory is short: some rows after the other, each into a file of its own.

namespace reembed {

// Fills the lists of some rows after the other, each into a file of its own, and puts these together.
absl::Status IndexBuilder::AddInParts(int64_t part_rows) {
  auto* const with_ids = static_cast<faiss::IndexIDMap2*>(index_.get());
  with_ids->own_fields = false;
  FaissIndex trained(with_ids->index);  // ids are in the lists: a table of them would not fit
  parts_ = (rows_.rows() + part_rows - 1) / part_rows;
  for (int64_t part = 0; part < parts_; ++part) {
    const int64_t begin = part * part_rows;
    const int64_t end = std::min(begin + part_rows, rows_.rows());
    const std::string identity = absl::StrCat(Identity(), " ", begin, " ", end);
    const std::optional<BuildStageFile::Record> kept = BuildStageFile::ReadRecord(PartRecordPath(part));
    if (kept.has_value() && kept->identity == identity && CheckFile(PartPath(part), kept->mark).ok()) {
      resumed_ += end - begin;
      continue;
    }
    for (int64_t at = begin; at < end; at += StepRows()) {
      ABSL_RETURN_IF_ERROR(Stopped(at));
      added_ = at;
      const int64_t count = std::min(StepRows(), end - at);
      ABSL_RETURN_IF_ERROR(Add(trained.get(), VectorsOf(at, count),
                               rows_.ids().subspan(static_cast<size_t>(at), static_cast<size_t>(count))));
    }
    ABSL_ASSIGN_OR_RETURN(const FileMark mark, SaveFaissIndex(*trained, PartPath(part)));
    ABSL_RETURN_IF_ERROR(BuildStageFile::WriteRecord(PartRecordPath(part), {identity, end - begin, 0, mark}));
    trained->reset();
  }
  return Merge(trained.get());
}

// Builds an index of some rows after the other, each in a file that stays, as one cannot be put together of them.
absl::Status IndexBuilder::AddInShards(int64_t shard_rows) {
  parts_ = (rows_.rows() + shard_rows - 1) / shard_rows;
  Checksum name;
  const std::string identity = Identity();
  name.Add(identity.data(), identity.size());
  const std::string base = std::filesystem::path(store_.path()).filename().string();
  for (int64_t part = 0; part < parts_; ++part) {
    const int64_t begin = part * shard_rows;
    const int64_t end = std::min(begin + shard_rows, rows_.rows());
    // The name is that of no other build, so an index that is there keeps its shards until it goes.
    IndexShard shard{
        .file = absl::StrCat(base, ".shard-", absl::Hex(name.Value(), absl::kZeroPad16), "-", begin, "-", end),
        .rows = end - begin};
    const std::string path = ShardPath(store_.path(), shard);
    const std::string of_rows = absl::StrCat(identity, " ", begin, " ", end);
    const std::optional<BuildStageFile::Record> kept = BuildStageFile::ReadRecord(PartRecordPath(part));
    if (kept.has_value() && kept->identity == of_rows && CheckFile(path, kept->mark).ok()) {
      shard.mark = kept->mark;
      resumed_ += shard.rows;
    } else {
      ABSL_RETURN_IF_ERROR(AddShard(begin, end));
      ABSL_ASSIGN_OR_RETURN(shard.mark, SaveFaissIndex(*index_, path));
      ABSL_RETURN_IF_ERROR(BuildStageFile::WriteRecord(PartRecordPath(part), {of_rows, shard.rows, 0, shard.mark}));
      Empty();
    }
    shards_.push_back(std::move(shard));
  }
  index_.reset();
  return absl::OkStatus();
}

// Takes the rows out of the index.
void IndexBuilder::Empty() {
  index_->reset();
  static_cast<faiss::IndexIDMap2&>(*index_).rev_map.clear();  // which FAISS leaves as it is
}

absl::Status IndexBuilder::AddShard(int64_t begin, int64_t end) {
  ABSL_RETURN_IF_ERROR(Stopped(begin));
  added_ = begin;
  const auto ids = rows_.ids().subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
  // FAISS's own graphs draw levels, and a shard is the same whether those before it were built just now or not.
  if (auto* const hnsw = dynamic_cast<faiss::IndexHNSW*>(static_cast<faiss::IndexIDMap2&>(*index_).index)) {
    hnsw->hnsw.rng = faiss::RandomGenerator(static_cast<int64_t>(options_.seed));
  }
  std::stop_source stop;
  const auto look = [this, &stop, tell = TellAdded()](int64_t rows) {
    tell(rows);
    if (options_.stopped && options_.stopped()) stop.request_stop();
  };
  ABSL_ASSIGN_OR_RETURN(const std::unique_ptr<GraphBuilder> graph, GraphOf(index_.get(), look, stop.get_token()));
  // All at once, so that nothing grows by more than it takes.
  if (graph != nullptr) return graph->Add(VectorsOf(begin, end - begin), ids);
  for (int64_t at = begin; at < end; at += StepRows()) {
    ABSL_RETURN_IF_ERROR(Stopped(at));
    added_ = at;
    const int64_t count = std::min(StepRows(), end - at);
    ABSL_RETURN_IF_ERROR(Add(index_.get(), VectorsOf(at, count),
                             ids.subspan(static_cast<size_t>(at - begin), static_cast<size_t>(count))));
  }
  return absl::OkStatus();
}

absl::Status IndexBuilder::Merge(faiss::Index* trained) {
  std::vector<FaissIndex> parts;
  for (int64_t part = 0; part < parts_; ++part) {
    ABSL_ASSIGN_OR_RETURN(FaissIndex mapped, LoadMappedFaissIndex(PartPath(part)));
    parts.push_back(std::move(mapped));
  }
  const auto merged = [this](int64_t done, int64_t total) {
    Tell(BuildStage::kMerge, rows_.rows() * done / total, rows_.rows());
  };
  ABSL_ASSIGN_OR_RETURN(merged_, MergeIvfParts(trained, parts, MergedPath(), merged));
  ABSL_ASSIGN_OR_RETURN(index_, LoadMappedFaissIndex(MergedPath()));
  description_.is_mapped = true;
  return absl::OkStatus();
}

}  // namespace reembed
