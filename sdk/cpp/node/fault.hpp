// Faults, and what ends the body of a node early.
#pragma once

#include <exception>
#include <map>
#include <string>

#include <grpcpp/grpcpp.h>

#include "lanemesh/v1/fault.pb.h"

namespace lanemesh {

// One error, as frames and failed calls carry it.
struct Fault {
  grpc::StatusCode code = grpc::StatusCode::UNKNOWN;
  std::string reason;   // kebab case, one of docs/reasons.md or of a node
  std::string message;  // what, where and what to do next
  std::map<std::string, std::string> details{};
  bool secondary = false;  // the consequence of another fault

  v1::Fault proto() const;
  // The status of a failed call, with the details of a rich error.
  grpc::Status status() const;
  Fault consequence() const;
  // The same with a detail that it does not have yet.
  Fault with(const std::string& key, const std::string& value) const;

  static Fault from(const v1::Fault& fault);
  // The fault of a failed call. `peer` is its server, in words.
  static Fault from(const grpc::Status& status, const std::string& peer);
};

// The body of a node throws it to fail with a fault of its own. Another exception is a fault with the reason "node-error".
struct NodeFailed : std::exception {
  explicit NodeFailed(Fault given) : fault(std::move(given)) {}
  const char* what() const noexcept override { return fault.message.c_str(); }
  Fault fault;
};

// Thrown by the functions of Call when the node has to end: the run is cancelled, its time is over, or nothing takes its items any more.
// A body lets it pass.
struct Interrupted : std::exception {
  const char* what() const noexcept override { return "the node has to end"; }
};

}  // namespace lanemesh
