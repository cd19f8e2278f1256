// SPDX-License-Identifier: Apache-2.0
#include "io/embed/api_address.h"

#include <string>

#include "gtest/gtest.h"

namespace reembed {
namespace {

std::string Url(const char* dialect, const char* base) { return RequestUrl(*FindDialect(dialect), base, "m"); }

TEST(RequestUrlTest, UnderstandsWhatPeoplePaste) {
  struct Case {
    const char* dialect;
    const char* base;
    const char* url;
  };
  const Case cases[] = {
      {"openai", "http://h/v1", "http://h/v1/embeddings"},
      {"openai", "http://h/v1/", "http://h/v1/embeddings"},
      {"openai", "http://h/v1/embeddings", "http://h/v1/embeddings"},
      {"openai", "http://h/v1/embeddings/", "http://h/v1/embeddings/"},  // some servers want that slash
      {"openai", "http://h/v1/chat/completions", "http://h/v1/embeddings"},
      {"openai", "http://h/models?api-version=1", "http://h/models/embeddings?api-version=1"},
      {"openai", "http://h/models/?api-version=1", "http://h/models/embeddings?api-version=1"},
      {"openai", "http://h/v1/embeddings?a=b&c", "http://h/v1/embeddings?a=b&c"},
      {"openai", "http://embeddings", "http://embeddings/embeddings"},
      {"infinity", "http://h:7997", "http://h:7997/embeddings"},
      // Azure: resource, deployment, target URI, v1, Foundry.
      {"azure", "https://r.openai.azure.com",
       "https://r.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21"},
      {"azure", "https://r.openai.azure.com/openai/",
       "https://r.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21"},
      {"azure", "https://r.openai.azure.com/openai/deployments/d",
       "https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=2024-10-21"},
      {"azure", "https://r.openai.azure.com/openai/deployments/d?api-version=2023-05-15",
       "https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=2023-05-15"},
      {"azure", "https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=2023-05-15",
       "https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=2023-05-15"},
      {"azure", "https://r.openai.azure.com/openai/deployments/d/embeddings?subscription=x",
       "https://r.openai.azure.com/openai/deployments/d/embeddings?subscription=x&api-version=2024-10-21"},
      {"azure", "https://r.openai.azure.com/openai/v1", "https://r.openai.azure.com/openai/v1/embeddings"},
      {"azure", "https://r.openai.azure.com/openai/v1/embeddings", "https://r.openai.azure.com/openai/v1/embeddings"},
      {"azure", "https://r.services.ai.azure.com/models/embeddings?api-version=2024-05-01-preview",
       "https://r.services.ai.azure.com/models/embeddings?api-version=2024-05-01-preview"},
      {"azure", "https://r.services.ai.azure.com/models",
       "https://r.services.ai.azure.com/models/embeddings?api-version=2024-05-01-preview"},
      // Native routes.
      {"cohere", "https://api.cohere.com", "https://api.cohere.com/v2/embed"},
      {"cohere", "https://api.cohere.com/v2", "https://api.cohere.com/v2/embed"},
      {"cohere", "https://api.cohere.com/v2/embed", "https://api.cohere.com/v2/embed"},
      {"cohere", "https://api.cohere.com/v1/embed", "https://api.cohere.com/v2/embed"},
      {"ollama", "http://h:11434", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/v1", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/v1/", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/api", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/api/embed", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/api/embeddings", "http://h:11434/api/embed"},
      {"ollama", "http://h:11434/v1/embeddings", "http://h:11434/api/embed"},
      {"tei", "http://h:3000", "http://h:3000/embed"},
      {"tei", "http://h:3000/v1", "http://h:3000/embed"},
      {"tei", "http://h:3000/embed", "http://h:3000/embed"},
      {"tei", "http://h:3000/v1/embeddings", "http://h:3000/embed"},
      {"gemini", "https://g/v1beta", "https://g/v1beta/models/m:batchEmbedContents"},
      {"gemini", "https://g/v1beta/models/x:batchEmbedContents", "https://g/v1beta/models/m:batchEmbedContents"},
      {"gemini", "https://g/v1beta/models/x:embedContent", "https://g/v1beta/models/m:batchEmbedContents"},
      {"gemini", "https://g/v1beta/openai/", "https://g/v1beta/models/m:batchEmbedContents"},
  };
  for (const Case& c : cases) EXPECT_EQ(Url(c.dialect, c.base), c.url) << c.dialect << " " << c.base;
}

TEST(TidyAddressTest, TakesOffWhatPastingBrings) {
  const Dialect& openai = *FindDialect("openai");
  EXPECT_EQ(TidyAddress(openai, " \"http://h/v1/\" "), "http://h/v1");
  EXPECT_EQ(TidyAddress(openai, "http://h/v1/?a=b"), "http://h/v1?a=b");
  EXPECT_EQ(TidyAddress(openai, "http://h/v1/embeddings/"), "http://h/v1/embeddings/");
  EXPECT_EQ(TidyAddress(openai, "http://h/v1#x"), "http://h/v1");
}

TEST(DialectOfAddressTest, IsTheOneWithThatRoute) {
  const auto name = [](const char* base) {
    const Dialect* const dialect = DialectOfAddress(base);
    return std::string(dialect == nullptr ? "" : dialect->name);
  };
  EXPECT_EQ(name("http://h:11434/api/embed"), "ollama");
  EXPECT_EQ(name("https://api.cohere.com/v2/embed"), "cohere");
  EXPECT_EQ(name("https://g/v1beta/models/x:batchEmbedContents?a=b"), "gemini");
  EXPECT_EQ(name("https://r.openai.azure.com/openai/deployments/d/embeddings?api-version=1"), "azure");
  EXPECT_EQ(name("http://h/openai/deployments/d"), "");
  EXPECT_EQ(name("http://h/v1/embeddings"), "");
  EXPECT_EQ(name("http://h/api/embeddings"), "");  // Ollama's old route, and Open WebUI's
  EXPECT_EQ(ForeignDialect(*FindDialect("openai"), "http://h/api/embed"), FindDialect("ollama"));
  EXPECT_EQ(ForeignDialect(*FindDialect("tei"), "http://h/api/embed"), nullptr) << "its own route ends so, too";
  EXPECT_EQ(ForeignDialect(*FindDialect("ollama"), "http://h/api/embed"), nullptr);
}

TEST(AddressHintTest, SaysWhatIsMissing) {
  const auto hint = [](const char* dialect, const char* base) { return AddressHint(*FindDialect(dialect), base); };
  EXPECT_EQ(hint("openai", "http://h:8080"), "did you mean http://h:8080/v1?");
  EXPECT_EQ(hint("llamacpp", "http://h:8080/"), "did you mean http://h:8080/v1?");
  EXPECT_EQ(hint("openai", "http://h:8080/embeddings"), "did you mean http://h:8080/v1?");
  EXPECT_EQ(hint("openrouter", "https://openrouter.ai"), "did you mean https://openrouter.ai/api/v1?");
  EXPECT_EQ(hint("gemini", "https://g"), "did you mean https://g/v1beta?");
  EXPECT_EQ(hint("openai", "http://me:pw@h?a=b"), "did you mean http://h/v1?");
  EXPECT_EQ(hint("openai", "http://h/v1"), "");
  EXPECT_EQ(hint("openai", "http://h/api/v3"), "");
  EXPECT_EQ(hint("ollama", "http://h:11434"), "");
  EXPECT_EQ(hint("ollama", "http://h:11434/v1"), "");
  EXPECT_EQ(hint("infinity", "http://h:7997/v1"), "did you mean http://h:7997?");
  EXPECT_EQ(hint("infinity", "http://h:7997"), "");
  EXPECT_EQ(hint("azure", "https://r/openai/v1"), "");
}

TEST(AddressOfHostTest, TakesWhatOllamaTakes) {
  struct Case {
    const char* host;
    const char* url;
  };
  const Case cases[] = {
      {"127.0.0.1", "http://127.0.0.1:11434"},
      {"127.0.0.1:8000", "http://127.0.0.1:8000"},
      {":8000", "http://127.0.0.1:8000"},
      {"host", "http://host:11434"},
      {"host:", "http://host:11434"},
      {"host/", "http://host:11434"},
      {"host/some/path/", "http://host:11434/some/path"},
      {"0.0.0.0", "http://127.0.0.1:11434"},
      {"0.0.0.0:8000", "http://127.0.0.1:8000"},
      {"http://0.0.0.0:8000", "http://127.0.0.1:8000"},
      {"http://127.0.0.1:8000/", "http://127.0.0.1:8000"},
      {"http://host", "http://host"},
      {"https://host", "https://host"},
      {"https://host:8000", "https://host:8000"},
      {"https://host/path", "https://host/path"},
      {"ollama.com", "https://ollama.com"},
      {"::1", "http://[::1]:11434"},
      {"[::1]", "http://[::1]:11434"},
      {"[::1]:8000", "http://[::1]:8000"},
      {"::", "http://[::1]:11434"},
      {"[::]:8000", "http://[::1]:8000"},
      {"host:abc", "http://host:11434"},
      {"host:99999", "http://host:11434"},
      {" host:8000 ", "http://host:8000"},
      {"\"host:8000\"", "http://host:8000"},
      {"'host:8000'", "http://host:8000"},
      {"", "http://127.0.0.1:11434"},
  };
  for (const Case& c : cases) EXPECT_EQ(AddressOfHost(c.host, "http://127.0.0.1:11434"), c.url) << c.host;
  EXPECT_EQ(AddressOfHost("host", "http://127.0.0.1:8080/v1"), "http://host:8080/v1");
  EXPECT_EQ(AddressOfHost("http://host:1", "http://127.0.0.1:8080/v1"), "http://host:1");
}

}  // namespace
}  // namespace reembed
