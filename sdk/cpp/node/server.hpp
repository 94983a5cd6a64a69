// A node server: offers node types, hosts the runs of orchestrators, and is a member of a mesh.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lanemesh/v1/node.grpc.pb.h"
#include "lanemesh/v1/registry.grpc.pb.h"
#include "node/node.hpp"
#include "node/run.hpp"
#include "node/security.hpp"

namespace lanemesh {

class Server : public v1::NodeService::WithCallbackMethod_Exchange<v1::NodeService::Service> {
 public:
  // Listens at "host:port"; port 0 is a free one. It throws std::runtime_error if that fails.
  Server(std::string name, const std::string& listen, std::vector<NodeType> types, Security security = Security::from_environment());
  ~Server() override;

  const std::string& address() const { return address_; }
  // Joins an orchestrator, and joins again whenever the stream breaks, until the server stops.
  void join(const std::string& orchestrator);
  // Cancels the runs, and ends all calls.
  void stop();

  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest*, v1::DescribeResponse* response) override;
  grpc::Status Host(grpc::ServerContext*, grpc::ServerReaderWriter<v1::HostResponse, v1::HostRequest>* stream) override;
  grpc::ServerBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>* Exchange(grpc::CallbackServerContext* context) override;

 private:
  using Key = std::pair<std::string, uint32_t>;  // of a run: its id and incarnation

  std::vector<Fault> place(const v1::Place& place, const std::function<void(v1::HostResponse)>& send, std::shared_ptr<Run>& run);
  void forget(const Run& run);
  std::string name();
  std::vector<v1::Manifest> manifests() const;
  void keep_membership(const std::string& orchestrator);
  Fault fault(grpc::StatusCode code, const std::string& reason, const std::string& why);

  std::vector<NodeType> types_;
  Security security_;
  std::string address_, instance_id_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string name_;
  bool stopping_ = false;
  std::map<Key, std::shared_ptr<Run>> runs_;
  std::unique_ptr<grpc::ClientContext> membership_;
  std::thread joining_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace lanemesh
