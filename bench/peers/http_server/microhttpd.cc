// SPDX-License-Identifier: Apache-2.0
// A spike: what `reembed serve --prepared` does, over GNU libmicrohttpd. One thread; every POST gets the bytes of a
// file.
//   microhttpd PORT REPLY
#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

constexpr size_t kMostBodyBytes = size_t{64} << 20;

MHD_Result Answer(void* reply_of, MHD_Connection* connection, const char*, const char*, const char*, const char* data,
                  size_t* size, void** state) {
  auto* const reply = static_cast<std::string*>(reply_of);
  auto* body = static_cast<std::string*>(*state);
  if (body == nullptr) {
    *state = new std::string;
    return MHD_YES;
  }
  if (*size > 0) {
    if (body->size() + *size > kMostBodyBytes) return MHD_NO;
    body->append(data, *size);
    *size = 0;
    return MHD_YES;
  }
  MHD_Response* const response = MHD_create_response_from_buffer(reply->size(), reply->data(), MHD_RESPMEM_PERSISTENT);
  MHD_add_response_header(response, "Content-Type", "application/json");
  const MHD_Result queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
  MHD_destroy_response(response);
  return queued;
}

void Forget(void*, MHD_Connection*, void** state, MHD_RequestTerminationCode) {
  delete static_cast<std::string*>(*state);
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::signal(SIGPIPE, SIG_IGN);
  std::ifstream file(argv[2], std::ios::binary);
  std::string reply((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<unsigned short>(std::atoi(argv[1])));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  MHD_Daemon* const daemon =
      MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_TURBO, 0, nullptr, nullptr, Answer,
                       &reply, MHD_OPTION_SOCK_ADDR, &address, MHD_OPTION_CONNECTION_LIMIT, 4096u,
                       MHD_OPTION_CONNECTION_TIMEOUT, 15u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, size_t{64} * 1024,
                       MHD_OPTION_NOTIFY_COMPLETED, Forget, nullptr, MHD_OPTION_END);
  if (daemon == nullptr) return 1;
  pause();
}
