// SPDX-License-Identifier: Apache-2.0
#include "index/exact_neighbors.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "index/brute_force.h"
#include "index/thread_count.h"

// Of the BLAS that FAISS is linked with: c = alpha * a^T * b + beta * c, by columns.
extern "C" int sgemm_(const char* transa, const char* transb, const int* m, const int* n, const int* k,
                      const float* alpha, const float* a, const int* lda, const float* b, const int* ldb,
                      const float* beta, float* c, const int* ldc);

namespace reembed {
namespace {

constexpr int kBlockRows = 1024;
constexpr int kBlockQueries = 256;

// A product in float32 may put rows that are nearly as near in another order; so many more are kept and looked at in
// double.
int Candidates(int k) { return 2 * k + 32; }

struct Candidate {
  float distance = 0;  // smaller is nearer, whatever the metric
  int64_t row = 0;
  bool operator<(const Candidate& other) const {
    return distance != other.distance ? distance < other.distance : row < other.row;
  }
};

// The nearest candidates so far of one query: a heap with the farthest on top.
class Shortlist {
 public:
  void Offer(const Candidate& candidate, size_t most) {
    if (heap_.size() == most) {
      if (!(candidate < heap_.front())) return;
      std::pop_heap(heap_.begin(), heap_.end());
      heap_.pop_back();
    }
    heap_.push_back(candidate);
    std::push_heap(heap_.begin(), heap_.end());
  }
  float worst(size_t most) const {
    return heap_.size() < most ? std::numeric_limits<float>::infinity() : heap_.front().distance;
  }
  const std::vector<Candidate>& heap() const { return heap_; }
  void Clear() { heap_.clear(); }

 private:
  std::vector<Candidate> heap_;
};

// What all threads share.
struct Task {
  absl::Span<const float> rows;
  absl::Span<const float> queries;
  int dim = 0;
  int64_t row_count = 0;
  int64_t query_count = 0;
  const ExactSearch& search;
  std::vector<float> centre;  // of some rows: where L2 is measured from, so that little cancels
  Neighbors* found = nullptr;
};

// One thread's part: some queries against all rows.
class Worker {
 public:
  explicit Worker(const Task& task)
      : task_(task),
        most_(static_cast<size_t>(Candidates(task.search.k))),
        block_(static_cast<size_t>(kBlockRows) * task.dim),
        asked_(static_cast<size_t>(kBlockQueries) * task.dim),
        products_(static_cast<size_t>(kBlockRows) * kBlockQueries),
        weights_(kBlockRows),
        shortlists_(kBlockQueries) {}

  void Search(int64_t first, int64_t count) {
    for (Shortlist& shortlist : shortlists_) shortlist.Clear();
    for (int64_t i = 0; i < count; ++i) Centred(task_.queries, first + i, &asked_[static_cast<size_t>(i) * task_.dim]);
    for (int64_t begin = 0; begin < task_.row_count; begin += kBlockRows) {
      const int64_t rows = std::min<int64_t>(kBlockRows, task_.row_count - begin);
      LookAt(begin, rows, first, count);
      if (task_.search.progress) task_.search.progress(rows * count);
    }
    for (int64_t i = 0; i < count; ++i) Settle(first + i, shortlists_[static_cast<size_t>(i)]);
  }

 private:
  void Centred(absl::Span<const float> from, int64_t row, float* to) const {
    const float* const vector = from.data() + row * task_.dim;
    if (task_.centre.empty()) {
      std::copy_n(vector, task_.dim, to);
    } else {
      for (int j = 0; j < task_.dim; ++j) to[j] = vector[j] - task_.centre[j];
    }
  }

  // What turns a product into a distance: for L2 half of a row's square is added, for cosine it is divided by its root.
  void LookAt(int64_t begin, int64_t rows, int64_t first, int64_t count) {
    const bool is_l2 = task_.search.metric == Metric::kL2;
    const bool is_cosine = task_.search.metric == Metric::kCosine;
    for (int64_t r = 0; r < rows; ++r) {
      float* const row = &block_[static_cast<size_t>(r) * task_.dim];
      Centred(task_.rows, begin + r, row);
      if (!is_l2 && !is_cosine) continue;
      double squares = 0;
      for (int j = 0; j < task_.dim; ++j) squares += static_cast<double>(row[j]) * row[j];
      weights_[r] = static_cast<float>(is_l2 ? squares / 2 : 1 / std::sqrt(squares));
    }
    const int m = static_cast<int>(rows);
    const int n = static_cast<int>(count);
    const float minus_one = -1, zero = 0;
    sgemm_("T", "N", &m, &n, &task_.dim, &minus_one, block_.data(), &task_.dim, asked_.data(), &task_.dim, &zero,
           products_.data(), &m);
    for (int64_t i = 0; i < count; ++i) {
      Shortlist& shortlist = shortlists_[static_cast<size_t>(i)];
      const float* const products = &products_[static_cast<size_t>(i * rows)];
      const int64_t excluded =
          task_.search.excluded.empty() ? -1 : task_.search.excluded[static_cast<size_t>(first + i)];
      float worst = shortlist.worst(most_);
      for (int64_t r = 0; r < rows; ++r) {
        const float distance = is_l2 ? products[r] + weights_[r] : is_cosine ? products[r] * weights_[r] : products[r];
        if (!(distance <= worst) || begin + r == excluded) continue;
        shortlist.Offer({distance, begin + r}, most_);
        worst = shortlist.worst(most_);
      }
    }
  }

  // The candidates in their true order.
  void Settle(int64_t query, const Shortlist& shortlist) const {
    const absl::Span<const float> asked = task_.queries.subspan(static_cast<size_t>(query) * task_.dim, task_.dim);
    struct Settled {
      double distance;
      int64_t row;
      float score;
    };
    std::vector<Settled> settled;
    for (const Candidate& candidate : shortlist.heap()) {
      const std::optional<double> score = ExactScore(
          asked, task_.rows.subspan(static_cast<size_t>(candidate.row) * task_.dim, task_.dim), task_.search.metric);
      if (!score.has_value()) continue;
      settled.push_back(
          {task_.search.metric == Metric::kL2 ? *score : -*score, candidate.row, static_cast<float>(*score)});
    }
    std::sort(settled.begin(), settled.end(), [](const Settled& a, const Settled& b) {
      return a.distance != b.distance ? a.distance < b.distance : a.row < b.row;
    });
    const size_t first = static_cast<size_t>(query) * task_.search.k;
    for (size_t i = 0; i < std::min<size_t>(settled.size(), task_.search.k); ++i) {
      task_.found->rows[first + i] = settled[i].row;
      task_.found->scores[first + i] = settled[i].score;
    }
  }

  const Task& task_;
  const size_t most_;
  std::vector<float> block_, asked_, products_, weights_;
  std::vector<Shortlist> shortlists_;
};

std::vector<float> CentreOf(absl::Span<const float> rows, int dim, int64_t count) {
  constexpr int64_t kLookedAt = 1000;
  std::vector<double> sums(static_cast<size_t>(dim));
  const int64_t step = std::max<int64_t>(count / kLookedAt, 1);
  int64_t seen = 0;
  for (int64_t row = 0; row < count; row += step, ++seen) {
    for (int j = 0; j < dim; ++j) sums[j] += rows[static_cast<size_t>(row * dim + j)];
  }
  std::vector<float> centre(static_cast<size_t>(dim));
  for (int j = 0; j < dim; ++j)
    centre[j] = static_cast<float>(sums[j] / static_cast<double>(std::max<int64_t>(seen, 1)));
  return centre;
}

}  // namespace

absl::StatusOr<Neighbors> FindExactNeighbors(absl::Span<const float> rows, absl::Span<const float> queries, int dim,
                                             const ExactSearch& search) {
  const bool fits = dim > 0 && search.k > 0 && rows.size() % static_cast<size_t>(dim) == 0 &&
                    queries.size() % static_cast<size_t>(dim) == 0 &&
                    (search.excluded.empty() || search.excluded.size() * static_cast<size_t>(dim) == queries.size());
  if (!fits) {
    return absl::InvalidArgumentError(absl::StrCat("exact neighbours: expected rows and queries of ", dim,
                                                   " numbers and k of at least 1, got ", rows.size(), " and ",
                                                   queries.size(), " numbers and k = ", search.k));
  }
  const auto query_count = static_cast<int64_t>(queries.size()) / dim;
  Neighbors found{.k = search.k};
  try {
    found.rows.assign(static_cast<size_t>(query_count) * search.k, -1);
    found.scores.assign(static_cast<size_t>(query_count) * search.k, 0);
    Task task{.rows = rows,
              .queries = queries,
              .dim = dim,
              .row_count = static_cast<int64_t>(rows.size()) / dim,
              .query_count = query_count,
              .search = search,
              .found = &found};
    if (search.metric == Metric::kL2) task.centre = CentreOf(rows, dim, task.row_count);
    const int64_t threads = std::clamp<int64_t>(ThreadCount(search.threads), 1, std::max<int64_t>(query_count, 1));
    // Queries that go together: few where there are few, so that no thread is idle.
    const int64_t group = std::clamp<int64_t>((query_count + threads - 1) / threads, 1, kBlockQueries);
    const OneBlasThread one_blas_thread;
    std::atomic<int64_t> next{0};
    std::atomic<bool> no_memory{false};
    const auto work = [&] {
      try {
        Worker worker(task);
        for (int64_t first = next.fetch_add(group); first < query_count; first = next.fetch_add(group)) {
          worker.Search(first, std::min(group, query_count - first));
        }
      } catch (const std::bad_alloc&) {
        no_memory = true;
      }
    };
    {
      std::vector<std::jthread> others;
      for (int64_t i = 1; i < threads; ++i) others.emplace_back(work);
      work();
    }
    if (!no_memory) return found;
  } catch (const std::bad_alloc&) {
  }
  return absl::ResourceExhaustedError(absl::StrCat("exact neighbours: not enough memory for ", query_count,
                                                   " queries with ", search.k, " neighbours each"));
}

}  // namespace reembed
