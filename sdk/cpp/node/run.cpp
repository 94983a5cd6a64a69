#include "node/run.hpp"

#include <algorithm>
#include <stdexcept>

#include <google/protobuf/util/json_util.h>
#include <google/protobuf/util/time_util.h>

namespace lanemesh {
namespace {

constexpr auto kOpen = std::chrono::seconds(10);    // from `open` to `accepted`
constexpr auto kCancel = std::chrono::seconds(8);   // for cancelled nodes to end before they are abandoned
constexpr auto kGrace = std::chrono::seconds(2);    // longer than its timeout a run may take here

v1::HostResponse update_of(v1::Update update) {
  *update.mutable_time() = google::protobuf::util::TimeUtil::GetCurrentTime();
  v1::HostResponse response;
  *response.mutable_update() = std::move(update);
  return response;
}

NodeFailed refused(grpc::StatusCode code, const std::string& reason, const v1::LaneOpen& open, const std::string& why) {
  return NodeFailed({code, reason, "the lane \"" + open.edge_id() + "\" of run \"" + open.run_id() + "\" is rejected: " + why,
                     {{"lane", open.edge_id()}}});
}

// Compares two keys in a time that does not depend on their content.
bool is_same(const std::string& one, const std::string& other) {
  if (one.size() != other.size()) return false;
  unsigned char difference = 0;
  for (size_t i = 0; i < one.size(); ++i) difference |= static_cast<unsigned char>(one[i] ^ other[i]);
  return difference == 0;
}

// The texts to which a JSON pointer (RFC 6901) leads.
void collect(const google::protobuf::Value& value, std::vector<std::string>& found) {
  if (value.kind_case() == google::protobuf::Value::kStringValue && !value.string_value().empty()) found.push_back(value.string_value());
  for (const auto& inner : value.list_value().values()) collect(inner, found);
  for (const auto& [key, inner] : value.struct_value().fields()) collect(inner, found);
}

void collect_at(const google::protobuf::Value& value, const std::string& pointer, std::vector<std::string>& found) {
  if (pointer.empty()) return collect(value, found);
  const auto end = std::min(pointer.find('/', 1), pointer.size());
  std::string part;
  for (size_t i = 1; i < end; ++i) {
    const bool is_escape = pointer[i] == '~' && i + 1 < end;
    part += !is_escape ? pointer[i] : pointer[++i] == '1' ? '/' : '~';
  }
  const std::string rest = pointer.substr(end);
  if (value.has_struct_value() && value.struct_value().fields().count(part) > 0)
    collect_at(value.struct_value().fields().at(part), rest, found);
  if (value.has_list_value() && !part.empty() && part.find_first_not_of("0123456789") == std::string::npos) {
    const auto index = std::stoul(part.substr(0, 9));
    if (index < static_cast<size_t>(value.list_value().values_size())) collect_at(value.list_value().values(index), rest, found);
  }
}

}  // namespace

bool Port::ended() const {
  return items.empty() && std::all_of(edges.begin(), edges.end(), [](const Edge* edge) { return edge->ended || edge->stopped; });
}

void Component::lane_stopped() {
  run->changed.notify_all();
  if (finished || downstream_closed) return;
  bool any = false;
  std::optional<Fault> fault;
  for (const auto& [name, out] : outputs)
    for (const auto& lane : out.lanes) {
      if (!lane->stopped()) return;
      any = true;
      if (!fault) fault = lane->broken();
    }
  if (!any) return;
  downstream_closed = true;
  downstream_fault = fault;
  for (auto& [name, port] : inputs)
    for (auto* edge : port.edges) edge->stop("its own consumers accept no more items", fault);
}

Fault Component::located(const Fault& fault) const {
  return fault.with("component", instance.component()).with("provider", instance.provider()).with("server", run->server());
}

Run::Run(v1::Place place, std::string server, std::function<void(v1::HostResponse)> send)
    : place_(std::move(place)), server_(place_.server().empty() ? std::move(server) : place_.server()), send_(std::move(send)) {
  for (const auto& instance : place_.instances()) {
    google::protobuf::Value config;
    if (!google::protobuf::util::JsonStringToMessage(instance.config_json(), &config).ok()) continue;
    for (const auto& pointer : instance.secret_pointers()) collect_at(config, pointer, secrets_);
  }
  std::sort(secrets_.begin(), secrets_.end(), [](const auto& a, const auto& b) { return a.size() > b.size(); });
}

std::vector<Fault> Run::prepare(const std::vector<NodeType>& types) {
  std::vector<Fault> faults;
  std::lock_guard lock(mutex);
  for (const auto& instance : place_.instances())
    if (auto fault = prepare(instance, types)) {
      fault->message = redacted(fault->message);
      faults.push_back(fault->with("component", instance.component()).with("provider", instance.provider()).with("server", server_));
    }
  for (const auto& spec : place_.edges()) {
    const auto consumer = components_.find(spec.consumer());
    if (consumer == components_.end()) continue;
    const auto port = consumer->second->inputs.find(spec.input());
    if (port == consumer->second->inputs.end()) {
      faults.push_back({grpc::StatusCode::INVALID_ARGUMENT, "unknown-port", spec.consumer() + " has no input \"" + spec.input() + '"'});
      continue;
    }
    auto edge = std::make_shared<Edge>();
    edge->id = spec.id();
    edge->type = spec.lane_type();
    edge->limit_items = std::max<uint64_t>(1, spec.limit_items());
    edge->limit_bytes = std::max<uint64_t>(1, spec.limit_bytes());
    edge->consumer = consumer->second.get();
    edge->input = spec.input();
    port->second.edges.push_back(edge.get());
    incoming_[edge->id] = edge;
    if (!spec.producer_server().empty() && components_.count(spec.producer()) == 0) unopened_[edge->id] = spec;
  }
  return faults;
}

std::optional<Fault> Run::prepare(const v1::Instance& instance, const std::vector<NodeType>& types) {
  const auto type = std::find_if(types.begin(), types.end(), [&](const auto& one) { return one.provider == instance.provider(); });
  if (type == types.end())
    return Fault{grpc::StatusCode::NOT_FOUND, "unknown-provider",
                 "the node server \"" + server_ + "\" has no node type \"" + instance.provider() + '"'};
  std::string lacking;
  if (instance.helper()) lacking = "helper";
  if (instance.has_on_error() && instance.on_error().policy() != v1::OnError::POLICY_UNSPECIFIED) lacking = "on_error";
  if (instance.isolation() == v1::ISOLATION_PROCESS) lacking = "isolation";
  if (instance.sync_mode() == v1::SYNC_MODE_JOIN) lacking = "sync_mode join";
  if (!lacking.empty())
    return Fault{grpc::StatusCode::UNIMPLEMENTED, "missing-feature",
                 "the node server \"" + server_ + "\" does not support " + lacking + " of " + instance.component() + "; use another one for it"};
  auto component = std::make_shared<Component>();
  component->run = this;
  component->instance = instance;
  component->type = &*type;
  for (const auto& input : type->inputs) component->inputs[input.name];
  for (const auto& output : type->outputs) component->outputs[output.name].type = output.type;
  try {
    Config config;
    const auto& text = instance.config_json();
    if (!google::protobuf::util::JsonStringToMessage(text.empty() ? "{}" : text, &config).ok())
      throw std::invalid_argument("the config is no JSON object");
    component->body = type->make(config);
  } catch (const std::exception& error) {
    return Fault{grpc::StatusCode::INVALID_ARGUMENT, "bad-config", instance.component() + ": " + error.what()};
  }
  components_[instance.component()] = component;
  return std::nullopt;
}

std::vector<Fault> Run::connect(const std::function<std::shared_ptr<grpc::Channel>(const std::string&)>& channel, const std::string& token) {
  std::vector<Fault> faults;
  std::unique_lock lock(mutex);
  std::vector<std::shared_ptr<Lane>> dialled;
  for (const auto& spec : place_.edges()) {
    const auto producer = components_.find(spec.producer());
    if (producer == components_.end() || cancelling) continue;
    const auto out = producer->second->outputs.find(spec.output());
    if (out == producer->second->outputs.end()) {
      faults.push_back({grpc::StatusCode::INVALID_ARGUMENT, "unknown-port", spec.producer() + " has no output \"" + spec.output() + '"'});
      continue;
    }
    std::shared_ptr<Lane> lane;
    if (spec.consumer_address().empty()) {
      lane = std::make_shared<LocalLane>(incoming_.at(spec.id()), producer->second.get());
    } else {
      lane = dial(shared_from_this(), producer->second.get(), spec, channel(spec.consumer_address()), token);
      dialled.push_back(lane);
    }
    out->second.lanes.push_back(lane);
    lanes_.push_back(lane);
  }
  const auto all_open = [&] {
    return cancelling || std::all_of(dialled.begin(), dialled.end(), [](const auto& lane) { return is_open_or_broken(*lane); });
  };
  changed.wait_for(lock, kOpen, all_open);
  for (const auto& lane : dialled) {
    if (!is_open_or_broken(*lane)) give_up(*lane, grpc::StatusCode::DEADLINE_EXCEEDED, "the consumer did not accept it within 10 s");
    if (lane->broken()) faults.push_back(lane->broken()->with("server", server_));
  }
  return faults;
}

std::shared_ptr<Edge> Run::accept(const v1::LaneOpen& open) {
  std::lock_guard lock(mutex);
  if (!place_.lane_key().empty() && !is_same(place_.lane_key(), open.lane_key()))
    throw refused(grpc::StatusCode::PERMISSION_DENIED, "wrong-lane-key", open, "it does not prove that it belongs to the run");
  const auto found = incoming_.find(open.edge_id());
  if (found == incoming_.end()) throw refused(grpc::StatusCode::NOT_FOUND, "unknown-edge", open, "the run has no such edge here");
  auto& edge = found->second;
  if (edge->type != open.lane_type()) throw refused(grpc::StatusCode::INVALID_ARGUMENT, "lane-mismatch", open, "the edge is of another type");
  if (open.reopen()) throw refused(grpc::StatusCode::FAILED_PRECONDITION, "not-detached", open, "the edge does not wait for a new lane");
  if (edge->opened) throw refused(grpc::StatusCode::ALREADY_EXISTS, "already-open", open, "the edge has a lane already");
  if (open.resume_from() > 0) throw refused(grpc::StatusCode::FAILED_PRECONDITION, "no-resume", open, "the lanes of this edge cannot be resumed");
  if (open.has_items()) throw refused(grpc::StatusCode::INVALID_ARGUMENT, "missing-feature", open, "it has items in the first frame");
  edge->opened = true;
  unopened_.erase(edge->id);
  return edge;
}

std::vector<Fault> Run::execute() {
  std::unique_lock lock(mutex);
  if (cancelling) return faults_;
  for (const auto& [id, spec] : unopened_)
    faults_.push_back({grpc::StatusCode::FAILED_PRECONDITION, "lane-not-opened",
                       "the node server \"" + spec.producer_server() + "\" has connected, but has not opened the lane " + id,
                       {{"server", server_}, {"lane", id}, {"component", spec.consumer()}}});
  if (!faults_.empty()) {
    lock.unlock();
    cancel("not every lane was opened");
    return faults_;
  }
  for (const auto& [id, component] : components_) component->started = true;
  for (const auto& [id, component] : components_) {
    v1::Update update;
    update.mutable_node()->set_component(id);
    update.mutable_node()->set_state(v1::NODE_STATE_RUNNING);
    send_(update_of(std::move(update)));
  }
  for (const auto& [id, component] : components_) {
    // Detached, because a body that ignores its cancellation is abandoned: it holds the run by a pointer of its own.
    std::thread([self = shared_from_this(), component = component] { self->supervise(component); }).detach();
  }
  const auto all_ended = [&] {
    return std::all_of(components_.begin(), components_.end(), [](const auto& one) { return one.second->finished; });
  };
  const auto all_over = [&] {
    return all_ended() && std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) { return lane->closed(); });
  };
  std::optional<Clock::time_point> limit;
  if (place_.has_timeout())
    limit = Clock::now() + std::chrono::milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(place_.timeout())) + kGrace;
  while (!all_over() && !cancelling) {
    if (!limit) {
      changed.wait(lock);
    } else if (changed.wait_until(lock, *limit) == std::cv_status::timeout) {
      faults_.push_back({grpc::StatusCode::DEADLINE_EXCEEDED, "timeout", "the run took longer than its timeout", {{"server", server_}}});
      lock.unlock();
      cancel("the run took longer than its timeout");
      lock.lock();
    }
  }
  if (!all_over()) {
    changed.wait_for(lock, kCancel, all_ended);
    for (const auto& [id, component] : components_)
      if (!component->finished) abandon(lock, *component);
    changed.wait_for(lock, std::chrono::seconds(2), all_over);
    for (const auto& lane : lanes_) lane->cut();
  }
  for (const auto& [id, component] : components_)
    for (const auto& [name, out] : component->outputs)
      for (const auto& lane : out.lanes)
        if (lane->broken() && !cancelling && !component->failed)
          faults_.push_back(component->located(*lane->broken()));
  report_edges();
  return faults_;
}

void Run::supervise(std::shared_ptr<Component> component) {
  auto& one = *component;
  Call call(*this, one);
  std::optional<Fault> fault;
  auto state = v1::NODE_STATE_COMPLETED;
  std::string detail;
  const auto start_clock = [&] {
    if (one.instance.has_timeout())
      one.deadline = Clock::now() + std::chrono::milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(one.instance.timeout()));
  };
  try {
    if (one.type->reads_inputs || one.type->inputs.empty()) {
      start_clock();
      one.firings = 1;
      one.body(call);
    } else {
      const auto& input = one.type->inputs.front();
      while (auto item = call.next(input.name)) {
        call.item_ = std::move(*item);
        ++one.firings;
        start_clock();
        one.body(call);
        one.deadline.reset();
      }
      if (one.firings == 0 && input.required) {
        state = v1::NODE_STATE_SKIPPED;
        detail = "the required input \"" + input.name + "\" ended without an item";
      }
    }
  } catch (const Interrupted&) {
    if (one.deadline && Clock::now() >= *one.deadline)
      fault = Fault{grpc::StatusCode::DEADLINE_EXCEEDED, "timeout", one.instance.component() + " took longer than its timeout"};
  } catch (const NodeFailed& failed) {
    fault = failed.fault;
  } catch (const std::exception& error) {
    fault = Fault{grpc::StatusCode::UNKNOWN, "node-error", error.what()};
  }
  std::unique_lock lock(mutex);
  if (one.finished) return;  // it was abandoned
  if (cancelling) {
    state = v1::NODE_STATE_CANCELLED;
    fault = Fault{grpc::StatusCode::CANCELLED, "cancelled", one.instance.component() + " was cancelled", {}, true};
  } else if (!fault && one.downstream_closed && one.downstream_fault) {
    fault = one.downstream_fault->consequence();
  }
  if (fault && !cancelling)
    state = fault->code == grpc::StatusCode::CANCELLED && fault->secondary ? v1::NODE_STATE_CANCELLED : v1::NODE_STATE_FAILED;
  finish(lock, one, state, fault, detail);
}

void Run::finish(std::unique_lock<std::mutex>&, Component& component, v1::NodeState state, std::optional<Fault> fault, const std::string& detail) {
  if (fault) {
    fault = component.located(*fault);
    fault->message = redacted(fault->message);
  }
  v1::Update update;
  auto* node = update.mutable_node();
  node->set_component(component.instance.component());
  node->set_state(state);
  node->set_detail(detail);
  node->set_firings(component.firings);
  if (fault) *node->mutable_error() = fault->proto();
  const auto consequence = fault ? std::optional<Fault>(fault->consequence()) : std::nullopt;
  if (state == v1::NODE_STATE_FAILED) faults_.push_back(*fault);
  send_(update_of(std::move(update)));  // before `finished` of the component, which lets the run end
  component.finished = true;
  component.failed = fault.has_value();
  for (auto& [name, out] : component.outputs)
    for (const auto& lane : out.lanes) cancelling ? lane->abort(*fault) : lane->end(consequence);
  for (auto& [name, port] : component.inputs)
    for (auto* edge : port.edges) edge->stop(component.instance.component() + (fault ? " failed" : " has ended"), consequence);
  changed.notify_all();
}

void Run::abandon(std::unique_lock<std::mutex>& lock, Component& component) {
  Fault fault{grpc::StatusCode::CANCELLED, "cancelled", component.instance.component() + " was cancelled", {}, true};
  finish(lock, component, v1::NODE_STATE_CANCELLED, fault, "it ignored its cancellation for 8 s and was abandoned");
}

void Run::fail(Fault fault) {
  {
    std::lock_guard lock(mutex);
    faults_.push_back(std::move(fault));
  }
  cancel("the run failed");
}

void Run::cancel(const std::string&) {
  std::lock_guard lock(mutex);
  if (cancelling) return;
  cancelling = true;
  const Fault fault{grpc::StatusCode::CANCELLED, "cancelled", "the run was cancelled", {}, true};
  for (const auto& [id, component] : components_) {
    if (component->started) continue;
    component->finished = true;  // it has no body that would end its lanes
    for (auto& [name, out] : component->outputs)
      for (const auto& lane : out.lanes) lane->abort(fault);
    for (auto& [name, port] : component->inputs)
      for (auto* edge : port.edges) edge->stop("the run was cancelled", fault);
  }
  changed.notify_all();
}

void Run::release() {
  std::lock_guard lock(mutex);
  for (const auto& [id, edge] : incoming_) edge->stop("the run has ended", std::nullopt);
  for (const auto& lane : lanes_)
    if (!lane->closed()) lane->cut();
  lanes_.clear();  // they hold the run
  for (const auto& [id, component] : components_)
    for (auto& [name, out] : component->outputs) out.lanes.clear();
}

void Run::report_edges() {
  for (const auto& [id, edge] : incoming_) {
    v1::Update update;
    auto* state = update.mutable_edge();
    state->set_edge_id(id);
    state->set_sent(edge->arrived);
    state->set_consumed(edge->taken);
    state->set_buffered(edge->buffered());
    state->set_drained((edge->ended || edge->stopped) && edge->buffered() == 0);
    state->set_limit_items(edge->limit_items);
    send_(update_of(std::move(update)));
  }
}

std::string Run::redacted(std::string text) const {
  for (const auto& secret : secrets_)
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += 3) text.replace(at, secret.size(), "***");
  return text;
}

}  // namespace lanemesh
