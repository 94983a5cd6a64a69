#include "node/lanes.hpp"

#include <algorithm>

#include "node/json_text.hpp"
#include "node/run.hpp"

namespace lanemesh {
namespace {

bool is_empty_or_json(const std::string& text) { return text.empty() || is_json(text); }

bool is_empty_or_object(const std::string& text) { return text.empty() || is_json_object(text); }

std::string broken_question(const v1::Question& question) {
  if (!is_empty_or_json(question.schema_json())) return "schema_json";
  for (const auto& tool : question.tools())
    if (!is_empty_or_object(tool.parameters_json())) return "parameters_json";
  for (const auto& document : question.documents())
    if (!is_empty_or_object(document.metadata_json())) return "metadata_json";
  return {};
}

std::string broken_table(const v1::Table& table) {
  for (const auto& row : table.rows())
    if (!std::all_of(row.cells_json().begin(), row.cells_json().end(), is_json)) return "cells_json";
  return {};
}

}  // namespace

v1::LaneType type_of(const v1::Item& item) {
  switch (item.payload_case()) {
    case v1::Item::kText: return v1::LANE_TYPE_TEXT;
    case v1::Item::kQuestion: return v1::LANE_TYPE_QUESTIONS;
    case v1::Item::kAnswer: return v1::LANE_TYPE_ANSWERS;
    case v1::Item::kDocument: return v1::LANE_TYPE_DOCUMENTS;
    case v1::Item::kTable: return v1::LANE_TYPE_TABLE;
    case v1::Item::kTagsJson: return v1::LANE_TYPE_TAGS;
    case v1::Item::kImage: return v1::LANE_TYPE_IMAGE;
    case v1::Item::kAudio: return v1::LANE_TYPE_AUDIO;
    case v1::Item::kVideo: return v1::LANE_TYPE_VIDEO;
    case v1::Item::kDataJson: return v1::LANE_TYPE_DATA;
    case v1::Item::PAYLOAD_NOT_SET: break;
  }
  return v1::LANE_TYPE_UNSPECIFIED;
}

v1::Media* media_of(v1::Item& item) {
  switch (item.payload_case()) {
    case v1::Item::kImage: return item.mutable_image();
    case v1::Item::kAudio: return item.mutable_audio();
    case v1::Item::kVideo: return item.mutable_video();
    case v1::Item::kDocument: return item.document().has_file() ? item.mutable_document()->mutable_file() : nullptr;
    default: return nullptr;
  }
}

std::string broken_json(const v1::Item& item) {
  switch (item.payload_case()) {
    case v1::Item::kTagsJson: return is_json_object(item.tags_json()) ? "" : "tags_json";
    case v1::Item::kDataJson: return is_json(item.data_json()) ? "" : "data_json";
    case v1::Item::kQuestion: return broken_question(item.question());
    case v1::Item::kAnswer: return is_empty_or_json(item.answer().data_json()) ? "" : "data_json";
    case v1::Item::kDocument: return is_empty_or_object(item.document().metadata_json()) ? "" : "metadata_json";
    case v1::Item::kTable: return broken_table(item.table());
    default: return {};
  }
}

void Edge::changed() {
  consumer->run->changed.notify_all();
  if (watcher != nullptr) watcher->advance();
}

void Edge::put(v1::Item item) {
  ++arrived;
  if (stopped) {
    ++discarded;
    return;
  }
  buffered_bytes += item.ByteSizeLong() + kItemOverhead;
  consumer->inputs[input].items.emplace_back(this, std::move(item));
  consumer->run->changed.notify_all();
}

void Edge::took(uint64_t size) {
  ++taken;
  buffered_bytes -= size;
  changed();
}

void Edge::end(std::optional<Fault> given) {
  if (ended) return;
  ended = true;
  fault = std::move(given);
  changed();
}

void Edge::stop(const std::string& reason, std::optional<Fault> given) {
  if (stopped) return;
  stopped = true;
  stop_reason = reason;
  stop_fault = std::move(given);
  discarded += buffered();
  buffered_bytes = 0;
  auto& items = consumer->inputs[input].items;
  std::deque<std::pair<Edge*, v1::Item>> kept;
  for (auto& entry : items)
    if (entry.first != this) kept.push_back(std::move(entry));
  items.swap(kept);
  changed();
  if (producer != nullptr) producer->lane_stopped();
}

LocalLane::LocalLane(std::shared_ptr<Edge> edge, Component* producer) : edge_(std::move(edge)) {
  edge_->opened = true;
  edge_->producer = producer;
}

bool LocalLane::offer(const v1::Item& item) {
  if (edge_->full()) return false;
  edge_->put(item);
  return true;
}

void LocalLane::end(std::optional<Fault> fault) {
  edge_->end(fault ? std::optional<Fault>(fault->consequence()) : std::nullopt);
}

}  // namespace lanemesh
