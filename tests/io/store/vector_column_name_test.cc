// SPDX-License-Identifier: Apache-2.0
#include "io/store/vector_column_name.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(VectorColumnNameTest, WhatIsCalledAVector) {
  for (const char* const name : {"embedding", "Embeddings", "vector", "embedding_json", "content_embedding",
                                 "title_vector", "embedding_old", "embedding_1536", "emb", "vector_f32"}) {
    EXPECT_TRUE(IsCalledVector(name)) << name;
  }
  for (const char* const name : {"", "content", "embedding_model", "vector_id", "embedding_dim", "vectorized",
                                 "embedded", "embedding_updated_at", "json", "member"}) {
    EXPECT_FALSE(IsCalledVector(name)) << name;
  }
}

}  // namespace
}  // namespace reembed
