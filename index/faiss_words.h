// SPDX-License-Identifier: Apache-2.0
#ifndef REEMBED_INDEX_FAISS_WORDS_H_
#define REEMBED_INDEX_FAISS_WORDS_H_

#include <string>

namespace faiss {
struct Index;
}  // namespace faiss

namespace reembed {

// What an index is made of, from the outside in, for people: "IDMap2, IVF1024, PQ16x8".
std::string FaissWords(const faiss::Index& index);

}  // namespace reembed

#endif  // REEMBED_INDEX_FAISS_WORDS_H_
