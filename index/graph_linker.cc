// SPDX-License-Identifier: Apache-2.0
#include "index/graph_linker.h"

#include <faiss/impl/HNSW.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

namespace reembed {
namespace {

// Rows of a batch: enough that waiting for the slowest thread costs little, few enough that comparing all with each
// other does. It must not depend on the number of threads.
constexpr int64_t kBatchRows = 256;
// Receivers are dealt into so many parts, which threads take as they come.
constexpr size_t kParts = 64;

struct Neighbour {
  float distance = 0;
  int32_t row = -1;
  bool operator<(const Neighbour& other) const {
    return distance != other.distance ? distance < other.distance : row < other.row;
  }
};

// Rows that are the same row are as far from each other as from whoever is linked: nothing that is compared tells them
// apart, so many of them would take all places, and be left by no link. So many of as many places may be as far.
constexpr size_t MostAlike(size_t places) { return std::max<size_t>(places / 4, 1); }

// The nearest rows that a search has seen, nearest first, and which of them it has been to.
class Pool {
 public:
  explicit Pool(size_t most) : most_(most) { seen_.reserve(most + 1); }

  void Clear() { seen_.clear(); }
  size_t size() const { return seen_.size(); }
  const Neighbour& operator[](size_t i) const { return seen_[i].neighbour; }

  bool WouldTake(float distance) const { return seen_.size() < most_ || distance < seen_.back().neighbour.distance; }

  // The place that it took; size() if none.
  size_t Offer(Neighbour neighbour) {
    if (!WouldTake(neighbour.distance)) return seen_.size();
    size_t place = seen_.size();
    while (place > 0 && neighbour < seen_[place - 1].neighbour) --place;
    if (Alike(place, neighbour.distance) >= MostAlike(most_)) return seen_.size();
    if (seen_.size() == most_) seen_.pop_back();
    seen_.insert(seen_.begin() + static_cast<ptrdiff_t>(place), {neighbour, false});
    return place;
  }

  // The nearest one from `place` on that was not visited; size() if there is none.
  size_t NextFrom(size_t place) const {
    while (place < seen_.size() && seen_[place].visited) ++place;
    return place;
  }
  void Visit(size_t place) { seen_[place].visited = true; }

 private:
  struct Seen {
    Neighbour neighbour;
    bool visited = false;
  };

  // How many around `place` are as far.
  size_t Alike(size_t place, float distance) const {
    size_t begin = place, end = place;
    while (begin > 0 && seen_[begin - 1].neighbour.distance == distance) --begin;
    while (end < seen_.size() && seen_[end].neighbour.distance == distance) ++end;
    return end - begin;
  }

  const size_t most_;
  std::vector<Seen> seen_;
};

// Rows that a search has met. Forgets all in no time.
class Met {
 public:
  explicit Met(size_t rows) : round_of_(rows, 0) {}
  void Forget() {
    if (++round_ != 0) return;
    std::fill(round_of_.begin(), round_of_.end(), uint8_t{0});
    round_ = 1;
  }
  // Whether it is the first time.
  bool Add(int32_t row) { return std::exchange(round_of_[row], round_) != round_; }

 private:
  std::vector<uint8_t> round_of_;
  uint8_t round_ = 0;
};

// A link that its receiver gives back.
struct ReturnLink {
  int32_t receiver = -1;
  int32_t level = 0;
  Neighbour to;
};

// A link of a list that is being thinned. Settled ones were compared with each other before.
struct Entry {
  Neighbour to;
  bool settled = false;
};

// One list of links: its place in graph->neighbors.
struct List {
  size_t begin = 0;
  size_t places = 0;
};

List ListOf(const faiss::HNSW& graph, int32_t row, int level) {
  const auto from = static_cast<size_t>(graph.cum_nneighbor_per_level[level]);
  const auto to = static_cast<size_t>(graph.cum_nneighbor_per_level[level + 1]);
  return {graph.offsets[row] + from, to - from};
}

}  // namespace

// What one Link() call shares between its threads.
struct GraphLinker::Run {
  std::vector<int32_t> order;  // of the rows to link: highest level first
  int64_t begin = 0;           // the batch, in `order`
  int64_t end = 0;
  std::atomic<int64_t> next{0};   // what the next free thread takes
  std::vector<ReturnLink> links;  // by parts
  size_t part_begin[kParts + 1] = {};
  bool taking = false;  // which step it is
  bool done = false;

  void Order(const faiss::HNSW& graph, int64_t first);
  void Reserve(const faiss::HNSW& graph);
  void Deal(const faiss::HNSW& graph, const std::vector<float>& distances);
};

struct GraphLinker::Worker {
  Worker(GraphLinker* linker, Run* run)
      : graph(*linker->graph_),
        linker(linker),
        run(run),
        query(linker->codes_),
        pool(static_cast<size_t>(graph.efConstruction)),
        met(graph.levels.size()) {
    const auto most = static_cast<size_t>(std::max<int64_t>(graph.cum_nneighbor_per_level[1], kBatchRows)) + 1;
    rows.resize(most);
    found.resize(most);
    in_batch.resize(most);
    in_batch_distances.resize(most);
    list.reserve(most);
    kept.reserve(most);
  }

  int32_t RowAt(int64_t place) const { return run->order[static_cast<size_t>(place)]; }

  // The rows linked to from `row`, into rows[]. Only those not met before, if `new_only`.
  size_t Gather(int32_t row, int level, bool new_only) {
    const List at = ListOf(graph, row, level);
    size_t n = 0;
    for (size_t i = at.begin; i < at.begin + at.places && graph.neighbors[i] >= 0; ++i) {
      const int32_t neighbour = graph.neighbors[i];
      if (new_only && !met.Add(neighbour)) continue;
      if (n < 8) query.Prefetch(neighbour);
      rows[n++] = neighbour;
    }
    return n;
  }

  void PrefetchLinks(int32_t row, int level) const {
    constexpr size_t kLinksOfLine = 16;
    const List at = ListOf(graph, row, level);
    for (size_t i = 0; i < at.places; i += kLinksOfLine) __builtin_prefetch(graph.neighbors.data() + at.begin + i);
  }

  // Walks to the row of `level` that is nearest to the query.
  void Descend(int level, Neighbour* nearest) {
    for (;;) {
      const int32_t from = nearest->row;
      const size_t n = Gather(from, level, false);
      query.Distances(rows.data(), n, found.data());
      for (size_t i = 0; i < n; ++i) *nearest = std::min(*nearest, {found[i], rows[i]});
      if (nearest->row == from) return;
    }
  }

  // Fills the pool with the nearest rows of `level`.
  void Search(int level, Neighbour from) {
    met.Forget();
    met.Add(from.row);
    pool.Clear();
    pool.Offer(from);
    for (size_t place = 0; place < pool.size();) {
      pool.Visit(place);
      const size_t n = Gather(pool[place].row, level, true);
      // Often it is the next to be visited; its links can come while distances are computed.
      if (const size_t next = pool.NextFrom(place); next < pool.size()) PrefetchLinks(pool[next].row, level);
      query.Distances(rows.data(), n, found.data());
      size_t nearest = pool.size();
      for (size_t i = 0; i < n; ++i) {
        if (!pool.WouldTake(found[i])) continue;
        const size_t taken = pool.Offer({found[i], rows[i]});
        if (taken >= nearest) continue;
        nearest = taken;
        PrefetchLinks(rows[i], level);
      }
      place = pool.NextFrom(std::min(place, nearest));
    }
  }

  // Finds the neighbours of the row at `place` of the order and writes its own lists.
  void LinkRow(int64_t place) {
    const int32_t row = RowAt(place);
    query.Load(row);
    const auto before = static_cast<size_t>(place - run->begin);
    for (size_t i = 0; i < before; ++i) in_batch[i] = RowAt(run->begin + static_cast<int64_t>(i));
    query.Distances(in_batch.data(), before, in_batch_distances.data());
    const int top = graph.levels[row] - 1;
    Neighbour nearest;
    if (graph.max_level >= 0) {
      nearest.row = graph.entry_point;
      query.Distances(&nearest.row, 1, &nearest.distance);
      for (int level = graph.max_level; level > top; --level) Descend(level, &nearest);
    }
    for (int level = top; level >= 0; --level) {
      pool.Clear();
      if (level <= graph.max_level) {
        Search(level, nearest);
        nearest = pool[0];
      }
      // Rows before this one have its levels or more.
      for (size_t i = 0; i < before; ++i) {
        if (pool.WouldTake(in_batch_distances[i])) pool.Offer({in_batch_distances[i], in_batch[i]});
      }
      WriteOwnLinks(row, level);
    }
  }

  void WriteOwnLinks(int32_t row, int level) {
    const List at = ListOf(graph, row, level);
    list.clear();
    for (size_t i = 0; i < pool.size(); ++i) list.push_back({pool[i], false});
    if (list.size() >= at.places) {
      Thin(row, at.places);
      Write(row, level, at);
      query.Load(row);
    } else {
      kept.clear();
      for (const Entry& entry : list) kept.push_back(entry);
      Write(row, level, at);
      linker->settled_[linker->first_list_[row] + level] = 0;
    }
  }

  void Write(int32_t row, int level, const List& at) {
    for (size_t i = 0; i < at.places; ++i) {
      graph.neighbors[at.begin + i] = i < kept.size() ? kept[i].to.row : -1;
      if (i < kept.size()) linker->distances_[at.begin + i] = kept[i].to.distance;
    }
    linker->settled_[linker->first_list_[row] + level] = static_cast<uint16_t>(kept.size());
  }

  // list -> kept: from the nearest on, each that is nearer to the owner than to all kept before; `most` of them. Two
  // that are settled have been compared before.
  void Thin(int32_t owner, size_t most) {
    // Of rows that are as far, each owner prefers others: all of them are somebody's neighbours.
    const auto rank = [owner](int32_t row) { return static_cast<uint32_t>(row ^ owner) * 0x9E3779B1u; };
    std::sort(list.begin(), list.end(), [&rank](const Entry& a, const Entry& b) {
      return a.to.distance != b.to.distance ? a.to.distance < b.to.distance : rank(a.to.row) < rank(b.to.row);
    });
    kept.clear();
    size_t alike = 0;
    for (const Entry& entry : list) {
      if (kept.empty() || kept.back().to.distance != entry.to.distance) alike = 0;
      if (alike == MostAlike(most) || !Bears(entry)) continue;
      kept.push_back(entry);
      ++alike;
      if (kept.size() == most) return;
    }
  }

  bool Bears(const Entry& entry) {
    size_t n = 0;
    for (const Entry& other : kept) {
      if (!entry.settled || !other.settled) rows[n++] = other.to.row;
    }
    if (n == 0) return true;
    query.Load(entry.to.row);
    constexpr size_t kAtOnce = 8;  // often the first few decide
    for (size_t i = 0; i < n; i += kAtOnce) {
      const size_t count = std::min(kAtOnce, n - i);
      query.Distances(rows.data() + i, count, found.data());
      for (size_t j = 0; j < count; ++j) {
        if (found[j] < entry.to.distance) return false;
      }
    }
    return true;
  }

  // The receiver of a link links back.
  void TakeLink(const ReturnLink& link) {
    const List at = ListOf(graph, link.receiver, link.level);
    int32_t* const links = graph.neighbors.data() + at.begin;
    float* const distances = linker->distances_.data() + at.begin;
    if (links[at.places - 1] < 0) {
      size_t i = at.places - 1;
      while (i > 0 && links[i - 1] < 0) --i;
      links[i] = link.to.row;
      distances[i] = link.to.distance;
      return;
    }
    const size_t settled = linker->settled_[linker->first_list_[link.receiver] + link.level];
    FindDistances(link.receiver, links, distances, at.places);
    list.clear();
    for (size_t i = 0; i < at.places; ++i) list.push_back({{distances[i], links[i]}, i < settled});
    list.push_back({link.to, false});
    Thin(link.receiver, at.places);
    Write(link.receiver, link.level, at);
  }

  // Of links that were there before the linker.
  void FindDistances(int32_t owner, const int32_t* links, float* distances, size_t n) {
    bool loaded = false;
    for (size_t i = 0; i < n; ++i) {
      if (!std::isnan(distances[i])) continue;
      if (!std::exchange(loaded, true)) query.Load(owner);
      query.Distances(links + i, 1, distances + i);
    }
  }

  void LinkBatch() {
    for (;;) {
      const int64_t place = run->begin + run->next.fetch_add(1, std::memory_order_relaxed);
      if (place >= run->end) return;
      LinkRow(place);
    }
  }

  void TakeLinks() {
    for (;;) {
      const auto part = static_cast<size_t>(run->next.fetch_add(1, std::memory_order_relaxed));
      if (part >= kParts) return;
      for (size_t i = run->part_begin[part]; i < run->part_begin[part + 1]; ++i) TakeLink(run->links[i]);
    }
  }

  faiss::HNSW& graph;
  GraphLinker* const linker;
  Run* const run;
  GraphQuery query;
  Pool pool;
  Met met;
  std::vector<int32_t> rows;
  std::vector<float> found;
  std::vector<int32_t> in_batch;
  std::vector<float> in_batch_distances;
  std::vector<Entry> list;
  std::vector<Entry> kept;
};

GraphLinker::GraphLinker(faiss::HNSW* graph, const GraphCodes* codes, int threads)
    : graph_(graph), codes_(codes), threads_(threads) {}

GraphLinker::~GraphLinker() = default;

void GraphLinker::GrowLists() {
  distances_.resize(graph_->neighbors.size(), std::numeric_limits<float>::quiet_NaN());
  if (first_list_.empty()) first_list_.push_back(0);
  for (size_t row = first_list_.size() - 1; row < graph_->levels.size(); ++row) {
    first_list_.push_back(first_list_.back() + graph_->levels[row]);
  }
  settled_.resize(static_cast<size_t>(first_list_.back()), 0);
}

// The rows from `first` on: from the highest level down, so that a row finds its levels there, and else in no order, so
// that no part of the graph is closed before others have begun.
void GraphLinker::Run::Order(const faiss::HNSW& graph, int64_t first) {
  std::vector<std::vector<int32_t>> by_level;
  for (auto row = static_cast<int32_t>(first); row < static_cast<int32_t>(graph.levels.size()); ++row) {
    const auto level = static_cast<size_t>(graph.levels[row]);
    if (by_level.size() <= level) by_level.resize(level + 1);
    by_level[level].push_back(row);
  }
  constexpr int64_t kSeed = 789;
  faiss::RandomGenerator random(kSeed);
  for (; !by_level.empty(); by_level.pop_back()) {
    std::vector<int32_t>& rows = by_level.back();
    for (size_t i = rows.size(); i > 1; --i) std::swap(rows[i - 1], rows[random.rand_int(static_cast<int>(i))]);
    order.insert(order.end(), rows.begin(), rows.end());
  }
}

// The first batch has the most lists.
void GraphLinker::Run::Reserve(const faiss::HNSW& graph) {
  size_t most = 0;
  for (size_t i = 0; i < std::min(order.size(), static_cast<size_t>(kBatchRows)); ++i) {
    most += static_cast<size_t>(graph.cum_nneighbor_per_level[graph.levels[order[i]]]);
  }
  links.resize(most);
}

// Deals the links of the batch to their receivers' parts, in the order of the batch.
void GraphLinker::Run::Deal(const faiss::HNSW& graph, const std::vector<float>& distances) {
  const auto for_each_link = [&](const auto& take) {
    for (int64_t place = begin; place < end; ++place) {
      const int32_t row = order[static_cast<size_t>(place)];
      for (int level = 0; level < graph.levels[row]; ++level) {
        const List at = ListOf(graph, row, level);
        for (size_t i = at.begin; i < at.begin + at.places && graph.neighbors[i] >= 0; ++i) {
          take(ReturnLink{graph.neighbors[i], level, {distances[i], row}});
        }
      }
    }
  };
  size_t counts[kParts] = {};
  for_each_link([&](const ReturnLink& link) { ++counts[static_cast<size_t>(link.receiver) % kParts]; });
  part_begin[0] = 0;
  for (size_t part = 0; part < kParts; ++part) part_begin[part + 1] = part_begin[part] + counts[part];
  std::copy(part_begin, part_begin + kParts, counts);
  for_each_link([&](const ReturnLink& link) { links[counts[static_cast<size_t>(link.receiver) % kParts]++] = link; });
}

absl::Status GraphLinker::Link(int64_t first, const std::function<void(int64_t rows)>& progress,
                               const std::stop_token& stop) try {
  GrowLists();
  Run run;
  run.Order(*graph_, first);
  run.Reserve(*graph_);
  const auto rows = static_cast<int64_t>(run.order.size());
  run.end = std::min(rows, kBatchRows);
  // Between the steps, by one thread while the others wait.
  const auto turn = [&]() noexcept {
    run.next.store(0, std::memory_order_relaxed);
    if (std::exchange(run.taking, !run.taking)) {
      const int32_t highest = run.order[static_cast<size_t>(run.begin)];
      if (graph_->levels[highest] - 1 > graph_->max_level) {
        graph_->max_level = graph_->levels[highest] - 1;
        graph_->entry_point = highest;
      }
      if (progress) progress(run.end);
      run.begin = run.end;
      run.end = std::min(rows, run.begin + kBatchRows);
      run.done = run.begin == rows || stop.stop_requested();
    } else {
      run.Deal(*graph_, distances_);
    }
  };
  const auto threads = static_cast<ptrdiff_t>(std::clamp<int64_t>(rows / 8, 1, threads_));
  std::barrier step(threads, turn);
  const auto work = [&run, &step](Worker* worker) {
    while (!run.done) {
      worker->LinkBatch();
      step.arrive_and_wait();
      worker->TakeLinks();
      step.arrive_and_wait();
    }
  };
  if (rows == 0) return absl::OkStatus();
  std::vector<std::unique_ptr<Worker>> workers;
  for (ptrdiff_t i = 0; i < threads; ++i) workers.push_back(std::make_unique<Worker>(this, &run));
  std::vector<std::jthread> others;
  others.reserve(workers.size());
  for (size_t i = 1; i < workers.size(); ++i) {
    try {
      others.emplace_back(work, workers[i].get());
    } catch (const std::system_error&) {
      step.arrive_and_drop();  // the system has no more threads: those there are do it
    }
  }
  work(workers[0].get());
  others.clear();
  if (run.begin < rows) return absl::CancelledError("graph: stopped");
  return absl::OkStatus();
} catch (const std::bad_alloc&) {
  return absl::ResourceExhaustedError("graph: not enough memory to link rows");
}

}  // namespace reembed
