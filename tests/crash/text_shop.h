// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_TEXT_SHOP_H_
#define REEMBED_TESTS_CRASH_TEXT_SHOP_H_

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "tests/fakes/scripted_server.h"

namespace reembed {

// An embedding API that sells TextVector()s and counts how often each text of a row was sold. Thread-safe.
class TextShop {
 public:
  explicit TextShop(int dim);

  std::string api_base() const { return server_.url() + "/v1"; }

  // While it does, a request with the text of a row that ends in "refused" is answered with 400.
  void Refuse(bool refuse) { refusing_ = refuse; }

  int64_t sold() const;   // texts of rows, each as often as it was sold
  int64_t twice() const;  // of them, those beyond the first of each

 private:
  ServerReply Answer(const ServerRequest& request);

  const int dim_;
  std::atomic<bool> refusing_{true};
  mutable std::mutex mutex_;
  std::map<std::string, int64_t> sold_;  // guarded by mutex_
  ScriptedServer server_;                // last: it calls Answer() until it ends
};

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_TEXT_SHOP_H_
