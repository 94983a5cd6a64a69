// The two ends of a lane. The mutex of the run guards all that is here.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lanemesh/v1/lane.pb.h"
#include "lanemesh/v1/node.grpc.pb.h"
#include "node/fault.hpp"

namespace lanemesh {

class Run;
struct Component;

constexpr uint64_t kItemOverhead = 16;          // bytes that each item counts besides its message
constexpr size_t kChunkBytes = 1 << 20;         // largest part of the content of media in one frame
constexpr size_t kMostMediaBytes = 256u << 20;  // largest content
constexpr auto kBeat = std::chrono::seconds(10);  // an idle stream sends a heartbeat after one to two of these

// The type of the value of an item; unspecified if it has none.
v1::LaneType type_of(const v1::Item& item);
// The media of an item, or the file of its document; null if it has none.
v1::Media* media_of(v1::Item& item);
// The first field of an item that holds text which is not the JSON of the field; empty: all are well. Arguments of tool calls are not
// checked: a model writes them, and they may be wrong.
std::string broken_json(const v1::Item& item);

// What serves the consumer's end of a lane: it looks again whenever the edge has changed.
struct Watcher {
  virtual ~Watcher() = default;
  virtual void advance() = 0;
};

// The consumer end.
struct Edge {
  std::string id;
  v1::LaneType type;
  uint64_t limit_items = 1;
  uint64_t limit_bytes = 1;
  Component* consumer = nullptr;
  std::string input;

  uint64_t arrived = 0, taken = 0, discarded = 0, buffered_bytes = 0;
  bool opened = false, ended = false, stopped = false;
  std::optional<Fault> fault;       // of the producer
  std::optional<Fault> stop_fault;  // of the consumer
  std::string stop_reason;
  Watcher* watcher = nullptr;
  Component* producer = nullptr;  // if it is on this server

  uint64_t buffered() const { return arrived - taken - discarded; }
  bool full() const { return buffered() >= limit_items || buffered_bytes >= limit_bytes; }
  void put(v1::Item item);
  void took(uint64_t size);
  void end(std::optional<Fault> given);
  void stop(const std::string& reason, std::optional<Fault> given);
  void changed();
};

// The producer end.
class Lane {
 public:
  virtual ~Lane() = default;
  virtual const std::string& id() const = 0;
  // Sends an item if there is capacity for it.
  virtual bool offer(const v1::Item& item) = 0;
  // Ends after the items that wait, cleanly or with a fault.
  virtual void end(std::optional<Fault> fault) = 0;
  // Drops the items that wait, and ends with a fault.
  virtual void abort(const Fault& fault) = 0;
  // Breaks the call.
  virtual void cut() {}
  virtual bool stopped() const = 0;
  virtual bool closed() const = 0;
  virtual std::optional<Fault> broken() const = 0;
};

// A lane to a component on this server.
class LocalLane : public Lane {
 public:
  explicit LocalLane(std::shared_ptr<Edge> edge, Component* producer);
  const std::string& id() const override { return edge_->id; }
  bool offer(const v1::Item& item) override;
  void end(std::optional<Fault> fault) override;
  void abort(const Fault& fault) override { end(fault); }
  bool stopped() const override { return edge_->stopped || edge_->ended; }
  bool closed() const override { return true; }
  std::optional<Fault> broken() const override { return edge_->stop_fault; }

 private:
  std::shared_ptr<Edge> edge_;
};

// A lane to a component on another server: one Exchange call.
std::shared_ptr<Lane> dial(std::shared_ptr<Run> run, Component* producer, const v1::Edge& spec,
                           std::shared_ptr<grpc::Channel> channel, const std::string& token);
// Whether the consumer of such a lane has accepted it, or it broke.
bool is_open_or_broken(const Lane& lane);
// Breaks a lane that was not accepted in time.
void give_up(Lane& lane, grpc::StatusCode code, const std::string& why);

// Serves one Exchange call. `accept` finds the edge of a lane and its run.
using Accept = std::function<std::pair<std::shared_ptr<Run>, std::shared_ptr<Edge>>(const v1::LaneOpen&)>;
grpc::ServerBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>* receive(grpc::CallbackServerContext* context, Accept accept);

}  // namespace lanemesh
