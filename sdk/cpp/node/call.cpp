#include <stdexcept>

#include "node/run.hpp"

namespace lanemesh {

void Call::check() const {
  if (run_.cancelling || component_.finished || component_.downstream_closed) throw Interrupted();
  if (component_.deadline && Clock::now() >= *component_.deadline) throw Interrupted();
}

std::optional<v1::Item> Call::next(const std::string& input) {
  auto found = next_of({input});
  if (!found) return std::nullopt;
  return std::move(found->second);
}

std::optional<std::pair<std::string, v1::Item>> Call::next_any() {
  std::vector<std::string> names;
  for (const auto& input : component_.type->inputs) names.push_back(input.name);
  return next_of(names);
}

std::optional<std::pair<std::string, v1::Item>> Call::next_of(const std::vector<std::string>& inputs) {
  std::unique_lock lock(run_.mutex);
  while (true) {
    check();
    bool ended = true;
    for (const auto& name : inputs) {
      auto& port = component_.inputs.at(name);
      if (!port.items.empty()) {
        auto [edge, item] = std::move(port.items.front());
        port.items.pop_front();
        edge->took(item.ByteSizeLong() + kItemOverhead);
        if (item.payload_case() == v1::Item::PAYLOAD_NOT_SET) {  // the end of a group
          ended = false;
          break;
        }
        return std::make_pair(name, std::move(item));
      }
      for (auto* edge : port.edges)
        if (edge->fault) throw NodeFailed(edge->fault->consequence().with("port", name));
      ended = ended && port.ended();
    }
    if (ended) return std::nullopt;
    bool waiting = false;
    for (const auto& name : inputs) waiting = waiting || !component_.inputs.at(name).items.empty();
    if (waiting) continue;
    if (component_.deadline) run_.changed.wait_until(lock, *component_.deadline);
    else run_.changed.wait(lock);
  }
}

void Call::emit(const std::string& output, v1::Item item) {
  std::unique_lock lock(run_.mutex);
  auto& out = component_.outputs.at(output);
  if (type_of(item) != out.type)
    throw NodeFailed({grpc::StatusCode::INVALID_ARGUMENT, "wrong-type",
                      component_.instance.component() + " emitted an item of another type by the output \"" + output + '"'});
  auto pending = out.lanes;
  while (true) {
    check();
    std::vector<std::shared_ptr<Lane>> full;
    for (const auto& lane : pending) {
      if (auto fault = lane->broken()) throw NodeFailed(fault->consequence());
      if (!lane->stopped() && !lane->offer(item)) full.push_back(lane);
    }
    if (full.empty()) return;
    pending = std::move(full);
    if (component_.deadline) run_.changed.wait_until(lock, *component_.deadline);
    else run_.changed.wait(lock);
  }
}

void Call::emit_text(const std::string& output, const std::string& text) {
  v1::Item item;
  item.set_text(text);
  emit(output, std::move(item));
}

void Call::sleep(std::chrono::milliseconds time) {
  std::unique_lock lock(run_.mutex);
  const auto end = Clock::now() + time;
  while (Clock::now() < end) {
    check();
    run_.changed.wait_until(lock, component_.deadline ? std::min(end, *component_.deadline) : end);
  }
  check();
}

std::function<Body(const Config&)> without_settings(Body body) {
  return [body](const Config& config) {
    if (!config.fields().empty()) throw std::invalid_argument("there is no setting \"" + config.fields().begin()->first + '"');
    return body;
  };
}

int integer_setting(const Config& config, const std::string& name, int least, int usual) {
  int value = usual;
  for (const auto& [key, given] : config.fields()) {
    if (key != name) throw std::invalid_argument("there is no setting \"" + key + "\"; there is \"" + name + '"');
    if (given.kind_case() != google::protobuf::Value::kNumberValue || given.number_value() != static_cast<int>(given.number_value()))
      throw std::invalid_argument(name + " is an integer");
    value = static_cast<int>(given.number_value());
  }
  if (value < least) throw std::invalid_argument(name + " is at least " + std::to_string(least));
  return value;
}

}  // namespace lanemesh
