// SPDX-License-Identifier: Apache-2.0
#include "io/net/proxy.h"

#include <map>
#include <string>

#include "gtest/gtest.h"

namespace reembed {
namespace {

std::string Proxy(const std::string& url, const std::map<std::string, std::string>& variables,
                  const std::string& asked = "") {
  return ProxyFor(url, asked, [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::string() : found->second;
  });
}

TEST(ProxyForTest, ReadsTheEnvironmentAsLibcurlDoes) {
  EXPECT_EQ(Proxy("http://host/", {{"http_proxy", "http://p:1"}}), "http://p:1");
  EXPECT_EQ(Proxy("http://host/", {{"HTTP_PROXY", "http://p:1"}}), "");
  EXPECT_EQ(Proxy("https://host/", {{"http_proxy", "http://p:1"}}), "");
  EXPECT_EQ(Proxy("https://host/", {{"https_proxy", "p:2"}}), "p:2");
  EXPECT_EQ(Proxy("https://host/", {{"HTTPS_PROXY", "p:2"}}), "p:2");
  EXPECT_EQ(Proxy("https://host/", {{"ALL_PROXY", "p:3"}}), "p:3");
  EXPECT_EQ(Proxy("https://host/", {{"all_proxy", "p:3"}, {"https_proxy", "p:2"}}), "p:2");
}

TEST(ProxyForTest, LeavesOutWhatNoProxyNames) {
  const auto direct = [](const std::string& url, const std::string& no_proxy) {
    return Proxy(url, {{"http_proxy", "p"}, {"no_proxy", no_proxy}}).empty();
  };
  EXPECT_TRUE(direct("http://host/", "*"));
  EXPECT_TRUE(direct("http://host:8/", "a, host"));
  EXPECT_TRUE(direct("http://a.host/", "host"));
  EXPECT_TRUE(direct("http://a.host/", ".host"));
  EXPECT_TRUE(direct("http://A.Host./", "host"));
  EXPECT_FALSE(direct("http://ahost/", "host"));
  EXPECT_FALSE(direct("http://host.example/", "host"));
  EXPECT_TRUE(direct("http://10.1.2.3/", "10.1.2.3"));
  EXPECT_TRUE(direct("http://10.1.2.3/", "10.0.0.0/8"));
  EXPECT_FALSE(direct("http://11.1.2.3/", "10.0.0.0/8"));
  EXPECT_TRUE(direct("http://10.130.2.3/", "10.128.0.0/9"));
  EXPECT_FALSE(direct("http://10.1.2.3/", "10.128.0.0/9"));
  EXPECT_FALSE(direct("http://10.1.2.3/", "fd00::/8"));
  EXPECT_TRUE(direct("http://[fe80::1]/", "fe80::1"));
  EXPECT_TRUE(direct("http://[fe80:0:0::1]:8080/", "[fe80::1]"));
  EXPECT_TRUE(direct("http://[fd12:3456::1]/", "fd00::/8"));
  EXPECT_TRUE(direct("http://[fd12:3456::1]/", "host, fd12:3000::/20"));
  EXPECT_FALSE(direct("http://[fd12:4456::1]/", "fd12:3000::/20"));
  EXPECT_FALSE(direct("http://[fe80::2]/", "fe80::1/129, fe80::1"));
  EXPECT_FALSE(direct("http://host/", ""));
  EXPECT_TRUE(Proxy("http://host/", {{"http_proxy", "p"}, {"NO_PROXY", "host"}}).empty());
}

TEST(ProxyForTest, TakesNoneForThisMachineUnlessAsked) {
  EXPECT_EQ(Proxy("http://127.0.0.1:80/", {{"http_proxy", "p"}, {"all_proxy", "p"}}), "");
  EXPECT_EQ(Proxy("https://localhost/", {{"https_proxy", "p"}}), "");
  EXPECT_EQ(Proxy("http://127.0.0.1:80/", {{"no_proxy", "*"}}, "http://asked:1"), "http://asked:1");
}

TEST(ProxyForMessagesTest, NamesItWithoutItsPassword) {
  EXPECT_EQ(ProxyForMessages(""), "");
  EXPECT_EQ(ProxyForMessages("http://me:secret@p:1"), " through the proxy http://p:1");
  EXPECT_EQ(ProxyForMessages("me:secret@p:1"), " through the proxy http://p:1");
  EXPECT_EQ(ProxyForMessages("socks5://p:1"), " through the proxy socks5://p:1");
}

}  // namespace
}  // namespace reembed
