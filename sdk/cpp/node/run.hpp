// The part of one run on this server: its components, from `place` to `finished`.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "node/lanes.hpp"
#include "node/node.hpp"

namespace lanemesh {

using Clock = std::chrono::steady_clock;

// An input: the items of all its edges, in the order of arrival.
struct Port {
  std::vector<Edge*> edges;
  std::deque<std::pair<Edge*, v1::Item>> items;

  bool ended() const;
};

struct OutputLanes {
  v1::LaneType type;
  std::vector<std::shared_ptr<Lane>> lanes;
};

// One component. The mutex of the run guards it.
struct Component {
  Run* run = nullptr;
  v1::Instance instance;
  const NodeType* type = nullptr;
  Body body;
  std::map<std::string, Port> inputs;
  std::map<std::string, OutputLanes> outputs;
  std::optional<Clock::time_point> deadline;  // of the firing, or of the body
  uint64_t firings = 0;
  bool started = false, finished = false, failed = false, downstream_closed = false;
  std::optional<Fault> downstream_fault;

  // Closes the node if none of its lanes takes items any more.
  void lane_stopped();
  Fault located(const Fault& fault) const;
};

class Run : public std::enable_shared_from_this<Run> {
 public:
  Run(v1::Place place, std::string server, std::function<void(v1::HostResponse)> send);

  const v1::Place& place() const { return place_; }
  const std::string& server() const { return server_; }
  // Makes every component. Returns all faults.
  std::vector<Fault> prepare(const std::vector<NodeType>& types);
  // Opens the outgoing lanes. Returns all faults.
  std::vector<Fault> connect(const std::function<std::shared_ptr<grpc::Channel>(const std::string&)>& channel, const std::string& token);
  // Runs every component to its end. Returns their faults.
  std::vector<Fault> execute();
  void cancel(const std::string& reason);
  // Cancels a run that is executed. Its faults then include this one.
  void fail(Fault fault);
  // The consumer end that a lane requests. Throws NodeFailed if there is none.
  std::shared_ptr<Edge> accept(const v1::LaneOpen& open);
  // Ends what is left, once the run is over.
  void release();

  std::mutex mutex;
  std::condition_variable changed;
  bool cancelling = false;

 private:
  std::optional<Fault> prepare(const v1::Instance& instance, const std::vector<NodeType>& types);
  void supervise(std::shared_ptr<Component> component);
  void finish(std::unique_lock<std::mutex>& lock, Component& component, v1::NodeState state, std::optional<Fault> fault,
              const std::string& detail);
  void abandon(std::unique_lock<std::mutex>& lock, Component& component);
  void report_edges();
  std::string redacted(std::string text) const;

  v1::Place place_;
  std::string server_;
  std::function<void(v1::HostResponse)> send_;
  std::vector<std::string> secrets_;
  std::map<std::string, std::shared_ptr<Component>> components_;
  std::map<std::string, std::shared_ptr<Edge>> incoming_;
  std::vector<std::shared_ptr<Lane>> lanes_;
  std::map<std::string, v1::Edge> unopened_;
  std::vector<Fault> faults_;
};

}  // namespace lanemesh
