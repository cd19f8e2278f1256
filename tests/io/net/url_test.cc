// SPDX-License-Identifier: Apache-2.0
#include "io/net/url.h"

#include <string>

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(UrlForMessagesTest, HidesUserPasswordAndQuery) {
  EXPECT_EQ(UrlForMessages("https://me:secret@host:8/a/b?key=secret#x"), "https://host:8/a/b");
  EXPECT_EQ(UrlForMessages("http://host/a@b"), "http://host/a@b");
  EXPECT_EQ(UrlForMessages("http://host"), "http://host");
}

TEST(IsLoopbackUrlTest, KnowsEveryNameOfThisMachine) {
  for (const char* url : {"http://localhost", "http://localhost:80/v1", "http://LOCALHOST.", "http://a.localhost/",
                          "http://127.0.0.1:1", "http://127.8.9.10", "http://[::1]:80/x", "http://0.0.0.0:11434",
                          "http://me:pw@127.0.0.1/", "http://127.0.0.1?x=1", "localhost:80"}) {
    EXPECT_TRUE(IsLoopbackUrl(url)) << url;
  }
  for (const char* url : {"http://host", "http://localhost.example.com", "http://127.0.0.1.example.com",
                          "http://host/127.0.0.1", "http://128.0.0.1", "http://[::2]/", "http://127.0.0.1@host/"}) {
    EXPECT_FALSE(IsLoopbackUrl(url)) << url;
  }
}

TEST(ResolveReferenceTest, LeadsWhereALocationMeans) {
  const std::string url = "http://host:8/v1/embeddings";
  EXPECT_EQ(ResolveReference(url, "https://other/x"), "https://other/x");
  EXPECT_EQ(ResolveReference(url, "//other/x"), "http://other/x");
  EXPECT_EQ(ResolveReference(url, "/v1/embeddings/"), "http://host:8/v1/embeddings/");
  EXPECT_EQ(ResolveReference(url, "embed"), "http://host:8/v1/embed");
  EXPECT_EQ(ResolveReference(url, "?a=b"), "http://host:8/v1/embeddings?a=b");
  EXPECT_EQ(ResolveReference("http://host", "x"), "http://host/x");
  EXPECT_EQ(ResolveReference("http://host", "/x"), "http://host/x");
}

}  // namespace
}  // namespace reembed
