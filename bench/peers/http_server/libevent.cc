// SPDX-License-Identifier: Apache-2.0
// A spike: what `reembed serve --prepared` does, over libevent's evhttp. One thread; every POST gets the bytes of a
// file.
//   libevent PORT REPLY
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

void Answer(evhttp_request* request, void* reply_of) {
  const auto* const reply = static_cast<const std::string*>(reply_of);
  evhttp_add_header(evhttp_request_get_output_headers(request), "Content-Type", "application/json");
  evbuffer* const body = evbuffer_new();
  evbuffer_add_reference(body, reply->data(), reply->size(), nullptr, nullptr);
  evhttp_send_reply(request, HTTP_OK, "OK", body);
  evbuffer_free(body);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::signal(SIGPIPE, SIG_IGN);
  std::ifstream file(argv[2], std::ios::binary);
  std::string reply((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  event_base* const base = event_base_new();
  evhttp* const http = evhttp_new(base);
  evhttp_set_max_headers_size(http, 64 * 1024);
  evhttp_set_max_body_size(http, 64 << 20);
  evhttp_set_timeout(http, 15);
  evhttp_set_gencb(http, Answer, &reply);
  if (evhttp_bind_socket(http, "127.0.0.1", static_cast<unsigned short>(std::atoi(argv[1]))) != 0) return 1;
  event_base_dispatch(base);
}
