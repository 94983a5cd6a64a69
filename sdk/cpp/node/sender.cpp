// The producer's side of one Exchange call, without a thread of its own.
#include <grpcpp/alarm.h>

#include "node/run.hpp"

namespace lanemesh {
namespace {

constexpr size_t kMostFrameItems = 256;
constexpr size_t kMostFrameBytes = 255 * 1024;  // of items; a frame has at most 256 KiB
constexpr auto kAbort = std::chrono::milliseconds(500);  // for an aborted lane to report that

class Sender : public grpc::ClientBidiReactor<v1::ExchangeRequest, v1::ExchangeResponse>,
               public Lane,
               public std::enable_shared_from_this<Sender> {
 public:
  Sender(std::shared_ptr<Run> run, Component* producer, const v1::Edge& spec, std::shared_ptr<grpc::Channel> channel)
      : run_(std::move(run)), producer_(producer), spec_(spec), channel_(std::move(channel)), stub_(v1::NodeService::NewStub(channel_)) {}

  void begin(const std::string& token) {
    self_ = shared_from_this();
    if (!token.empty()) context_.AddMetadata("authorization", "Bearer " + token);
    auto* open = request_.mutable_open();
    open->set_run_id(run_->place().run_id());
    open->set_edge_id(spec_.id());
    open->set_lane_type(spec_.lane_type());
    open->set_protocol_version(1);
    open->set_incarnation(spec_.incarnation());
    open->set_traceparent(run_->place().traceparent());
    open->set_lane_key(run_->place().lane_key());
    stub_->async()->Exchange(&context_, this);
    writing_ = true;
    StartWrite(&request_);
    StartRead(&response_);
    StartCall();
    beat();
  }

  const std::string& id() const override { return spec_.id(); }

  bool offer(const v1::Item& item) override {
    if (sent_ >= ceiling_ || held_ >= spec_.limit_bytes()) return false;
    ++sent_;
    const uint64_t size = item.ByteSizeLong() + kItemOverhead;
    held_ += size;
    queue_.emplace_back(item, size);
    advance();
    return true;
  }

  void end(std::optional<Fault> fault) override {
    if (ending_) return;
    ending_ = true;
    outcome_ = std::move(fault);
    advance();
  }

  void abort(const Fault& fault) override {
    aborted_ = true;
    if (!queue_.empty()) outcome_ = fault;  // the items dropped here were part of a lane that may have ended
    drop();
    end(fault);
    stop();
    cancel_later();
  }

  void cut() override { context_.TryCancel(); }
  bool stopped() const override { return stopped_ || ending_; }
  bool closed() const override { return done_; }
  std::optional<Fault> broken() const override { return fault_; }
  bool accepted() const { return accepted_; }

  void OnReadDone(bool ok) override {
    std::lock_guard lock(run_->mutex);
    if (!ok) {
      over_ = true;
      cancel_later();  // after a response that is no frame, the call would stay open
      return;
    }
    take();
    run_->changed.notify_all();
    StartRead(&response_);
    advance();
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(run_->mutex);
    writing_ = false;
    held_ -= std::min(held_, in_flight_);
    in_flight_ = 0;
    over_ = over_ || !ok;
    run_->changed.notify_all();
    advance();
  }

  void OnDone(const grpc::Status& status) override {
    abort_.Cancel();
    beat_.Cancel();
    std::shared_ptr<Sender> self;
    std::lock_guard lock(run_->mutex);
    if (!status.ok()) fail(status.error_code(), status.error_message());
    else if (!ending_) fail(grpc::StatusCode::INTERNAL, "the consumer ended the call before the lane");
    done_ = over_ = ending_ = true;
    stop();
    run_->changed.notify_all();
    self.swap(self_);  // after the lock: it may be the last one
  }

  // Notes that the lane broke, or could not be opened. Only the first fault counts.
  void fail(grpc::StatusCode code, const std::string& why) {
    if (!fault_ && !aborted_) {
      using Code = grpc::StatusCode;
      if (code == Code::UNKNOWN || code == Code::INTERNAL || code == Code::CANCELLED) code = Code::UNAVAILABLE;
      const std::string what = accepted_ ? " broke: " : " could not be opened: ";
      fault_ = Fault{code, accepted_ ? "lane-broken" : "lane-refused", "the lane " + id() + " to " + spec_.consumer_address() + what + why,
                     {{"lane", id()}, {"address", spec_.consumer_address()}}, true};
    }
    ending_ = true;
    drop();
    stop();
  }

 private:
  // Cancels the call if it has not ended after half a second.
  void cancel_later() {
    if (cancels_) return;
    cancels_ = true;
    std::weak_ptr<Sender> weak = weak_from_this();
    abort_.Set(std::chrono::system_clock::now() + kAbort, [weak](bool ok) {
      if (auto self = weak.lock(); ok && self) self->context_.TryCancel();
    });
  }

  void take() {
    switch (response_.frame_case()) {
      case v1::ExchangeResponse::kAccepted:
        accepted_ = true;
        if (!stopped_) ceiling_ = limit_ = std::max<uint64_t>(1, response_.accepted().limit_items());
        break;
      case v1::ExchangeResponse::kCredit:
        if (stopped_) break;
        limit_ = std::max(limit_, response_.credit().limit_items());
        ceiling_ = std::max(ceiling_, response_.credit().taken_items() + limit_);
        break;
      case v1::ExchangeResponse::kStop:
        if (response_.stop().has_fault() && !fault_) fault_ = Fault::from(response_.stop().fault()).consequence().with("lane", id());
        accepted_ = true;
        drop();
        if (!ending_) {
          ending_ = true;
          outcome_.reset();
        }
        stop();
        break;
      case v1::ExchangeResponse::FRAME_NOT_SET: break;
    }
  }

  // Writes what is due, if no write is under way.
  void advance() {
    if (writing_ || over_ || end_sent_ || !accepted_and_running()) return;
    request_.Clear();
    if (!queue_.empty()) {
      fill();
    } else if (ending_) {
      auto* end = request_.mutable_end();
      end->set_item_count(written_);
      if (outcome_) *end->mutable_outcome() = outcome_->proto();
      end_sent_ = writing_ = true;
      StartWriteLast(&request_, grpc::WriteOptions());
      return;
    } else if (!beat_due_) {
      return;
    }
    beat_due_ = quiet_ = false;
    writing_ = true;
    StartWrite(&request_);
  }

  bool accepted_and_running() const { return accepted_ || ending_; }

  // Makes the next frame: a part of a large content, or the items that wait.
  void fill() {
    auto* media = media_of(queue_.front().first);
    if (media != nullptr && media->content().size() - chunked_ > kChunkBytes) {
      request_.mutable_chunk()->set_content(media->content().substr(chunked_, kChunkBytes));
      chunked_ += kChunkBytes;
      return;
    }
    if (chunked_ > 0) media->mutable_content()->erase(0, chunked_);
    chunked_ = 0;
    const size_t most = std::min<uint64_t>(kMostFrameItems, std::max<uint64_t>(1, limit_ / 2));
    auto* items = request_.mutable_items();
    while (!queue_.empty() && static_cast<size_t>(items->items_size()) < most) {
      auto& [item, size] = queue_.front();
      auto* content = media_of(item);
      const bool is_large = content != nullptr && content->content().size() > kChunkBytes;
      if (items->items_size() > 0 && (is_large || in_flight_ + size > kMostFrameBytes)) break;
      in_flight_ += size;
      ++written_;
      *items->add_items() = std::move(item);
      queue_.pop_front();
    }
  }

  void drop() {
    queue_.clear();
    held_ = chunked_ = 0;
  }

  void stop() {
    stopped_ = true;
    ceiling_ = 0;
    producer_->lane_stopped();
  }

  void beat() {
    std::weak_ptr<Sender> weak = weak_from_this();
    beat_.Set(std::chrono::system_clock::now() + kBeat, [weak](bool ok) {
      auto self = weak.lock();
      if (!ok || !self) return;
      std::lock_guard lock(self->run_->mutex);
      if (self->over_) return;
      self->beat_due_ = self->quiet_;
      self->quiet_ = true;
      self->advance();
      self->beat();
    });
  }

  std::shared_ptr<Run> run_;
  Component* producer_;
  v1::Edge spec_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::NodeService::Stub> stub_;
  std::shared_ptr<Sender> self_;  // until the call is done
  grpc::ClientContext context_;
  v1::ExchangeRequest request_;
  v1::ExchangeResponse response_;
  grpc::Alarm abort_, beat_;
  std::deque<std::pair<v1::Item, uint64_t>> queue_;
  uint64_t held_ = 0, in_flight_ = 0, sent_ = 0, written_ = 0, ceiling_ = 0, limit_ = 0;
  size_t chunked_ = 0;  // bytes of the first item that were sent in chunks
  bool writing_ = false, accepted_ = false, cancels_ = false, ending_ = false, end_sent_ = false, stopped_ = false, aborted_ = false;
  bool over_ = false, done_ = false, beat_due_ = false, quiet_ = true;
  std::optional<Fault> outcome_, fault_;
};

}  // namespace

std::shared_ptr<Lane> dial(std::shared_ptr<Run> run, Component* producer, const v1::Edge& spec, std::shared_ptr<grpc::Channel> channel,
                           const std::string& token) {
  auto sender = std::make_shared<Sender>(std::move(run), producer, spec, std::move(channel));
  sender->begin(token);
  return sender;
}

bool is_open_or_broken(const Lane& lane) {
  const auto& sender = dynamic_cast<const Sender&>(lane);
  return sender.accepted() || sender.broken() || sender.closed();
}

void give_up(Lane& lane, grpc::StatusCode code, const std::string& why) {
  dynamic_cast<Sender&>(lane).fail(code, why);
  lane.cut();
}

}  // namespace lanemesh
