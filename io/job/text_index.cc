#include "io/job/text_index.h"

namespace reembed {
namespace {

constexpr uint32_t kEmpty = 0xFFFFFFFF;
constexpr size_t kFirstPlaces = 1024;

// Linear probing needs about six looks for a new text at 0.7, and far more beyond it.
bool Fits(int64_t slots, size_t places) { return static_cast<size_t>(slots) * 10 <= places * 7; }

}  // namespace

TextIndex::TextIndex() : table_(kFirstPlaces, kEmpty) {}

int64_t TextIndex::Find(const TextHash& wanted) const {
  const size_t mask = table_.size() - 1;
  for (size_t place = wanted.lo & mask;; place = (place + 1) & mask) {
    const uint32_t slot = table_[place];
    if (slot == kEmpty) return -1;
    if (hash(slot) == wanted) return slot;
  }
}

int64_t TextIndex::Add(const TextHash& hash, SlotState state) {
  const int64_t slot = size_++;
  if (slot % kSegmentSlots == 0) segments_.push_back(std::make_unique<Segment>());
  segments_.back()->hashes[slot % kSegmentSlots] = hash;
  segments_.back()->states[slot % kSegmentSlots] = state;
  if (Fits(size_, table_.size())) {
    Place(slot);
  } else {
    Rebuild(table_.size() * 2);
  }
  return slot;
}

void TextIndex::Reserve(int64_t slots) {
  size_t places = table_.size();
  while (!Fits(slots, places)) places *= 2;
  if (places > table_.size()) Rebuild(places);
}

void TextIndex::Rebuild(size_t places) {
  // The old table goes first: it is not needed to make the new one, and the two together would be the peak.
  table_ = {};
  table_ = std::vector<uint32_t>(places, kEmpty);
  for (int64_t slot = 0; slot < size_; ++slot) Place(slot);
}

void TextIndex::Place(int64_t slot) {
  const size_t mask = table_.size() - 1;
  size_t place = hash(slot).lo & mask;
  while (table_[place] != kEmpty) place = (place + 1) & mask;
  table_[place] = static_cast<uint32_t>(slot);
}

size_t TextIndex::memory_bytes() const {
  return segments_.size() * sizeof(Segment) + segments_.capacity() * sizeof(segments_[0]) +
         table_.capacity() * sizeof(table_[0]);
}

}  // namespace reembed
