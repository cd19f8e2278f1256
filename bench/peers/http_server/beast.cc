// SPDX-License-Identifier: Apache-2.0
// A spike: what `reembed serve --prepared` does, over Boost.Beast. One thread; every POST gets the bytes of a file.
//   beast PORT REPLY
#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string>

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Tcp = asio::ip::tcp;

constexpr size_t kMostHeadBytes = 64 * 1024;
constexpr size_t kMostBodyBytes = size_t{64} << 20;

class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(Tcp::socket socket, const std::string& reply) : stream_(std::move(socket)), reply_(reply) {}

  void Read() {
    parser_.emplace();
    parser_->header_limit(kMostHeadBytes);
    parser_->body_limit(kMostBodyBytes);
    stream_.expires_after(std::chrono::seconds(15));
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](beast::error_code error, size_t) { self->OnRead(error); });
  }

 private:
  void OnRead(beast::error_code error) {
    if (error == http::error::header_limit) return Answer(http::status::request_header_fields_too_large, false, false);
    if (error == http::error::body_limit) return Answer(http::status::payload_too_large, false, false);
    if (error == http::error::end_of_stream || error == beast::error::timeout) return Close();
    if (error.category() == http::make_error_code(http::error::bad_line_ending).category()) {
      return Answer(http::status::bad_request, false, false);
    }
    if (error) return;
    const auto& request = parser_->get();
    Answer(http::status::ok, request.keep_alive(), request.method() == http::verb::head);
  }

  void Answer(http::status status, bool keep_alive, bool is_head) {
    response_.emplace(status, 11);
    response_->set(http::field::content_type, "application/json");
    response_->keep_alive(keep_alive);
    response_->content_length(status == http::status::ok ? reply_.size() : 0);
    if (status == http::status::ok && !is_head) {
      response_->body().data = const_cast<char*>(reply_.data());
      response_->body().size = reply_.size();
      response_->body().more = false;
    } else {
      response_->body().data = nullptr;
      response_->body().more = false;
    }
    serializer_.emplace(*response_);
    const auto then = [self = shared_from_this(), keep_alive](beast::error_code error, size_t) {
      if (error || !keep_alive) return self->Close();
      self->Read();
    };
    if (is_head) {
      http::async_write_header(stream_, *serializer_, then);
    } else {
      http::async_write(stream_, *serializer_, then);
    }
  }

  void Close() {
    beast::error_code ignored;
    stream_.socket().shutdown(Tcp::socket::shutdown_send, ignored);
  }

  beast::tcp_stream stream_;
  const std::string& reply_;
  beast::flat_buffer buffer_;
  std::optional<http::request_parser<http::string_body>> parser_;
  std::optional<http::response<http::buffer_body>> response_;
  std::optional<http::response_serializer<http::buffer_body>> serializer_;
};

void Accept(Tcp::acceptor* acceptor, const std::string* reply) {
  acceptor->async_accept([=](beast::error_code error, Tcp::socket socket) {
    if (!error) {
      socket.set_option(Tcp::no_delay(true));
      std::make_shared<Session>(std::move(socket), *reply)->Read();
    }
    Accept(acceptor, reply);
  });
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::signal(SIGPIPE, SIG_IGN);
  std::ifstream file(argv[2], std::ios::binary);
  const std::string reply((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  asio::io_context loop(1);
  Tcp::acceptor acceptor(loop, {asio::ip::make_address("127.0.0.1"), static_cast<unsigned short>(std::atoi(argv[1]))});
  Accept(&acceptor, &reply);
  loop.run();
}
