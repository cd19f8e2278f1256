// SPDX-License-Identifier: Apache-2.0
#include "io/share/caching_client.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace reembed {
namespace {

// How often a text that another worker buys is looked for.
constexpr absl::Duration kBetweenLooks = absl::Milliseconds(100);
// A cache that does not answer is left alone for so long.
constexpr absl::Duration kAway = absl::Seconds(1);
constexpr size_t kPutsAtATime = 64;
// More than that wait to be put only where the cache is slower than the model; what is beyond is not kept.
constexpr size_t kMostPuts = 4096;

// Keeps a text out of what the client sends and reads, and never gets out of here.
absl::Status HeldBack() { return absl::UnknownError("held back"); }

}  // namespace

// One batch, from Send() to Decode().
struct CachingClient::Job {
  enum class State : char {
    kNone,    // not asked for by this batch
    kOpen,    // nobody has looked yet
    kFound,   // its vector is in `vectors`
    kOurs,    // to be sent
    kSent,    // it was
    kOthers,  // another worker buys it
  };
  struct Text {
    State state = State::kNone;
    CacheKey key;
    size_t found = 0;  // which of `vectors`
  };

  Batch* batch = nullptr;
  Done done;
  std::vector<Text> texts;
  std::vector<float> vectors;  // [found, dim]
  Moment waits_until = absl::InfiniteDuration();
  bool finished = false;  // with an answer to Send()
};

CachingClient::CachingClient(EmbeddingClient* client, std::unique_ptr<VectorCache> cache, CacheKeys keys,
                             std::function<void(const std::string&)> note)
    : client_(client),
      cache_(std::move(cache)),
      keys_(std::move(keys)),
      note_(std::move(note)),
      gate_batch_({.max_texts = 1, .max_rows = 1, .max_text_bytes = 1}, client->model().dim),
      thread_([this] { Work(); }) {}

CachingClient::~CachingClient() {
  Stop(InTheAir::kDrop, absl::CancelledError("cancelled"));
  {
    MutexLock lock(&mutex_);
    changed_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return out_ == 0 && queue_.empty(); });
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

CacheCounts CachingClient::counts() const {
  const MutexLock lock(&mutex_);
  return counts_;
}

void CachingClient::Enqueue(Moment at, JobPtr job) {
  {
    const MutexLock lock(&mutex_);
    queue_.emplace(at, std::move(job));
  }
  changed_.notify_all();
}

void CachingClient::EnqueuePut(CacheKey key, std::string value) const {
  if (puts_.size() < kMostPuts) puts_.emplace_back(std::move(key), std::move(value));
}

void CachingClient::Send(Batch* batch, Done done) {
  JobPtr job;
  {
    const MutexLock lock(&mutex_);
    const auto found = jobs_.find(batch);
    if (found != jobs_.end() && batch->attempts() > 0) job = found->second;
    if (job == nullptr) {
      job = std::make_shared<Job>();
      job->batch = batch;
      jobs_[batch] = job;
    }
    job->finished = false;
  }
  job->done = std::move(done);
  if (!job->texts.empty()) {
    // After replies that were of no use: what it lacks is the model's to give.
    for (Job::Text& text : job->texts) {
      if (text.state == Job::State::kOpen || text.state == Job::State::kOthers) text.state = Job::State::kOurs;
    }
    return SendOn(job);
  }
  Enqueue(MonotonicNow(), std::move(job));
}

void CachingClient::Stop(InTheAir in_the_air, const absl::Status& why) {
  {
    const MutexLock lock(&mutex_);
    if (stopped_.ok()) stopped_ = why;
  }
  client_->Stop(in_the_air, why);
  changed_.notify_all();
}

void CachingClient::Work() {
  MutexLock lock(&mutex_);
  while (true) {
    const Moment now = MonotonicNow();
    if (!puts_.empty()) {
      lock.unlock();
      PutSome();
      lock.lock();
    }
    if (!queue_.empty() && (queue_.begin()->first <= now || !stopped_.ok())) {
      const JobPtr job = std::move(queue_.begin()->second);
      queue_.erase(queue_.begin());
      const absl::Status stopped = stopped_;
      lock.unlock();
      if (stopped.ok()) {
        PassGate();
        Process(job);
      } else {
        Finish(job, stopped);
      }
      lock.lock();
      continue;
    }
    if (!puts_.empty()) continue;
    if (ending_) return;
    if (queue_.empty()) {
      changed_.wait(lock);
    } else {
      changed_.wait_for(lock, absl::ToChronoMicroseconds(queue_.begin()->first - now));
    }
  }
}

// A batch without texts has the model checked, and buys nothing.
void CachingClient::PassGate() {
  {
    const MutexLock lock(&mutex_);
    if (gate_ == Gate::kOpen) return;
    gate_ = Gate::kAsked;
    ++out_;
  }
  client_->Send(&gate_batch_, Done([this](const absl::Status& status) {
    const MutexLock lock(&mutex_);
    gate_ = status.ok() ? Gate::kOpen : Gate::kClosed;
    --out_;
    changed_.notify_all();
  }));
  MutexLock lock(&mutex_);
  changed_.wait(lock, [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return gate_ != Gate::kAsked; });
  const bool open = gate_ == Gate::kOpen;
  lock.unlock();
  if (open) client_->Decode(&gate_batch_).IgnoreError();
}

bool CachingClient::IsThere() const { return MonotonicNow() >= away_until_; }

void CachingClient::Note(const absl::Status& status) {
  if (!status.ok()) away_until_ = MonotonicNow() + kAway;
  if (status.ok() != noted_away_) return;
  noted_away_ = !status.ok();
  if (!note_) return;
  note_(status.ok()
            ? absl::StrCat(cache_->name(), " answers again: the cache is used again")
            : absl::StrCat(status.message(), "; until it answers, texts are bought even if they are in the cache"));
}

void CachingClient::Process(const JobPtr& job) {
  bool open = false;
  {
    const MutexLock lock(&mutex_);
    open = gate_ == Gate::kOpen;
  }
  if (job->texts.empty()) {
    std::vector<char> replied(job->batch->texts().size());
    for (const Reply& reply : job->batch->replies()) std::fill_n(replied.begin() + reply.first_text, reply.texts, 1);
    for (size_t i = 0; i < replied.size(); ++i) {
      const BatchText& text = job->batch->texts()[i];
      Job::Text one;
      if (text.reject.ok() && !text.answered && replied[i] == 0) {
        one = {.state = Job::State::kOpen, .key = keys_.OfText(text.text)};
      }
      job->texts.push_back(std::move(one));
    }
    job->waits_until = MonotonicNow() + kCacheClaim;
  }
  if (open && IsThere()) LookUp(job.get());
  bool send = false, wait = false;
  const bool over = !open || !IsThere() || MonotonicNow() >= job->waits_until;
  for (Job::Text& text : job->texts) {
    if (text.state == Job::State::kOpen || (text.state == Job::State::kOthers && over)) text.state = Job::State::kOurs;
    send |= text.state == Job::State::kOurs;
    wait |= text.state == Job::State::kOthers;
  }
  if (send) return SendOn(job);
  if (wait) return Enqueue(MonotonicNow() + kBetweenLooks, job);
  Finish(job, absl::OkStatus());
}

// What nobody has looked for yet, and what others were buying.
void CachingClient::LookUp(Job* job) {
  const auto dim = static_cast<size_t>(keys_.dim());
  std::vector<CacheKey> keys;
  std::vector<Job::Text*> asked;
  for (Job::Text& text : job->texts) {
    if (text.state != Job::State::kOpen && text.state != Job::State::kOthers) continue;
    keys.push_back(text.key);
    asked.push_back(&text);
  }
  if (keys.empty()) return;
  std::vector<CacheLook> looks;
  absl::Status status = cache_->Look(keys, &looks);
  Note(status);
  if (!status.ok()) return;
  CacheCounts counts;
  for (size_t i = 0; i < asked.size(); ++i) {
    Job::Text& text = *asked[i];
    if (looks[i].value.empty()) {
      text.state = looks[i].others_buy ? Job::State::kOthers : Job::State::kOurs;
      continue;
    }
    const size_t place = job->vectors.size() / dim;
    job->vectors.resize(job->vectors.size() + dim);
    if (DecodeCached(text.key, looks[i].value, absl::MakeSpan(job->vectors).subspan(place * dim, dim))) {
      ++counts.found;
      counts.waited += text.state == Job::State::kOthers ? 1 : 0;
      text.state = Job::State::kFound;
      text.found = place;
      continue;
    }
    job->vectors.resize(place * dim);
    ++counts.damaged;
    text.state = Job::State::kOurs;  // and what the model gives takes its place
    if (!std::exchange(noted_damage_, true) && note_) {
      note_(absl::StrCat(cache_->name(), ": a vector is damaged, and bought again"));
    }
  }
  const MutexLock lock(&mutex_);
  counts_.found += counts.found;
  counts_.waited += counts.waited;
  counts_.damaged += counts.damaged;
}

// Only what is ours is seen by the client.
void CachingClient::HideOthers(const Job& job) const {
  for (size_t i = 0; i < job.texts.size(); ++i) {
    BatchText& text = job.batch->texts()[i];
    const Job::State state = job.texts[i].state;
    if ((state == Job::State::kFound && !text.answered) || state == Job::State::kOthers) text.reject = HeldBack();
  }
}

void CachingClient::SendOn(const JobPtr& job) {
  int64_t bought = 0;
  for (Job::Text& text : job->texts) {
    if (text.state != Job::State::kOurs) continue;
    text.state = Job::State::kSent;
    ++bought;
  }
  {
    const MutexLock lock(&mutex_);
    counts_.bought += bought;
    ++out_;
  }
  HideOthers(*job);
  client_->Send(job->batch, Done([this, job](absl::Status status) { OnAnswer(job, std::move(status)); }));
}

void CachingClient::OnAnswer(const JobPtr& job, absl::Status status) {
  bool wait = false;
  for (size_t i = 0; i < job->texts.size(); ++i) {
    const Job::State state = job->texts[i].state;
    if (state == Job::State::kFound || state == Job::State::kOthers) {
      BatchText& text = job->batch->texts()[i];
      if (absl::IsUnknown(text.reject)) text.reject = absl::OkStatus();
    }
    wait |= state == Job::State::kOthers;
  }
  {
    const MutexLock lock(&mutex_);
    for (const Job::Text& text : job->texts) {
      // Whoever waits for it buys it himself.
      if (!status.ok() && text.state == Job::State::kSent) EnqueuePut(text.key, "");
    }
  }
  if (wait && status.ok()) {
    Enqueue(MonotonicNow(), job);
  } else {
    Finish(job, std::move(status));
  }
  // Last: whoever ends this object waits for it.
  const MutexLock lock(&mutex_);
  --out_;
  changed_.notify_all();
}

void CachingClient::Finish(const JobPtr& job, absl::Status status) {
  {
    const MutexLock lock(&mutex_);
    if (std::exchange(job->finished, true)) return;
  }
  std::move(job->done)(std::move(status));
}

absl::Status CachingClient::Decode(Batch* batch) const {
  JobPtr job;
  {
    const MutexLock lock(&mutex_);
    if (const auto found = jobs_.find(batch); found != jobs_.end()) job = found->second;
  }
  if (job == nullptr || job->texts.empty()) return client_->Decode(batch);
  HideOthers(*job);
  absl::Status decoded = client_->Decode(batch);
  const auto dim = static_cast<size_t>(keys_.dim());
  const absl::Span<BatchText> texts = batch->texts();
  std::vector<std::pair<CacheKey, std::string>> puts;
  const bool comes_again = absl::IsDataLoss(decoded);
  const bool all_there = decoded.ok() && batch->status().ok();
  for (size_t i = 0; i < texts.size(); ++i) {
    Job::Text& one = job->texts[i];
    BatchText& text = texts[i];
    const absl::Span<float> vector = batch->vectors().subspan(i * dim, dim);
    if (one.state == Job::State::kFound && !text.answered) {
      text.reject = absl::OkStatus();
      text.answered = true;
      std::copy_n(job->vectors.begin() + static_cast<ptrdiff_t>(one.found * dim), dim, vector.begin());
    } else if (one.state == Job::State::kOthers) {
      text.reject = absl::OkStatus();
    } else if (one.state == Job::State::kSent && text.reject.ok() && (text.answered || all_there)) {
      puts.emplace_back(one.key, EncodeCached(one.key, vector));
      one.state = Job::State::kNone;
    } else if (one.state == Job::State::kSent && !comes_again) {
      puts.emplace_back(one.key, "");
    }
  }
  const MutexLock lock(&mutex_);
  for (auto& [key, value] : puts) EnqueuePut(std::move(key), std::move(value));
  if (!comes_again) jobs_.erase(batch);
  changed_.notify_all();
  return decoded;
}

void CachingClient::PutSome() {
  std::vector<CacheKey> keys;
  std::vector<std::string> values;
  {
    const MutexLock lock(&mutex_);
    while (!puts_.empty() && keys.size() < kPutsAtATime) {
      keys.push_back(std::move(puts_.front().first));
      values.push_back(std::move(puts_.front().second));
      puts_.pop_front();
    }
  }
  if (!IsThere()) return;
  const absl::Status put = cache_->Put(keys, values);
  if (!absl::IsResourceExhausted(put)) return Note(put);
  if (std::exchange(noted_full_, true) || !note_) return;
  note_(absl::StrCat(put.message(), "; its vectors are used, and no new ones are stored"));
}

}  // namespace reembed
