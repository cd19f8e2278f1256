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

SweepCell Sweeper::Measure(int concurrency, int batch_size, int cells_left, const std::stop_token& stop) {
  SweepCell cell{.concurrency = concurrency, .batch_size = batch_size};
  const size_t text_bytes = (kLongestText + 64) * static_cast<size_t>(batch_size);
  const BatchLimits limits{.max_texts = batch_size, .max_rows = batch_size, .max_text_bytes = text_bytes};
  const int dim = client_->model().dim;
  if (static_cast<size_t>(Batch::BytesOf(limits, dim)) * concurrency > options_.max_memory_bytes) {
    cell.skipped = "takes more than 1 GB of memory";
    return cell;
  }
  const int64_t tokens_before = client_->stats().tokens;
  const int64_t refused_before = client_->stats().http_429;
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

  Answers answers;
  int out = 0;
  int64_t out_bound = 0;
  const int64_t lost_before = tokens_lost_;
  const auto send = [&](Request* request) {
    const int64_t used = client_->stats().tokens - tokens_before + tokens_lost_ - lost_before;
    if (options_.max_tokens > 0 && used + out_bound + request->bound > allowed) return false;
    ++out;
    out_bound += request->bound;
    request->sent = MonotonicNow();
    client_->Send(&request->batch, Done([request, &answers](absl::Status status) {
      request->answered = MonotonicNow();
      request->status = std::move(status);
      answers.Push(request);
    }));
    return true;
  };

  const Moment begin = MonotonicNow();
  const Moment end = begin + options_.time_per_cell;
  Moment last = begin, last_in_time = begin;
  bool going = true;
  for (auto& request : requests) going = going && !stop.stop_requested() && send(request.get());
  int64_t in_time = 0;
  while (out > 0) {
    Request* const request = answers.Pop();
    --out;
    absl::Status status = request->status;
    const int64_t counted = client_->stats().tokens;
    if (status.ok()) status = client_->Decode(&request->batch);
    const int64_t cost = client_->stats().tokens - counted;
    out_bound -= request->bound;
    if (status.ok()) {
      tokens_per_byte_ = std::max(tokens_per_byte_, static_cast<double>(cost) / static_cast<double>(request->bytes));
      ++cell.requests;
      cell.latencies.push_back(request->answered - request->sent);
      last = std::max(last, request->answered);
      if (request->answered <= end) {
        in_time += batch_size;
        last_in_time = std::max(last_in_time, request->answered);
      }
    } else {
      ++cell.errors;
      if (cell.failure.ok()) cell.failure = status;
      if (!IsFree(status) && cost == 0) tokens_lost_ += request->bound;
    }
    // What is wrong for good, or fails from the first request on, need not be asked again and again.
    const bool hopeless = absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
                          absl::IsFailedPrecondition(status) || (cell.requests == 0 && cell.errors >= concurrency);
    going = going && !hopeless && !stop.stop_requested() && MonotonicNow() < end;
    if (!going) continue;
    FillBatch(request, batch_size);
    going = send(request);
  }
  // What came while the loop was still closed; of very long requests, what there is.
  cell.texts = in_time > 0 ? in_time : cell.requests * batch_size;
  cell.elapsed = (in_time > 0 ? last_in_time : last) - begin;
  cell.tokens = client_->stats().tokens - tokens_before;
  cell.http_429 = client_->stats().http_429 - refused_before;
  std::sort(cell.latencies.begin(), cell.latencies.end());
  return cell;
}

}  // namespace reembed
