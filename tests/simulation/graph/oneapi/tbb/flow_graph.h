// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_SIMULATION_GRAPH_FLOW_GRAPH_H_
#define REEMBED_TESTS_SIMULATION_GRAPH_FLOW_GRAPH_H_

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

// As much of oneTBB's flow graph as engine/pipeline.cc uses, for the simulation, in which that file is compiled once
// more: oneTBB's own threads wait by means of the kernel's that no seed decides. Two workers take messages from one
// queue; a serial node's body runs once at a time, in the order of its messages.
namespace oneapi::tbb {

struct task_group_context {
  bool is_group_execution_cancelled() const { return false; }
};

class task_arena {
 public:
  task_arena(int, unsigned) {}
  template <typename Body>
  void execute(Body body) {
    body();
  }
};

namespace flow {

inline constexpr size_t serial = 1;
inline constexpr size_t unlimited = 0;

class graph {
 public:
  explicit graph(task_group_context&) {
    for (int i = 0; i < 2; ++i) workers_.emplace_back([this] { Work(); });
  }
  ~graph() {
    {
      const std::lock_guard lock(mutex_);
      ending_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void wait_for_all() {
    std::unique_lock lock(mutex_);
    idle_.wait(lock, [this] { return open_ == 0; });
  }

  void Put(std::function<void()> task) {
    {
      const std::lock_guard lock(mutex_);
      ++open_;
      tasks_.push_back(std::move(task));
    }
    wake_.notify_one();
  }
  void Reserve() {
    const std::lock_guard lock(mutex_);
    ++open_;
  }
  void Release() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) idle_.notify_all();
  }

 private:
  void Work() {
    while (true) {
      std::function<void()> task;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
      Release();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<std::function<void()>> tasks_;
  int open_ = 0;  // messages and reservations
  bool ending_ = false;
  std::vector<std::thread> workers_;
};

template <typename T>
class Receiver {
 public:
  virtual ~Receiver() = default;
  virtual bool try_put(T message) = 0;
};

template <typename T>
class Port {
 public:
  bool try_put(T message) { return to != nullptr && to->try_put(message); }
  Receiver<T>* to = nullptr;
};

// Runs `body` for each message, with at most one at a time if the node is serial.
template <typename T>
class BodyNode : public Receiver<T> {
 public:
  BodyNode(graph& graph, size_t concurrency) : graph_(graph), serial_(concurrency == serial) {}
  bool try_put(T message) override {
    if (!serial_) {
      graph_.Put([this, message] { Run(message); });
      return true;
    }
    const std::lock_guard lock(mutex_);
    waiting_.push_back(message);
    if (waiting_.size() == 1) graph_.Put([this] { RunNext(); });
    return true;
  }

 protected:
  virtual void Run(T message) = 0;
  graph& graph_;

 private:
  void RunNext() {
    mutex_.lock();
    const T message = waiting_.front();
    mutex_.unlock();
    Run(message);
    const std::lock_guard lock(mutex_);
    waiting_.pop_front();
    if (!waiting_.empty()) graph_.Put([this] { RunNext(); });
  }

  const bool serial_;
  std::mutex mutex_;
  std::deque<T> waiting_;  // the first is being worked on
};

template <typename In, typename Out>
class multifunction_node;
template <typename In, typename... Out>
class multifunction_node<In, std::tuple<Out...>> : public BodyNode<In> {
 public:
  using output_ports_type = std::tuple<Port<Out>...>;
  template <typename Body>
  multifunction_node(graph& graph, size_t concurrency, Body body)
      : BodyNode<In>(graph, concurrency), body_(std::move(body)) {}
  output_ports_type& ports() { return ports_; }

 private:
  void Run(In message) override { body_(message, ports_); }
  std::function<void(In, output_ports_type&)> body_;
  output_ports_type ports_;
};

template <typename In, typename Out>
class async_node : public BodyNode<In> {
 public:
  class gateway_type {
   public:
    explicit gateway_type(graph& graph) : graph_(graph) {}
    bool try_put(Out message) { return port.try_put(message); }
    void reserve_wait() { graph_.Reserve(); }
    void release_wait() { graph_.Release(); }
    Port<Out> port;

   private:
    graph& graph_;
  };
  template <typename Body>
  async_node(graph& graph, size_t concurrency, Body body)
      : BodyNode<In>(graph, concurrency), body_(std::move(body)), gate_(graph) {}
  Port<Out>& port() { return gate_.port; }

 private:
  void Run(In message) override { body_(message, gate_); }
  std::function<void(In, gateway_type&)> body_;
  gateway_type gate_;
};

template <size_t index, typename Node>
auto& output_port(Node& node) {
  return std::get<index>(node.ports());
}
template <typename T, typename To>
void make_edge(Port<T>& from, To& to) {
  from.to = &to;
}
template <typename In, typename Out, typename To>
void make_edge(async_node<In, Out>& from, To& to) {
  from.port().to = &to;
}

}  // namespace flow
}  // namespace oneapi::tbb

#endif  // REEMBED_TESTS_SIMULATION_GRAPH_FLOW_GRAPH_H_
