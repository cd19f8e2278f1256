// SPDX-License-Identifier: Apache-2.0
#include "tools/secret_form.h"

#include "gtest/gtest.h"

namespace reembed {
namespace {

TEST(LooksLikeSecretTest, KnowsTheFormsOfSecrets) {
  for (const char* value :
       {"Bearer abc", "basic dXNlcjpwdw==", "sk-0123456789abcdef", "sk-proj-abcdefgh0123", "AIzaSyA0123456789abcdef",
        "hf_abcdefghijklmnop", "nvapi-0123456789abcdef", "eyJhbGciOi.eyJzdWIiOi.c2ln",
        "0123456789abcdef0123456789abcdef", "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9b"}) {
    EXPECT_TRUE(LooksLikeSecret(value)) << value;
  }
  for (const char* value : {"openai", "", "text-embedding-3-small", "https://example.com/a/b?c=d", "My App, 2026",
                            "application/json", "123e4567-e89b-12d3-a456-426614174000", "org-abcdef0123", "sk-short",
                            "passage", "2024-05-01-preview", "@openai-prod", "anotherverylongwordwithoutadigit"}) {
    EXPECT_FALSE(LooksLikeSecret(value)) << value;
  }
}

TEST(IsCredentialHeaderTest, GoesByTheWholeName) {
  for (const char* name : {"Authorization", "authorization", "X-Api-Key", "api-key", "Cookie"}) {
    EXPECT_TRUE(IsCredentialHeader(name)) << name;
  }
  for (const char* name : {"x-portkey-provider", "x-token-count", "x-keyspace", "Helicone-Auth-Mode"}) {
    EXPECT_FALSE(IsCredentialHeader(name)) << name;
  }
}

TEST(SecretParameterTest, LooksAtNamesAndValues) {
  EXPECT_EQ(SecretParameter("https://g/v1beta?key=abc"), "key");
  EXPECT_EQ(SecretParameter("https://h/v1?a=b&Token=x"), "Token");
  EXPECT_EQ(SecretParameter("https://h/v1?a=sk-0123456789abcdef"), "a");
  EXPECT_EQ(SecretParameter("https://h/v1?api-version=2024-10-21"), "");
  EXPECT_EQ(SecretParameter("https://h/v1"), "");
}

}  // namespace
}  // namespace reembed
