// What the author of a node uses: a node type with a body, and the Call that the body gets.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <google/protobuf/struct.pb.h>

#include "lanemesh/v1/lane.pb.h"
#include "node/fault.hpp"

namespace lanemesh {

struct Component;
class Run;

// One call of the body of a node: its inputs and outputs. All functions throw Interrupted when the node has to end, and NodeFailed when a
// producer or a consumer has failed.
class Call {
 public:
  Call(Run& run, Component& component) : run_(run), component_(component) {}

  // The item that the body is called for, in a node that fires.
  const v1::Item& item() const { return item_; }
  // The next item of an input, in a node that reads its inputs itself; nothing at the end of the input.
  std::optional<v1::Item> next(const std::string& input);
  // The next item of any input, with the name of the input.
  std::optional<std::pair<std::string, v1::Item>> next_any();
  // Sends an item to every consumer of an output, and waits until each has capacity for it.
  void emit(const std::string& output, v1::Item item);
  void emit_text(const std::string& output, const std::string& text);
  // Waits, for as long as the node may.
  void sleep(std::chrono::milliseconds time);

 private:
  friend class Run;
  std::optional<std::pair<std::string, v1::Item>> next_of(const std::vector<std::string>& inputs);
  void check() const;

  Run& run_;
  Component& component_;
  v1::Item item_;
};

using Body = std::function<void(Call&)>;
using Config = google::protobuf::Struct;

struct Input {
  std::string name;
  v1::LaneType type;
  bool required = true;
};

struct Output {
  std::string name;
  v1::LaneType type;
};

// A node type. A node without `reads_inputs` has one input, and its body is called for each item of it.
struct NodeType {
  std::string provider;  // the name that pipelines use
  std::string description;
  std::vector<Input> inputs;
  std::vector<Output> outputs;
  bool reads_inputs = false;  // the body is called once, and reads the inputs itself
  // Makes the body of a component from its config. It throws std::exception if the config is wrong.
  std::function<Body(const Config&)> make;
  std::string config_schema = R"({"type":"object","properties":{},"additionalProperties":false})";
};

// A body for a config without settings.
std::function<Body(const Config&)> without_settings(Body body);
// An integer of a config that has no other setting. It throws std::invalid_argument if it is wrong.
int integer_setting(const Config& config, const std::string& name, int least, int usual);

}  // namespace lanemesh
