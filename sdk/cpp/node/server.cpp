#include "node/server.hpp"

#include <unistd.h>

#include <atomic>
#include <iostream>
#include <random>
#include <stdexcept>

#include <google/protobuf/util/time_util.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>

namespace lanemesh {
namespace {

constexpr size_t kMostStreams = 64;      // lanes on one connection
constexpr size_t kMostUpdates = 256;     // frames that wait for the orchestrator; at this bound, nodes wait with their reports
constexpr char kFeature[] = "lane-keys";  // the only optional part of the protocol that this server supports
constexpr auto kIdle = std::chrono::seconds(20);
constexpr auto kMembershipBeat = std::chrono::seconds(5);

// The frames of one Host stream to the orchestrator, in order.
class Outlet {
 public:
  void send(v1::HostResponse response) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || queue_.size() < kMostUpdates; });
    if (closed_) return;
    queue_.push_back(std::move(response));
    changed_.notify_all();
  }

  void close() {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  // Writes until it is closed and nothing waits, or a write fails.
  void write_to(grpc::ServerReaderWriter<v1::HostResponse, v1::HostRequest>& stream) {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait_for(lock, kIdle, [&] { return closed_ || !queue_.empty(); });
      if (queue_.empty() && closed_) return;
      v1::HostResponse response;  // without a frame: a heartbeat
      if (!queue_.empty()) {
        response = std::move(queue_.front());
        queue_.pop_front();
        changed_.notify_all();
      }
      lock.unlock();
      const bool written = stream.Write(response);
      lock.lock();
      if (!written) {
        closed_ = true;
        queue_.clear();
        changed_.notify_all();
        return;
      }
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::HostResponse> queue_;
  bool closed_ = false;
};

template <typename Message>
void add(Message& message, const std::vector<Fault>& faults) {
  for (const auto& fault : faults) *message.add_faults() = fault.proto();
}

}  // namespace

Server::Server(std::string name, const std::string& listen, std::vector<NodeType> types, Security security)
    : types_(std::move(types)), security_(std::move(security)), name_(std::move(name)) {
  std::random_device random;
  for (int i = 0; i < 4; ++i) instance_id_ += std::to_string(random());
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(listen, security_.server(), &port);
  builder.RegisterService(this);
  builder.SetMaxReceiveMessageSize(kMostMessageBytes);
  builder.SetMaxSendMessageSize(kMostMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kWindowBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server_ = builder.BuildAndStart();
  if (!server_ || port == 0) throw std::runtime_error("cannot listen at " + listen + "; is the port in use?");
  server_->GetHealthCheckService()->SetServingStatus("lanemesh.v1.NodeService", true);
  address_ = listen.substr(0, listen.rfind(':') + 1) + std::to_string(port);
}

Server::~Server() { stop(); }

std::string Server::name() {
  std::lock_guard lock(mutex_);
  return name_;
}

Fault Server::fault(grpc::StatusCode code, const std::string& reason, const std::string& why) {
  return Fault{code, reason, "the node server \"" + name() + "\": " + why, {{"server", name()}}};
}

std::vector<v1::Manifest> Server::manifests() const {
  std::vector<v1::Manifest> made;
  for (const auto& type : types_) {
    v1::Manifest manifest;
    manifest.set_provider(type.provider);
    manifest.set_version("0.1.0");
    manifest.set_description(type.description);
    manifest.set_service("cpp");
    manifest.set_is_streaming_input(type.reads_inputs);
    manifest.set_is_streaming_output(type.reads_inputs);
    manifest.set_sync_mode(v1::SYNC_MODE_ON_ANY);
    manifest.set_config_schema_json(type.config_schema);
    for (const auto& input : type.inputs) {
      auto* port = manifest.add_inputs();
      port->set_name(input.name);
      port->set_lane_type(input.type);
      port->set_required(input.required);
    }
    for (const auto& output : type.outputs) {
      auto* port = manifest.add_outputs();
      port->set_name(output.name);
      port->set_lane_type(output.type);
    }
    made.push_back(std::move(manifest));
  }
  return made;
}

grpc::Status Server::Describe(grpc::ServerContext*, const v1::DescribeRequest*, v1::DescribeResponse* response) {
  for (auto& manifest : manifests()) *response->add_manifests() = std::move(manifest);
  response->set_protocol_version(1);
  response->set_instance_id(instance_id_);
  response->add_features(kFeature);
  return grpc::Status::OK;
}

grpc::ServerBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>* Server::Exchange(grpc::CallbackServerContext* context) {
  return receive(context, [this](const v1::LaneOpen& open) {
    std::shared_ptr<Run> run;
    {
      std::lock_guard lock(mutex_);
      const auto found = runs_.find({open.run_id(), open.incarnation()});
      if (found != runs_.end()) run = found->second;
    }
    if (run == nullptr)
      throw NodeFailed({grpc::StatusCode::NOT_FOUND, "unknown-run", "the run \"" + open.run_id() + "\" is not hosted here", {{"lane", open.edge_id()}}});
    auto edge = run->accept(open);
    return std::make_pair(run, edge);
  });
}

std::vector<Fault> Server::place(const v1::Place& place, const std::function<void(v1::HostResponse)>& send, std::shared_ptr<Run>& run) {
  if (run != nullptr) return {fault(grpc::StatusCode::ALREADY_EXISTS, "run-exists", "the stream hosts a run already")};
  std::string missing;
  for (const auto& feature : place.features())
    if (feature != kFeature) missing += (missing.empty() ? "\"" : ", \"") + feature + '"';
  if (place.keep_warm() && missing.empty()) missing = "\"preload\"";
  if (place.controls_size() > 0 && missing.empty()) missing = "helpers";
  if (!missing.empty())
    return {fault(grpc::StatusCode::FAILED_PRECONDITION, "missing-feature", "it does not support " + missing + ", which the run needs there")};
  auto made = std::make_shared<Run>(place, name(), send);
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return {Fault{grpc::StatusCode::UNAVAILABLE, "draining", "the node server stops and accepts no new runs"}};
    if (!runs_.emplace(Key{place.run_id(), place.incarnation()}, made).second)
      return {Fault{grpc::StatusCode::ALREADY_EXISTS, "run-exists", "the run \"" + place.run_id() + "\" is already hosted"}};
  }
  run = made;
  return run->prepare(types_);
}

void Server::forget(const Run& run) {
  std::lock_guard lock(mutex_);
  runs_.erase({run.place().run_id(), run.place().incarnation()});
  changed_.notify_all();
}

grpc::Status Server::Host(grpc::ServerContext*, grpc::ServerReaderWriter<v1::HostResponse, v1::HostRequest>* stream) {
  auto outlet = std::make_shared<Outlet>();
  const auto send = [outlet](v1::HostResponse response) { outlet->send(std::move(response)); };
  std::thread writer([&] { outlet->write_to(*stream); });
  std::shared_ptr<Run> run;
  std::vector<std::thread> phases;  // beside the reading, so that a cancellation is read meanwhile
  std::mutex phase;                 // one after the other
  enum class Phase { Placing, Placed, Connecting, Connected, Started, Refused };
  std::atomic<Phase> at = Phase::Placing;
  const auto misplaced = [&](const std::string& why) { return fault(grpc::StatusCode::FAILED_PRECONDITION, "not-placed", why); };
  std::map<std::string, std::vector<std::shared_ptr<grpc::Channel>>> channels;
  std::map<std::string, size_t> streams;
  const auto channel = [&](const std::string& address) {
    if (streams[address]++ % kMostStreams == 0) channels[address].push_back(lanemesh::connect(address, security_));
    return channels[address].back();
  };
  v1::HostRequest request;
  while (stream->Read(&request)) {
    switch (request.frame_case()) {
      case v1::HostRequest::kPlace: {
        v1::HostResponse response;
        response.mutable_placed();
        const auto is_first = run == nullptr;
        const auto faults = place(request.place(), send, run);
        if (is_first && faults.empty()) at = Phase::Placed;
        add(*response.mutable_placed(), faults);
        send(std::move(response));
        break;
      }
      case v1::HostRequest::kConnect: {
        const bool is_due = at == Phase::Placed;
        if (is_due) at = Phase::Connecting;
        phases.emplace_back([&, run, is_due] {
          std::lock_guard lock(phase);
          const auto faults = is_due ? run->connect(channel, security_.token) : std::vector<Fault>{misplaced("`connect` came before `placed`, or twice")};
          v1::HostResponse response;
          response.mutable_connected();
          add(*response.mutable_connected(), faults);
          auto opened = Phase::Connecting;
          if (is_due && faults.empty()) at.compare_exchange_strong(opened, Phase::Connected);
          send(std::move(response));
        });
        break;
      }
      case v1::HostRequest::kStart:
        if (at == Phase::Started) {  // its only `finished` has the fault
          run->fail(misplaced("`start` came twice"));
          break;
        }
        if (at == Phase::Refused) break;  // `finished` was the last frame of the run
        {
          const bool is_due = at == Phase::Connected;
          if (run != nullptr) at = is_due ? Phase::Started : Phase::Refused;
          if (run != nullptr && !is_due) run->cancel("`start` came before `connected`");
          phases.emplace_back([&, run, is_due] {
            std::lock_guard lock(phase);
            const auto faults = is_due ? run->execute() : std::vector<Fault>{misplaced("`start` came before `connected`")};
            v1::HostResponse response;
            response.mutable_finished();
            add(*response.mutable_finished(), faults);
            if (run != nullptr) forget(*run);
            send(std::move(response));
          });
        }
        break;
      case v1::HostRequest::kCancel:
        if (run != nullptr) run->cancel(request.cancel().reason());
        break;
      default:  // a heartbeat, or a frame of a level that this server lacks
        break;
    }
  }
  // A half-close and a loss have the same effect: the orchestrator has disconnected.
  if (run != nullptr) run->cancel("the orchestrator disconnected");
  for (auto& thread : phases) thread.join();
  outlet->close();
  writer.join();
  if (run != nullptr) {
    run->release();
    forget(*run);
  }
  return grpc::Status::OK;
}

void Server::join(const std::string& orchestrator) {
  joining_ = std::thread([this, orchestrator] { keep_membership(orchestrator); });
}

void Server::keep_membership(const std::string& orchestrator) {
  auto pause = std::chrono::milliseconds(200);
  std::string logged;
  while (true) {
    const auto channel = lanemesh::connect(orchestrator, security_);
    auto stub = v1::RegistryService::NewStub(channel);
    std::unique_lock lock(mutex_);
    if (stopping_) return;
    membership_ = std::make_unique<grpc::ClientContext>();
    if (!security_.token.empty()) membership_->AddMetadata("authorization", "Bearer " + security_.token);
    auto stream = stub->Register(membership_.get());
    lock.unlock();
    v1::RegisterRequest first;
    auto* server = first.mutable_server();
    server->set_name(name_);
    server->set_address(address_);
    server->set_protocol_version(1);
    server->set_pid(getpid());
    server->set_instance_id(instance_id_);
    server->add_features(kFeature);
    *server->mutable_started_at() = google::protobuf::util::TimeUtil::GetCurrentTime();
    for (auto& manifest : manifests()) *server->add_manifests() = std::move(manifest);
    bool joined = false, over = !stream->Write(first);
    std::thread beats([&] {
      std::unique_lock beating(mutex_);
      while (!over && !stopping_) {
        if (changed_.wait_for(beating, kMembershipBeat, [&] { return over || stopping_; })) break;
        beating.unlock();
        const bool written = stream->Write(v1::RegisterRequest());
        beating.lock();
        if (!written) break;
      }
    });
    v1::RegisterResponse response;
    while (stream->Read(&response)) {
      if (response.has_registered()) {
        std::lock_guard naming(mutex_);
        name_ = response.registered().name();
        joined = true;
      } else if (response.has_warning()) {
        std::cerr << "the orchestrator at " << orchestrator << ": " << response.warning().text() << std::endl;
      }
    }
    lock.lock();
    over = true;
    changed_.notify_all();
    lock.unlock();
    beats.join();
    const auto status = stream->Finish();
    if (joined) {
      pause = std::chrono::milliseconds(200);
      logged.clear();
    }
    lock.lock();
    if (stopping_) return;
    if (status.error_message() != logged) {
      logged = status.error_message();
      std::cerr << "no orchestrator at " << orchestrator << ": " << logged << "; retrying at least every 5 s" << std::endl;
    }
    changed_.wait_for(lock, pause, [&] { return stopping_; });
    pause = std::min<std::chrono::milliseconds>(pause * 2, std::chrono::seconds(5));
  }
}

void Server::stop() {
  std::unique_lock lock(mutex_);
  if (stopping_) return;
  stopping_ = true;
  if (membership_) membership_->TryCancel();
  const auto runs = runs_;
  changed_.notify_all();
  lock.unlock();
  for (const auto& [key, run] : runs) run->cancel("the node server stops");
  if (joining_.joinable()) joining_.join();
  server_->Shutdown(std::chrono::system_clock::now() + std::chrono::seconds(10));
  server_->Wait();
}

}  // namespace lanemesh
