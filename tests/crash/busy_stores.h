// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_TESTS_CRASH_BUSY_STORES_H_
#define REEMBED_TESTS_CRASH_BUSY_STORES_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace reembed {

inline constexpr int kBusyDim = 8;

// Rows of a key, a text and a vector that somebody writes to while they are embedded. Keys count from 1. Used by one
// thread at a time.
class BusyStore {
 public:
  virtual ~BusyStore() = default;
  virtual void Make(const std::string& folder) = 0;
  virtual void Insert(int key, const std::string& text, bool old_vector) = 0;
  virtual void Edit(int key, const std::string& text) = 0;
  virtual void Delete(int key) = 0;
  // What `reembed run` is told of it.
  virtual std::vector<std::string> Args() const = 0;
  virtual std::map<std::string, std::string> Texts() = 0;
  // key -> bytes, for each place that has vectors.
  virtual std::vector<std::map<std::string, std::string>> Vectors() = 0;
  // Edits that a trigger of the store has seen; -1: it has none.
  virtual int Seen() { return -1; }
  // Whether the store itself refuses the vector of this key.
  virtual bool Refuses(int) const { return false; }
  // Whether rows that have a vector are skipped without --all, and a row that is deleted has none left.
  virtual bool is_in_place() const { return true; }
};

std::vector<std::string> BusyStores();
std::unique_ptr<BusyStore> MakeBusyStore(const std::string& name);

}  // namespace reembed

#endif  // REEMBED_TESTS_CRASH_BUSY_STORES_H_
