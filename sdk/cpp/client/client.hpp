// A client of an orchestrator: runs pipelines, reads what they deliver, and cancels them.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "lanemesh/v1/run.grpc.pb.h"
#include "node/fault.hpp"
#include "node/security.hpp"

namespace lanemesh {

// A run that its caller owns. An owner that does not read holds the run. The destructor disconnects, which cancels a run that has not
// ended. `next` is called by one thread at a time; `cancel` may be called by another one.
class OwnedRun {
 public:
  ~OwnedRun();

  // Reads the next update, which acknowledges those before it. False at the end: see `fault`.
  bool next(v1::Update& update);
  // The id of the run; empty before its first update.
  std::string id() const;
  // Cancels the run; its last updates still arrive. Returns the fault of the call, if it failed.
  std::optional<Fault> cancel(const std::string& reason);
  // Valid after the last update: why the run has not completed. CANCELLED if it was cancelled; nothing if it has completed.
  std::optional<Fault> fault() const { return fault_; }

 private:
  friend class Client;
  OwnedRun(v1::RunService::Stub& stub, const std::string& address, const std::string& token);

  void start(const v1::RunSpec& spec, const std::vector<v1::Item>& inputs);
  void take(v1::RunResponse response);
  void feed();
  void acknowledge(const v1::Update& update);
  void write(const v1::RunRequest& request);
  void end();

  v1::RunService::Stub& stub_;
  const std::string address_, token_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RunRequest, v1::RunResponse>> stream_;
  std::deque<v1::Update> waiting_;
  int taken_ = 0;           // updates since the last acknowledgement,
  size_t taken_bytes_ = 0;  // and their bytes
  bool begun_ = false, ended_ = false, given_ = false;
  std::optional<Fault> fault_;
  bool terminal_ = false;

  std::mutex writing_;  // around each write
  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::string id_;
  std::vector<v1::RunInput> inputs_;  // for the feeder
  std::deque<size_t> unaccepted_;     // bytes of the inputs that the run has not accepted
  size_t unaccepted_bytes_ = 0;
  uint64_t accepted_ = 0;
  bool over_ = false;
  std::thread feeder_;
};

// A client of the orchestrator at "host:port". It connects with its first run. Runs must not outlive it.
class Client {
 public:
  explicit Client(const std::string& address, const Security& security = Security::from_environment());

  // Starts a run with these inputs, after which its input ends. Faults of the start are those of the run.
  std::unique_ptr<OwnedRun> run(const v1::RunSpec& spec, const std::vector<v1::Item>& inputs);
  // The same for the JSON text of a pipeline.
  std::unique_ptr<OwnedRun> run(const std::string& pipeline, const std::vector<v1::Item>& inputs);

 private:
  std::string address_, token_;
  std::unique_ptr<v1::RunService::Stub> stub_;
};

// An item of a text.
v1::Item text_item(const std::string& text);

}  // namespace lanemesh
