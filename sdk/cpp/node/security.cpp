#include "node/security.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace lanemesh {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("the file " + path + " cannot be read");
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

Security Security::from_environment() {
  Security made{variable("LANEMESH_TLS_CERT"), variable("LANEMESH_TLS_KEY"), variable("LANEMESH_TLS_CA"), variable("LANEMESH_MTLS") == "1",
                variable("LANEMESH_TOKEN")};
  if (made.token.empty() && !variable("LANEMESH_TOKEN_FILE").empty()) {
    made.token = content(variable("LANEMESH_TOKEN_FILE"));
    made.token.erase(made.token.find_last_not_of(" \r\n") + 1);
  }
  return made;
}

std::shared_ptr<grpc::ChannelCredentials> Security::channel() const {
  if (certificate.empty() && authority.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  if (!authority.empty()) options.pem_root_certs = content(authority);
  if (!certificate.empty()) {
    options.pem_cert_chain = content(certificate);
    options.pem_private_key = content(key);
  }
  return grpc::SslCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> Security::server() const {
  if (!variable("LANEMESH_AUTH").empty())
    throw std::runtime_error("LANEMESH_AUTH is set, but this server cannot check tokens; use mutual TLS (LANEMESH_MTLS=1) and unset it");
  if (certificate.empty() && mutual) throw std::runtime_error("LANEMESH_MTLS=1 needs LANEMESH_TLS_CERT, LANEMESH_TLS_KEY and LANEMESH_TLS_CA");
  if (certificate.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions options(mutual ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_key_cert_pairs.push_back({content(key), content(certificate)});
  if (!authority.empty()) options.pem_root_certs = content(authority);
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::Channel> connect(const std::string& address, const Security& security) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);  // so that the window stays, and HTTP/2 flow control holds a producer
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kMostMessageBytes);
  arguments.SetMaxSendMessageSize(kMostMessageBytes);
  return grpc::CreateCustomChannel(address, security.channel(), arguments);
}

}  // namespace lanemesh
