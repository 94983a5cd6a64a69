// TLS and the token of a node server and of its connections, from the environment.
#pragma once

#include <memory>
#include <string>

#include <grpcpp/grpcpp.h>

namespace lanemesh {

constexpr int kMostMessageBytes = 16 << 20;
constexpr int kWindowBytes = 256 << 10;  // of one stream, in HTTP/2

// What is known of certificates and tokens. The files are PEM.
struct Security {
  std::string certificate, key, authority;  // LANEMESH_TLS_CERT, LANEMESH_TLS_KEY, LANEMESH_TLS_CA
  bool mutual = false;                      // LANEMESH_MTLS=1
  std::string token;                        // LANEMESH_TOKEN, or the content of LANEMESH_TOKEN_FILE

  static Security from_environment();
  std::shared_ptr<grpc::ChannelCredentials> channel() const;
  std::shared_ptr<grpc::ServerCredentials> server() const;
};

// A channel with the keepalive, the windows and the limits of a mesh.
std::shared_ptr<grpc::Channel> connect(const std::string& address, const Security& security);

}  // namespace lanemesh
