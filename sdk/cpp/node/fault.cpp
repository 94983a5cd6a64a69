#include "node/fault.hpp"

#include "rpc_status.pb.h"

namespace lanemesh {
namespace {

constexpr size_t kMostText = 16'384;       // characters of a fault in a frame
constexpr size_t kMostStatusText = 1'500;  // and of one in the status of a call, which is bounded to 8 KiB

// Cuts a text between two characters of UTF-8.
std::string cut(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t end = most - 4;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + " ...";
}

}  // namespace

v1::Fault Fault::proto() const {
  v1::Fault made;
  made.set_code(code);
  made.set_reason(reason);
  made.set_message(cut(message, kMostText));
  for (const auto& [key, value] : details) (*made.mutable_details())[key] = cut(value, kMostText);
  made.set_secondary(secondary);
  return made;
}

grpc::Status Fault::status() const {
  details::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("lanemesh");
  for (const auto& [key, value] : details) (*info.mutable_metadata())[key] = cut(value, 200);
  details::Status rich;
  rich.set_code(code);
  rich.set_message(cut(message, kMostStatusText));
  auto* packed = rich.add_details();
  packed->set_type_url("type.googleapis.com/google.rpc.ErrorInfo");
  packed->set_value(info.SerializeAsString());
  return grpc::Status(code, rich.message(), rich.SerializeAsString());
}

Fault Fault::consequence() const {
  Fault made = *this;
  made.secondary = true;
  return made;
}

Fault Fault::with(const std::string& key, const std::string& value) const {
  Fault made = *this;
  made.details.emplace(key, value);
  return made;
}

Fault Fault::from(const v1::Fault& fault) {
  return Fault{static_cast<grpc::StatusCode>(fault.code()), fault.reason().empty() ? "unknown" : fault.reason(),
               fault.message().empty() ? "no reason was given" : fault.message(),
               {fault.details().begin(), fault.details().end()}, fault.secondary()};
}

Fault Fault::from(const grpc::Status& status, const std::string& peer) {
  Fault made{status.error_code(), "", status.error_message()};
  details::Status rich;
  rich.ParseFromString(status.error_details());
  for (const auto& packed : rich.details()) {
    details::ErrorInfo info;
    if (packed.type_url() == "type.googleapis.com/google.rpc.ErrorInfo" && info.ParseFromString(packed.value()) && info.domain() == "lanemesh") {
      made.reason = info.reason();
      made.details.insert(info.metadata().begin(), info.metadata().end());
    }
    v1::Fault more;
    if (packed.type_url() == "type.googleapis.com/lanemesh.v1.Fault" && more.ParseFromString(packed.value())) made.secondary = more.secondary();
  }
  if (!made.reason.empty()) return made;
  if (made.code == grpc::StatusCode::UNAVAILABLE)
    return {made.code, "unreachable", peer + " cannot be reached: " + made.message + ". Is `lanemesh serve` running there?"};
  return {made.code, "call-failed", peer + " ended the call with status " + std::to_string(made.code) + ": " + made.message};
}

}  // namespace lanemesh
