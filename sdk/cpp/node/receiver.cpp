// The consumer's side of one Exchange call, without a thread of its own: it reads while the inbox has capacity, and grants credit for
// the items that the node has taken.
#include <grpcpp/alarm.h>

#include "node/json_text.hpp"
#include "node/run.hpp"

namespace lanemesh {
namespace {

constexpr auto kFirstFrame = std::chrono::seconds(10);      // for `open` to arrive
constexpr auto kBreakGrace = std::chrono::milliseconds(500);  // for the report that a call broke, after the end of its frames
constexpr auto kDiscard = std::chrono::seconds(5);          // for a producer that broke the protocol to end the call
constexpr auto kPatience = std::chrono::milliseconds(2);    // how long less than half a window is withheld from a producer without credit

class Receiver : public grpc::ServerBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>,
                 public Watcher,
                 public std::enable_shared_from_this<Receiver> {
 public:
  Receiver(grpc::CallbackServerContext* context, Accept accept) : context_(context), accept_(std::move(accept)) {}

  void begin() {
    self_ = shared_from_this();
    after(kFirstFrame, first_, [](Receiver& r) {
      std::lock_guard lock(r.opening_);
      if (r.run_ == nullptr && !r.finished_) {
        r.finished_ = true;
        r.Finish({grpc::StatusCode::DEADLINE_EXCEEDED, "no `open` arrived within 10 s"});
      }
    });
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (run_ == nullptr) {
      open(ok);
      return;
    }
    std::lock_guard lock(run_->mutex);
    reading_ = false;
    if (ok && violation_.empty()) {
      take();
    } else if (!ok) {
      half_closed_ = true;
      if (!edge_->ended && violation_.empty())
        after(kBreakGrace, grace_, [](Receiver& r) {
          std::lock_guard lock(r.run_->mutex);
          r.lost(grpc::StatusCode::DATA_LOSS, "it was closed without `end` after " + std::to_string(r.received_) + " items");
          r.advance();
        });
    }
    advance();
  }

  void OnWriteDone(bool) override {
    std::lock_guard lock(run_->mutex);
    writing_ = false;
    advance();
  }

  void OnCancel() override {
    std::lock_guard opening(opening_);
    if (run_ == nullptr) {
      if (!finished_) Finish(grpc::Status::CANCELLED);
      finished_ = true;
      return;
    }
    std::lock_guard lock(run_->mutex);
    lost(grpc::StatusCode::UNAVAILABLE, "the connection is gone");
    over_ = true;
    advance();
  }

  void OnDone() override {
    if (run_ != nullptr) {
      std::lock_guard lock(run_->mutex);
      edge_->watcher = nullptr;
    }
    for (auto* alarm : {&first_, &grace_, &patience_, &beat_, &discard_}) alarm->Cancel();
    self_.reset();
  }

  // Starts what can be started. The caller holds the mutex of the run.
  void advance() override {
    if (finished_) return;
    if (!reading_ && !half_closed_ && !over_ && (edge_->buffered_bytes < edge_->limit_bytes || edge_->stopped)) {
      reading_ = true;
      StartRead(&request_);
    }
    if (writing_) return;
    if (!over_ && next()) {
      writing_ = true;
      quiet_ = false;
      StartWrite(&response_);
      return;
    }
    const bool refused = !violation_.empty() && (half_closed_ || discarded_);
    const bool complete = half_closed_ && edge_->ended && (edge_->buffered() == 0 || edge_->stopped);
    if (!over_ && !refused && !complete) return;
    finished_ = true;
    if (!violation_.empty()) Finish({grpc::StatusCode::INVALID_ARGUMENT, "lane " + edge_->id + ": " + violation_});
    else Finish(over_ ? grpc::Status::CANCELLED : grpc::Status::OK);
  }

 private:
  template <typename Do>
  void after(std::chrono::milliseconds time, grpc::Alarm& alarm, Do what) {
    std::weak_ptr<Receiver> weak = weak_from_this();
    alarm.Set(std::chrono::system_clock::now() + time, [weak, what](bool ok) {
      auto self = weak.lock();
      if (ok && self) what(*self);
    });
  }

  // Takes the first frame.
  void open(bool ok) {
    std::lock_guard opening(opening_);
    if (finished_) return;
    try {
      if (!ok || !request_.has_open())
        throw NodeFailed({grpc::StatusCode::INVALID_ARGUMENT, "bad-request", "the first frame of a lane must be `open`"});
      std::tie(run_, edge_) = accept_(request_.open());
    } catch (const NodeFailed& refused) {
      finished_ = true;
      Finish(refused.fault.status());
      return;
    }
    std::lock_guard lock(run_->mutex);
    edge_->watcher = this;
    reported_limit_ = edge_->limit_items;
    response_.mutable_accepted()->set_limit_items(reported_limit_);
    writing_ = true;
    StartWrite(&response_);
    beat();
    advance();
  }

  void beat() {
    after(kBeat, beat_, [](Receiver& r) {
      std::lock_guard lock(r.run_->mutex);
      if (r.finished_) return;
      r.beat_due_ = r.quiet_;
      r.quiet_ = true;
      r.advance();
      r.beat();
    });
  }

  // Puts the content of a frame into the edge.
  void take() {
    switch (request_.frame_case()) {
      case v1::ExchangeRequest::kItems: take_items(); break;
      case v1::ExchangeRequest::kChunk:
        if (edge_->stopped) chunks_.clear();
        else if (chunks_.size() + request_.chunk().content().size() > kMostMediaBytes) violate("too many bytes of chunks arrived for one item");
        else chunks_ += request_.chunk().content();
        break;
      case v1::ExchangeRequest::kEnd: take_end(); break;
      case v1::ExchangeRequest::kOpen: violate("a second `open` came on it"); break;
      case v1::ExchangeRequest::FRAME_NOT_SET: break;
    }
  }

  void take_items() {
    auto& items = *request_.mutable_items()->mutable_items();
    if (edge_->ended) return violate("items arrived after the end");
    received_ += items.size();
    if (!edge_->stopped && edge_->buffered() + items.size() > edge_->limit_items)
      return violate("more items are in transit than the limit of " + std::to_string(edge_->limit_items));
    for (auto& item : items) {  // all of them, before the node gets one
      const bool has_envelope = item.has_group() || item.has_lineage();
      if (type_of(item) != edge_->type && !(item.payload_case() == v1::Item::PAYLOAD_NOT_SET && has_envelope))
        return violate("an item of another type arrived");
      if (!edge_->stopped) {
        const std::string field = broken_json(item);
        if (!field.empty())
          return violate("`" + field + "` of an item is not the JSON of this field, or has more than " + std::to_string(kMostJsonLevels) +
                         " levels");
      }
      if (!chunks_.empty() && !edge_->stopped) {
        auto* media = media_of(item);
        if (media == nullptr) return violate("chunks arrived before an item that is neither media nor a document with a file");
        chunks_ += media->content();
        media->set_content(std::move(chunks_));
      }
      chunks_.clear();
    }
    for (auto& item : items) edge_->put(std::move(item));
  }

  void take_end() {
    if (edge_->ended) return;
    const auto& end = request_.end();
    if (end.outcome().code() != 0) edge_->end(Fault::from(end.outcome()).consequence().with("lane", edge_->id));
    else if (!chunks_.empty() && !edge_->stopped) violate("the end arrived after chunks without their item");
    else if (end.item_count() != received_)
      lost(grpc::StatusCode::DATA_LOSS, std::to_string(received_) + " of " + std::to_string(end.item_count()) + " items arrived");
    else edge_->end(std::nullopt);
  }

  void violate(const std::string& why) {
    violation_ = why;
    refusal_ = broken(grpc::StatusCode::INVALID_ARGUMENT, why);
    edge_->end(refusal_);
    after(kDiscard, discard_, [](Receiver& r) {
      std::lock_guard lock(r.run_->mutex);
      r.discarded_ = true;
      r.advance();
    });
  }

  void lost(grpc::StatusCode code, const std::string& why) {
    if (!edge_->ended) edge_->end(broken(run_->cancelling ? grpc::StatusCode::CANCELLED : code, why));
  }

  Fault broken(grpc::StatusCode code, const std::string& why) const {
    return Fault{code, "lane-broken", "the lane " + edge_->id + " broke: " + why, {{"lane", edge_->id}, {"peer", context_->peer()}}, true};
  }

  // Makes the next frame to the producer, if one is due.
  bool next() {
    const uint64_t owed = edge_->taken - reported_taken_;
    const bool is_open = !edge_->ended && !edge_->stopped;
    const bool out_of_credit = edge_->arrived - reported_taken_ >= reported_limit_;
    response_.Clear();
    if (refusal_) {
      stop_with(refusal_->message, refusal_);
      refusal_.reset();
      return true;
    }
    if (!violation_.empty()) return false;  // nothing follows the refusal
    if (edge_->stopped && !edge_->ended && !stop_sent_) {
      stop_sent_ = true;
      stop_with(edge_->stop_reason, edge_->stop_fault);
      return true;
    }
    if (is_open && (edge_->limit_items > reported_limit_ || owed >= std::max<uint64_t>(1, edge_->limit_items / 2) ||
                    (owed > 0 && out_of_credit && waited_))) {
      waited_ = false;
      reported_taken_ = edge_->taken;
      reported_limit_ = edge_->limit_items;
      auto* credit = response_.mutable_credit();
      credit->set_taken_items(reported_taken_);
      credit->set_acknowledged_items(reported_taken_);
      credit->set_limit_items(reported_limit_);
      return true;
    }
    if (is_open && owed > 0 && out_of_credit && !patient_) {
      patient_ = true;
      after(kPatience, patience_, [](Receiver& r) {
        std::lock_guard lock(r.run_->mutex);
        r.patient_ = false;
        r.waited_ = true;
        r.advance();
      });
    }
    if (beat_due_) {
      beat_due_ = false;
      return true;
    }
    return false;
  }

  void stop_with(const std::string& reason, const std::optional<Fault>& fault) {
    auto* stop = response_.mutable_stop();
    stop->set_reason(reason);
    if (fault) *stop->mutable_fault() = fault->proto();
  }

  grpc::CallbackServerContext* context_;
  Accept accept_;
  std::mutex opening_;
  std::shared_ptr<Run> run_;
  std::shared_ptr<Edge> edge_;
  std::shared_ptr<Receiver> self_;  // until the call is done
  v1::ExchangeRequest request_;
  v1::ExchangeResponse response_;
  grpc::Alarm first_, grace_, patience_, beat_, discard_;
  bool reading_ = false, writing_ = false, half_closed_ = false, over_ = false, finished_ = false;
  bool stop_sent_ = false, waited_ = false, patient_ = false, beat_due_ = false, quiet_ = true, discarded_ = false;
  uint64_t received_ = 0, reported_taken_ = 0, reported_limit_ = 0;
  std::string chunks_, violation_;
  std::optional<Fault> refusal_;
};

}  // namespace

grpc::ServerBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>* receive(grpc::CallbackServerContext* context, Accept accept) {
  auto receiver = std::make_shared<Receiver>(context, std::move(accept));
  receiver->begin();
  return receiver.get();
}

}  // namespace lanemesh
