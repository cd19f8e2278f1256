// SPDX-License-Identifier: Apache-2.0
#include "io/embed/endpoint_pool.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/counted.h"
#include "engine/status_macros.h"
#include "io/embed/own_trouble.h"

namespace reembed {
namespace {

constexpr int kMaxBadChecks = 3;       // unusable replies to one check
constexpr int64_t kCanaryTokens = 16;  // of one text, roughly
constexpr size_t kCanaryBytes = 1024;  // of all

bool IsForGood(const absl::Status& status) {
  return absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) || absl::IsFailedPrecondition(status);
}

bool IsTemporary(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status) ||
         absl::IsDataLoss(status);
}

int CanaryCount() { return static_cast<int>(CanaryTexts().size()); }

std::vector<EndpointTraits> TraitsOf(const std::vector<PoolEndpoint>& endpoints) {
  std::vector<EndpointTraits> traits;
  traits.reserve(endpoints.size());
  for (const PoolEndpoint& endpoint : endpoints) traits.push_back(endpoint.traits);
  return traits;
}

}  // namespace

// One Send() under way.
struct EndpointPool::Work {
  Batch* batch = nullptr;
  Done done;
  int64_t tokens = 0;
  int endpoint = -1;
  Moment sent;
  std::vector<int> tries;   // failed ones, for each endpoint; empty: none
  std::vector<int> givers;  // endpoints that answered a part of it before they failed
  absl::Status failure;     // the last that is not its endpoint's end
};

// Canary texts on their way to one endpoint.
struct EndpointPool::Check {
  Check(int to, int first, int count, int dim)
      : endpoint(to),
        first_text(first),
        batch({.max_texts = count, .max_rows = count, .max_text_bytes = kCanaryBytes}, dim) {
    for (int i = 0; i < count; ++i) batch.AddRowWithText(i, int64_t{i}, i, CanaryTexts()[first + i], kCanaryTokens);
  }

  const int endpoint;
  const int first_text;
  Batch batch;
  Moment sent;
};

absl::StatusOr<std::unique_ptr<EndpointPool>> EndpointPool::Make(std::vector<PoolEndpoint> endpoints,
                                                                 EndpointPoolOptions options) {
  if (endpoints.empty()) return absl::InvalidArgumentError("there is no endpoint");
  const Model& model = endpoints.front().client->model();
  for (const PoolEndpoint& endpoint : endpoints) {
    const Model& other = endpoint.client->model();
    if (other.name != model.name || other.dim != model.dim) {
      return absl::InvalidArgumentError(absl::StrCat(endpoint.name, ": expected the model ", model.name, " of ",
                                                     model.dim, " dimensions as of ", endpoints.front().name, ", got ",
                                                     other.name, " of ", other.dim));
    }
    if (endpoint.traits.concurrency < 1 || !(endpoint.traits.weight > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat(endpoint.name, ": concurrency should be at least 1, weight above 0"));
    }
  }
  if (!options.reference.empty() && options.reference.size() != static_cast<size_t>(CanaryCount()) * model.dim) {
    return absl::InvalidArgumentError("the canary's reference is of other texts or another width");
  }
  return std::unique_ptr<EndpointPool>(new EndpointPool(std::move(endpoints), std::move(options)));
}

EndpointPool::EndpointPool(std::vector<PoolEndpoint> endpoints, EndpointPoolOptions options)
    : model_(endpoints.front().client->model()),
      options_(std::move(options)),
      chooser_(TraitsOf(endpoints), options_.chooser),
      canary_(static_cast<int>(endpoints.size()), model_.dim, options_.check_interval, options_.reference),
      first_vectors_(endpoints.size()) {
  for (PoolEndpoint& endpoint : endpoints) {
    reports_.push_back({.name = endpoint.name});
    clients_.push_back(std::move(endpoint.client));
  }
  if (options_.check_first || clients_.size() > 1) return;
  chooser_.Passed(0);
  start_ = Start::kReady;
}

EndpointPool::~EndpointPool() {
  Stop(InTheAir::kDrop, absl::CancelledError("cancelled"));
  // A client that has ended must not be called by another one's thread. Whoever comes later calls none.
  MutexLock lock(&mutex_);
  acted_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return acting_ == 0; });
}

void EndpointPool::Send(Batch* batch, Done done) {
  auto work = std::make_unique<Work>();
  work->batch = batch;
  work->done = std::move(done);
  work->tokens = batch->tokens();
  Actions actions;
  MutexLock lock(&mutex_);
  const Moment now = options_.clock();
  answered_by_.erase(batch);
  if (start_ == Start::kNotYet && stopped_.ok()) {
    start_ = Start::kChecking;
    for (int e = 0; e < chooser_.size(); ++e) AddCheck(e, 0, CanaryCount(), now, &actions);
    first_checks_out_ = chooser_.size();
  }
  Route(std::move(work), now, &actions);
  AddDueChecks(now, &actions);
  Act(std::move(actions));
}

void EndpointPool::Route(WorkPtr work, Moment now, Actions* actions) {
  if (!tripped_.ok()) {
    actions->answer.emplace_back(std::move(work), tripped_);
    return;
  }
  if (!stopped_.ok()) {
    actions->answer.emplace_back(std::move(work), stopped_);
    return;
  }
  if (start_ == Start::kChecking) {
    parked_.push_back(std::move(work));
    return;
  }
  const int endpoint = chooser_.Choose(work->tokens, work->tries, now);
  if (endpoint < 0) {
    absl::Status failure = std::move(work->failure);
    if (failure.ok() && !chooser_.AllRemoved()) failure = last_failure_;
    if (failure.ok()) failure = first_fatal_;
    down_ = true;
    actions->answer.emplace_back(std::move(work), std::move(failure));
    return;
  }
  work->endpoint = endpoint;
  work->sent = now;
  chooser_.Started(endpoint, work->tokens, now);
  actions->send.push_back(std::move(work));
}

void EndpointPool::AddCheck(int endpoint, int first_text, int texts, Moment now, Actions* actions) {
  canary_.Begin(endpoint, now);
  auto check = std::make_unique<Check>(endpoint, first_text, texts, model_.dim);
  check->sent = now;
  ++checks_out_;
  actions->check.push_back(std::move(check));
}

// A probe of one that rests is a whole check: while it was away it may have been changed.
void EndpointPool::AddDueChecks(Moment now, Actions* actions) {
  if (start_ != Start::kReady || !stopped_.ok() || !tripped_.ok()) return;
  for (int e = 0; e < chooser_.size(); ++e) {
    if (chooser_.state(e) != EndpointState::kWorking || !canary_.TakeDue(e, now)) continue;
    AddCheck(e, canary_.NextText(), 1, now, actions);
  }
  // One endpoint alone is tried with the work itself.
  if (chooser_.size() == 1) return;
  for (int e = chooser_.TakeDueProbe(now); e >= 0; e = chooser_.TakeDueProbe(now)) {
    AddCheck(e, 0, CanaryCount(), now, actions);
  }
}

void EndpointPool::Act(Actions actions) {
  ++acting_;
  const absl::Status why = tripped_.ok() ? stopped_ : absl::CancelledError("cancelled");  // OK: nothing stops
  mutex_.unlock();
  if (options_.note) {
    for (const std::string& note : actions.notes) options_.note(note);
  }
  if (actions.stop.has_value()) {
    for (const auto& client : clients_) client->Stop(*actions.stop, why);
  }
  for (auto& check : actions.check) {
    Check* const to_send = check.get();
    clients_[to_send->endpoint]->Send(&to_send->batch,
                                      Done([this, check = std::move(check)](absl::Status status) mutable {
                                        OnChecked(std::move(check), std::move(status));
                                      }));
  }
  for (auto& [work, status] : actions.answer) std::move(work->done)(std::move(status));
  for (WorkPtr& work : actions.send) {
    EmbeddingClient* const client = clients_[work->endpoint].get();
    Batch* const batch = work->batch;
    client->Send(batch, Done([this, work = std::move(work)](absl::Status status) mutable {
                   OnAnswer(std::move(work), std::move(status));
                 }));
  }
  mutex_.lock();
  if (--acting_ == 0) acted_.notify_all();
}

void EndpointPool::OnAnswer(WorkPtr work, absl::Status status) {
  Actions actions;
  MutexLock lock(&mutex_);
  const Moment now = options_.clock();
  const int e = work->endpoint;
  chooser_.Ended(e, work->tokens, status.ok(), now);
  if (!tripped_.ok()) status = tripped_;
  if (status.ok()) {
    chooser_.Passed(e);
    down_ = false;
    work->givers.push_back(e);
  } else if (!work->batch->replies().empty()) {
    work->givers.push_back(e);
  }
  if (!work->givers.empty()) answered_by_[work->batch] = work->givers;
  if (IsOwnTrouble(status)) Trip(status, &actions);
  const bool elsewhere = tripped_.ok() && stopped_.ok() && (IsForGood(status) || IsTemporary(status));
  if (!elsewhere) {
    actions.answer.emplace_back(std::move(work), std::move(status));
  } else {
    NoteFailure(e, status, work->sent, now, &actions);
    work->tries.resize(chooser_.size());
    ++work->tries[e];
    if (!IsForGood(status)) work->failure = std::move(status);
    // Where work has failed everywhere the run ends; what is still under way need not try everything again.
    if (down_ && !work->failure.ok()) {
      actions.answer.emplace_back(std::move(work), last_failure_);
    } else {
      Route(std::move(work), now, &actions);
      if (!actions.send.empty()) ++rerouted_;
    }
  }
  AddDueChecks(now, &actions);
  Act(std::move(actions));
}

void EndpointPool::NoteFailure(int endpoint, const absl::Status& status, Moment sent, Moment now, Actions* actions) {
  reports_[endpoint].trouble = std::string(status.message());
  const bool alone = chooser_.size() == 1;
  if (IsForGood(status)) {
    if (first_fatal_.ok()) first_fatal_ = status;
    if (!chooser_.Remove(endpoint) || alone) return;
    actions->notes.push_back(
        absl::StrCat("endpoint ", reports_[endpoint].name, " is not used any more: ", status.message()));
    return;
  }
  last_failure_ = status;
  if (!chooser_.Failed(endpoint, sent, now) || alone) return;
  actions->notes.push_back(absl::StrCat("endpoint ", reports_[endpoint].name,
                                        " is not used for now, the others take over its work: ", status.message()));
}

void EndpointPool::OnChecked(std::unique_ptr<Check> check, absl::Status status) {
  const int e = check->endpoint;
  Batch& batch = check->batch;
  if (status.ok()) status = clients_[e]->Decode(&batch);
  for (const BatchText& text : batch.texts()) {
    if (status.ok() && !text.reject.ok()) status = absl::UnavailableError(text.reject.message());
  }
  Actions actions;
  MutexLock lock(&mutex_);
  const Moment now = options_.clock();
  if (IsOwnTrouble(status)) Trip(status, &actions);
  const bool going = tripped_.ok() && stopped_.ok();
  if (absl::IsDataLoss(status)) batch.NextAttempt();
  if (absl::IsDataLoss(status) && batch.attempts() < kMaxBadChecks && going) {
    actions.check.push_back(std::move(check));
  } else {
    const EndpointState before = chooser_.state(e);
    if (!tripped_.ok()) {
    } else if (status.ok()) {
      // Also when nothing is sent any more: it is about the vectors that came.
      std::vector<float> vectors(batch.vectors().begin(), batch.vectors().end());
      if (start_ == Start::kChecking) {
        first_vectors_[e] = std::move(vectors);
      } else {
        Judge(e, check->first_text, vectors, &actions);
        if (before == EndpointState::kResting && tripped_.ok()) {
          actions.notes.push_back(absl::StrCat("endpoint ", reports_[e].name, " is used again"));
        }
      }
    } else {
      if (absl::IsDataLoss(status)) {
        status = absl::UnavailableError(
            absl::StrCat(status.message(), " (asked ", Counted(batch.attempts(), "time", "times"), ")"));
      }
      canary_.Abandon(e);
      if (going) NoteFailure(e, status, check->sent, now, &actions);
    }
    if (start_ == Start::kChecking && --first_checks_out_ == 0) FinishStart(now, &actions);
    if (--checks_out_ == 0) acted_.notify_all();
  }
  Act(std::move(actions));
}

// All endpoints have answered the first check, or failed it.
void EndpointPool::FinishStart(Moment now, Actions* actions) {
  start_ = Start::kReady;
  const auto answered = [](const std::vector<float>& vectors) { return !vectors.empty(); };
  const auto first = std::find_if(first_vectors_.begin(), first_vectors_.end(), answered);
  if (first != first_vectors_.end() && canary_.reference().empty()) {
    canary_.SetReference(*first, static_cast<int>(first - first_vectors_.begin()));
    const absl::Status kept = options_.keep_reference ? options_.keep_reference(*first) : absl::OkStatus();
    if (!kept.ok()) Trip(kept, actions);
  }
  for (int e = 0; e < chooser_.size(); ++e) {
    if (answered(first_vectors_[e]) && tripped_.ok()) Judge(e, 0, std::exchange(first_vectors_[e], {}), actions);
  }
  for (WorkPtr& work : std::exchange(parked_, {})) Route(std::move(work), now, actions);
}

void EndpointPool::Judge(int endpoint, int first_text, const std::vector<float>& vectors, Actions* actions) {
  if (canary_.reference().empty()) {
    // The first that answers after a start at which nobody did.
    canary_.SetReference(vectors, endpoint);
    const absl::Status kept = options_.keep_reference ? options_.keep_reference(vectors) : absl::OkStatus();
    if (!kept.ok()) return Trip(kept, actions);
  }
  std::vector<std::string> names;
  for (const EndpointReport& report : reports_) names.push_back(report.name);
  absl::Status judged = canary_.Judge(endpoint, first_text, vectors, names);
  if (!judged.ok()) return Trip(std::move(judged), actions);
  chooser_.Passed(endpoint);
}

void EndpointPool::Trip(absl::Status status, Actions* actions) {
  if (!tripped_.ok()) return;
  tripped_ = std::move(status);
  actions->stop = InTheAir::kDrop;
}

absl::Status EndpointPool::Decode(Batch* batch) const {
  std::vector<int> givers = {0};  // a batch without texts to ask for is answered by any
  {
    const MutexLock lock(&mutex_);
    ABSL_RETURN_IF_ERROR(tripped_);
    if (const auto found = answered_by_.find(batch); found != answered_by_.end()) {
      givers = std::move(found->second);
      answered_by_.erase(found);
    }
  }
  const int endpoint = givers.back();
  absl::Status decoded = clients_[endpoint]->Decode(batch);
  const MutexLock lock(&mutex_);
  ABSL_RETURN_IF_ERROR(tripped_);
  if (decoded.ok() || !batch->status().ok()) {  // of one that failed nothing more comes
    const int64_t texts = std::count_if(batch->texts().begin(), batch->texts().end(),
                                        [batch](const BatchText& text) { return batch->HasVector(text); });
    reports_[endpoint].texts += texts;
    for (const int giver : givers) canary_.Received(giver, batch->range(), texts);
  } else {
    reports_[endpoint].trouble = std::string(decoded.message());
    const Moment now = options_.clock();
    // A text that it has no vector for is no failure of an endpoint that has those of others.
    const bool some =
        std::any_of(batch->texts().begin(), batch->texts().end(), [](const BatchText& text) { return text.answered; });
    if (absl::IsDataLoss(decoded) && !some) chooser_.Failed(endpoint, now, now);
  }
  return decoded;
}

void EndpointPool::Stop(InTheAir in_the_air, const absl::Status& why) {
  Actions actions;
  MutexLock lock(&mutex_);
  if (stopped_.ok()) stopped_ = why;
  actions.stop = in_the_air;
  for (WorkPtr& work : std::exchange(parked_, {})) actions.answer.emplace_back(std::move(work), stopped_);
  Act(std::move(actions));
}

absl::Status EndpointPool::FinishChecks() {
  Actions actions;
  MutexLock lock(&mutex_);
  const Moment now = options_.clock();
  for (int e = 0; e < chooser_.size() && stopped_.ok() && tripped_.ok(); ++e) {
    const bool working = chooser_.state(e) == EndpointState::kWorking;
    if (working && canary_.TakeLast(e, now)) AddCheck(e, canary_.NextText(), 1, now, &actions);
  }
  Act(std::move(actions));
  acted_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return checks_out_ == 0; });
  return tripped_;
}

ClientStats EndpointPool::stats() const {
  ClientStats sum;
  // All wait if the one does that is through first; of a sum of limits each part must be known.
  sum.quota_wait = absl::InfiniteDuration();
  bool requests_known = true, tokens_known = true;
  absl::Duration latencies;  // of all requests
  for (const auto& client : clients_) {
    const ClientStats one = client->stats();
    sum.requests += one.requests;
    sum.requests_retried += one.requests_retried;
    sum.http_429 += one.http_429;
    sum.requests_hedged += one.requests_hedged;
    sum.concurrency += one.concurrency;
    sum.in_the_air += one.in_the_air;
    sum.texts_dropped += one.texts_dropped;
    sum.texts_unanswered += one.texts_unanswered;
    sum.tokens += one.tokens;
    latencies += one.latency * static_cast<double>(one.requests);
    sum.quota_wait = std::min(sum.quota_wait, one.quota_wait);
    sum.requests_per_minute += one.requests_per_minute;
    sum.tokens_per_minute += one.tokens_per_minute;
    requests_known = requests_known && one.requests_per_minute > 0;
    tokens_known = tokens_known && one.tokens_per_minute > 0;
  }
  if (sum.requests > 0) sum.latency = latencies / static_cast<double>(sum.requests);
  if (!requests_known) sum.requests_per_minute = 0;
  if (!tokens_known) sum.tokens_per_minute = 0;
  const MutexLock lock(&mutex_);
  sum.requests_retried += rerouted_;
  return sum;
}

std::vector<EndpointReport> EndpointPool::endpoints() const {
  const MutexLock lock(&mutex_);
  std::vector<EndpointReport> reports = reports_;
  const Moment now = options_.clock();
  for (int e = 0; e < chooser_.size(); ++e) {
    reports[e].state = chooser_.state(e);
    reports[e].stats = clients_[e]->stats();
    reports[e].tokens_per_second = chooser_.TokensPerSecond(e, now);
  }
  return reports;
}

int64_t EndpointPool::checks_passed() const {
  const MutexLock lock(&mutex_);
  return canary_.passed();
}

}  // namespace reembed
