#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "io/embed/dialect_table.h"

namespace reembed {
namespace {

constexpr char kApiVersion[] = "api-version=2024-10-21";

// Three bases: {resource}/openai/v1 takes the deployment as the model in the body; {resource}/openai/deployments/{name}
// names it; {resource} alone means the deployment that is called like the model. An api-version in the query stays.
std::string AzureUrl(const std::string& api_base, const std::string& model) {
  const size_t question = api_base.find('?');
  const absl::string_view base = absl::StripSuffix(absl::string_view(api_base).substr(0, question), "/");
  const absl::string_view query = question == std::string::npos ? "" : absl::string_view(api_base).substr(question + 1);
  if (absl::EndsWith(base, "/openai/v1")) return absl::StrCat(base, "/embeddings", query.empty() ? "" : "?", query);
  const std::string deployment =
      absl::StrContains(base, "/openai/deployments/") ? "" : absl::StrCat("/openai/deployments/", model);
  return absl::StrCat(base, deployment, "/embeddings?", query.empty() ? absl::string_view(kApiVersion) : query);
}

}  // namespace

// OpenAI's bodies and limits under other addresses, with the key in a header of its own (Azure OpenAI REST reference).
Dialect AzureDialect() {
  return {.name = "azure",
          .title = "Azure OpenAI; --api-base is the resource, a deployment of it, or its /openai/v1",
          .url = AzureUrl,
          .wire = OpenAiWire,
          .key_header = "api-key: ",
          .key_variables = {"AZURE_OPENAI_API_KEY"},
          .base_variables = {"AZURE_OPENAI_ENDPOINT"},
          .limits = {.inputs = 2048, .request_tokens = 300000}};
}

}  // namespace reembed
