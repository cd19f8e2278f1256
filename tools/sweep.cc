// SPDX-License-Identifier: Apache-2.0
#include "tools/sweep.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/mutex.h"
#include "engine/pace/rate_limiter.h"
#include "tools/format.h"
#include "tools/sample/agentloop_phrases.h"

namespace reembed {
namespace {

constexpr int64_t kFewRequests = 20;
constexpr double kNearlyBest = 0.95;
constexpr double kEvenness = 1.5;
constexpr size_t kLongestText = 2000;
constexpr double kMedianBytes = 200;
constexpr double kSpread = 0.8;  // of the logarithm of the length

double PerSecond(int64_t count, absl::Duration elapsed) {
  return elapsed > absl::ZeroDuration() ? static_cast<double>(count) / absl::ToDoubleSeconds(elapsed) : 0;
}

// Refused before any work was done for it.
bool IsFree(const absl::Status& status) {
  return absl::IsResourceExhausted(status) || absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsFailedPrecondition(status) || absl::IsCancelled(status);
}

}  // namespace

bool SweepCell::IsThin() const { return requests < std::max(kFewRequests, int64_t{2} * concurrency); }

double SweepCell::TextsPerSecond() const { return PerSecond(texts, elapsed); }
double SweepCell::TokensPerSecond() const {
  const int64_t all_texts = requests * batch_size;
  return all_texts == 0 ? 0 : TextsPerSecond() * static_cast<double>(tokens) / static_cast<double>(all_texts);
}

absl::Duration Percentile(absl::Span<const absl::Duration> sorted, double share) {
  if (sorted.empty()) return absl::ZeroDuration();
  const double rank = std::ceil(share * static_cast<double>(sorted.size()));
  return sorted[static_cast<size_t>(std::clamp(rank, 1.0, static_cast<double>(sorted.size()))) - 1];
}

const SweepCell* FindKnee(absl::Span<const SweepCell> cells) {
  for (const bool with_errors : {false, true}) {
    double best = 0;
    const auto counts = [&](const SweepCell& cell) { return cell.texts > 0 && (with_errors || cell.errors == 0); };
    for (const SweepCell& cell : cells) {
      if (counts(cell)) best = std::max(best, cell.TextsPerSecond());
    }
    const SweepCell* knee = nullptr;
    for (const SweepCell& cell : cells) {
      if (!counts(cell) || cell.TextsPerSecond() < kNearlyBest * best) continue;
      const auto rank = [](const SweepCell& c) { return std::pair(c.concurrency, -c.TextsPerSecond()); };
      if (knee == nullptr || rank(cell) < rank(*knee)) knee = &cell;
    }
    if (knee != nullptr) return knee;
  }
  return nullptr;
}

std::vector<int> ConcurrencySteps(int max) {
  std::vector<int> steps;
  for (int step = 1; step < max; step *= 2) steps.push_back(step);
  steps.push_back(max);
  return steps;
}

std::vector<int> BatchSizeSteps(int max) {
  std::vector<int> steps;
  for (int step = 1; step < max; step *= step == 1 ? 8 : 4) steps.push_back(step);
  steps.push_back(max);
  return steps;
}

std::string SampleText(int64_t number) {
  std::mt19937_64 random(static_cast<uint64_t>(number) + 1);
  // A normal number from twelve even ones: distributions of the standard library differ between platforms.
  double normal = -6;
  for (int i = 0; i < 12; ++i) normal += static_cast<double>(random() >> 11) * 0x1.0p-53;
  const double bytes = std::clamp(kMedianBytes * std::exp(kSpread * normal), 20.0, static_cast<double>(kLongestText));
  const auto pick = [&](const auto& list) { return list[random() % list.size()]; };
  std::string text = absl::StrCat("Note ", number, ".");
  while (text.size() < static_cast<size_t>(bytes)) {
    const SampleTopic& topic = SampleTopics()[random() % SampleTopics().size()];
    const absl::string_view phrase = random() % 2 == 0 ? pick(topic.answers) : pick(topic.details);
    text.push_back(' ');
    for (size_t i = 0; i < phrase.size(); ++i) {
      if (phrase[i] != '$' || i + 1 == phrase.size()) {
        text.push_back(phrase[i]);
        continue;
      }
      ++i;
      absl::StrAppend(&text, phrase[i] == 'n' ? absl::StrCat(random() % 90 + 10) : std::string(pick(topic.subjects)));
    }
  }
  return text;
}

// One request's place in the closed loop.
struct Sweeper::Request {
  Request(const BatchLimits& limits, int dim) : batch(limits, dim) {}
  Batch batch;
  std::vector<std::string> texts;
  int64_t bytes = 0;
  int64_t bound = 0;  // tokens that it may cost at most
  Moment sent;
  Moment answered;
  absl::Status status;
};

// From the client's threads to ours.
class Sweeper::Answers {
 public:
  void Push(Request* request) {
    const MutexLock lock(&mutex_);
    answered_.push_back(request);
    changed_.notify_one();  // under the lock: the last one lets the object end
  }
  Request* Pop() {
    MutexLock lock(&mutex_);
    changed_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !answered_.empty(); });
    Request* const request = answered_.front();
    answered_.pop_front();
    return request;
  }

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Request*> answered_ ABSL_GUARDED_BY(mutex_);
};

Sweeper::Sweeper(EmbeddingClient* client, const SweepOptions& options) : client_(client), options_(options) {}

int64_t Sweeper::tokens_used() const { return options_.tokens_used + client_->stats().tokens + tokens_lost_; }

// No tokenizer makes more tokens than there are bytes.
int64_t Sweeper::BoundOf(int64_t bytes) const {
  if (!options_.even_texts || tokens_per_byte_ <= 0) return bytes;
  return static_cast<int64_t>(std::ceil(std::min(1.0, kEvenness * tokens_per_byte_) * static_cast<double>(bytes)));
}

void Sweeper::FillBatch(Request* request, int batch_size) {
  request->texts.clear();
  request->bytes = 0;
  for (int i = 0; i < batch_size; ++i) {
    request->texts.push_back(options_.text(next_text_++));
    request->bytes += static_cast<int64_t>(request->texts.back().size() + options_.extra_bytes_per_text);
  }
  request->bound = BoundOf(request->bytes);
  request->batch.Clear();
  for (int i = 0; i < batch_size; ++i) {
    request->batch.AddRowWithText(i, int64_t{i}, i, request->texts[i],
                                  estimator_.Estimate(static_cast<int64_t>(request->texts[i].size())));
  }
}

// The closed loop of one cell: what is in the air, and what has come of it.
class Sweeper::Loop {
 public:
  // `allowed`: tokens that the cell may cost, if they are limited.
  Loop(Sweeper* sweeper, int64_t allowed, SweepCell* cell)
      : sweeper_(*sweeper),
        client_(sweeper->client_),
        allowed_(allowed),
        tokens_before_(client_->stats().tokens),
        lost_before_(sweeper->tokens_lost_),
        refused_before_(client_->stats().http_429),
        cell_(*cell) {}

  bool is_waiting() const { return out_ > 0; }
  bool is_over() const { return MonotonicNow() >= end_; }

  // False: it does not leave, as it may cost more than is left.
  bool Send(Request* request) {
    const int64_t used = client_->stats().tokens - tokens_before_ + sweeper_.tokens_lost_ - lost_before_;
    if (sweeper_.options_.max_tokens > 0 && used + out_bound_ + request->bound > allowed_) return false;
    ++out_;
    out_bound_ += request->bound;
    request->sent = MonotonicNow();
    client_->Send(&request->batch, Done([this, request](absl::Status status) {
      request->answered = MonotonicNow();
      request->status = std::move(status);
      answers_.Push(request);
    }));
    return true;
  }

  // Waits for the next answer, and counts it.
  Request* Take() {
    Request* const request = answers_.Pop();
    --out_;
    const int64_t counted = client_->stats().tokens;
    if (request->status.ok()) request->status = client_->Decode(&request->batch);
    const int64_t cost = client_->stats().tokens - counted;
    out_bound_ -= request->bound;
    if (!request->status.ok()) {
      ++cell_.errors;
      if (cell_.failure.ok()) cell_.failure = request->status;
      if (!IsFree(request->status) && cost == 0) sweeper_.tokens_lost_ += request->bound;
      return request;
    }
    sweeper_.tokens_per_byte_ =
        std::max(sweeper_.tokens_per_byte_, static_cast<double>(cost) / static_cast<double>(request->bytes));
    ++cell_.requests;
    cell_.latencies.push_back(request->answered - request->sent);
    last_ = std::max(last_, request->answered);
    if (request->answered <= end_) {
      in_time_ += cell_.batch_size;
      last_in_time_ = std::max(last_in_time_, request->answered);
    }
    return request;
  }

  // What is wrong for good, or fails from the first request on, need not be asked again and again.
  bool IsHopeless(const absl::Status& status) const {
    return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status) ||
           (cell_.requests == 0 && cell_.errors >= cell_.concurrency);
  }

  // Nothing is in the air any more.
  void Finish() {
    // What came while the loop was still closed; of very long requests, what there is.
    cell_.texts = in_time_ > 0 ? in_time_ : cell_.requests * cell_.batch_size;
    cell_.elapsed = (in_time_ > 0 ? last_in_time_ : last_) - begin_;
    cell_.tokens = client_->stats().tokens - tokens_before_;
    cell_.http_429 = client_->stats().http_429 - refused_before_;
    std::sort(cell_.latencies.begin(), cell_.latencies.end());
  }

 private:
  Sweeper& sweeper_;
  EmbeddingClient* const client_;
  const int64_t allowed_;
  const int64_t tokens_before_, lost_before_, refused_before_;
  const Moment begin_ = MonotonicNow();
  const Moment end_ = begin_ + sweeper_.options_.time_per_cell;
  SweepCell& cell_;
  Answers answers_;
  int out_ = 0;
  int64_t out_bound_ = 0;  // tokens that those may cost at most
  int64_t in_time_ = 0;    // texts
  Moment last_ = begin_, last_in_time_ = begin_;
};

SweepCell Sweeper::Measure(int concurrency, int batch_size, int cells_left, const std::stop_token& stop) {
  SweepCell cell{.concurrency = concurrency, .batch_size = batch_size};
  const size_t text_bytes = (kLongestText + 64) * static_cast<size_t>(batch_size);
  const BatchLimits limits{.max_texts = batch_size, .max_rows = batch_size, .max_text_bytes = text_bytes};
  const int dim = client_->model().dim;
  if (static_cast<size_t>(Batch::BytesOf(limits, dim)) * concurrency > options_.max_memory_bytes) {
    cell.skipped = "takes more than 1 GB of memory";
    return cell;
  }
  std::vector<std::unique_ptr<Request>> requests;
  int64_t wave = 0;
  for (int i = 0; i < concurrency; ++i) {
    requests.push_back(std::make_unique<Request>(limits, dim));
    FillBatch(requests.back().get(), batch_size);
    wave += requests.back()->bound;
  }
  int64_t allowed = 0;  // for this cell
  const int64_t left = options_.max_tokens - tokens_used();
  if (options_.max_tokens > 0) {
    if (wave > left) {
      cell.skipped = absl::StrCat("may take ", Counted(wave, "token", "tokens"), ", ",
                                  WithCommas(std::max<int64_t>(0, left)), " are left");
      return cell;
    }
    allowed = std::max(wave, left / cells_left);
  }

  Loop loop(this, allowed, &cell);
  bool going = true;
  for (auto& request : requests) going = going && !stop.stop_requested() && loop.Send(request.get());
  while (loop.is_waiting()) {
    Request* const request = loop.Take();
    going = going && !loop.IsHopeless(request->status) && !stop.stop_requested() && !loop.is_over();
    if (!going) continue;
    FillBatch(request, batch_size);
    going = loop.Send(request);
  }
  loop.Finish();
  return cell;
}

}  // namespace reembed
