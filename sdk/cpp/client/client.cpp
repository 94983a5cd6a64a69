#include "client/client.hpp"

namespace lanemesh {
namespace {

constexpr int kAcknowledgeAfter = 128;            // updates, of the 256 that are sent without an acknowledgement
constexpr size_t kAcknowledgeBytes = 64 * 1024;   // or so many bytes of them
constexpr size_t kMostInputs = 64;                // inputs on the call that the run has not accepted
constexpr size_t kMostInputBytes = 1 << 20;       // and their bytes
constexpr size_t kAloneBytes = 256 * 1024;        // an input above that limit is sent beside at most so many bytes
constexpr size_t kFirstInputs = 16;               // most inputs that travel in the first frame
constexpr size_t kFirstInputBytes = 64 * 1024;    // and their bytes
constexpr auto kCall = std::chrono::seconds(30);  // of a unary call

Fault unfinished(const std::string& address) {
  return {grpc::StatusCode::DATA_LOSS, "no-end", "the orchestrator at " + address + " ended the call before the run had ended; run it again"};
}

std::optional<Fault> outcome(const v1::JobUpdate& job) {
  if (job.state() == v1::RUN_STATE_FAILED) return Fault::from(job.error());
  if (job.state() == v1::RUN_STATE_CANCELLED)
    return Fault{grpc::StatusCode::CANCELLED, "cancelled", "run " + job.run_id() + " was cancelled: " + job.reason()};
  return std::nullopt;
}

}  // namespace

v1::Item text_item(const std::string& text) {
  v1::Item item;
  item.set_text(text);
  return item;
}

OwnedRun::OwnedRun(v1::RunService::Stub& stub, const std::string& address, const std::string& token)
    : stub_(stub), address_(address), token_(token) {
  if (!token_.empty()) context_.AddMetadata("authorization", "Bearer " + token_);
}

OwnedRun::~OwnedRun() {
  if (!ended_) {
    context_.TryCancel();
    end();
  }
}

void OwnedRun::start(const v1::RunSpec& spec, const std::vector<v1::Item>& inputs) {
  stream_ = stub_.Run(&context_);
  v1::RunRequest first;
  *first.mutable_spec() = spec;
  size_t bytes = 0;
  for (const auto& item : inputs) {
    v1::RunInput input;
    *input.mutable_item() = item;
    bytes += input.ByteSizeLong();
    inputs_.push_back(std::move(input));
  }
  if (inputs_.size() <= kFirstInputs && bytes <= kFirstInputBytes) {
    for (const auto& input : inputs_) *first.add_inputs() = input;
    first.set_ends_input(true);
    given_ = true;
  }
  write(first);
}

bool OwnedRun::next(v1::Update& update) {
  while (waiting_.empty()) {
    v1::RunResponse response;
    if (ended_) return false;
    if (!stream_->Read(&response)) {
      end();
      return false;
    }
    take(std::move(response));
  }
  update = std::move(waiting_.front());
  waiting_.pop_front();
  acknowledge(update);
  return true;
}

void OwnedRun::take(v1::RunResponse response) {
  {
    std::lock_guard lock(mutex_);
    for (; accepted_ < response.accepted_inputs() && !unaccepted_.empty(); ++accepted_) {
      unaccepted_bytes_ -= unaccepted_.front();
      unaccepted_.pop_front();
    }
    if (id_.empty() && response.updates_size() > 0) id_ = response.updates(0).job().run_id();
    changed_.notify_all();
  }
  if (!begun_) {
    begun_ = true;
    if (!given_ || !response.took_inputs()) feeder_ = std::thread([this] { feed(); });
  }
  for (auto& update : *response.mutable_updates()) {
    if (update.job().state() >= v1::RUN_STATE_COMPLETED) {  // the last update
      terminal_ = true;
      fault_ = outcome(update.job());
    }
    waiting_.push_back(std::move(update));
  }
  if (!terminal_) return;
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  if (feeder_.joinable()) feeder_.join();
  stream_->WritesDone();
}

void OwnedRun::feed() {
  for (const auto& input : inputs_) {
    const size_t bytes = input.ByteSizeLong();
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] {
        const bool large = unaccepted_bytes_ + bytes > kMostInputBytes && unaccepted_bytes_ > kAloneBytes;
        return over_ || (unaccepted_.size() < kMostInputs && !large);
      });
      if (over_) return;
      unaccepted_.push_back(bytes);
      unaccepted_bytes_ += bytes;
    }
    v1::RunRequest request;
    *request.mutable_input() = input;
    write(request);
  }
  v1::RunRequest last;
  last.mutable_end_input();
  write(last);
}

void OwnedRun::acknowledge(const v1::Update& update) {
  taken_bytes_ += update.ByteSizeLong();
  if (terminal_ || (++taken_ < kAcknowledgeAfter && taken_bytes_ < kAcknowledgeBytes)) return;
  v1::RunRequest request;
  request.mutable_acknowledge()->set_sequence(update.sequence());
  write(request);
  taken_ = 0;
  taken_bytes_ = 0;
}

void OwnedRun::write(const v1::RunRequest& request) {
  std::lock_guard lock(writing_);
  stream_->Write(request);  // if it fails, the status of the call has the cause
}

void OwnedRun::end() {
  ended_ = true;
  {
    std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }
  if (feeder_.joinable()) feeder_.join();
  const auto status = stream_->Finish();
  if (terminal_) return;
  fault_ = status.ok() ? unfinished(address_) : Fault::from(status, "the orchestrator at " + address_);
}

std::string OwnedRun::id() const {
  std::lock_guard lock(mutex_);
  return id_;
}

std::optional<Fault> OwnedRun::cancel(const std::string& reason) {
  grpc::ClientContext context;
  if (!token_.empty()) context.AddMetadata("authorization", "Bearer " + token_);
  context.set_deadline(std::chrono::system_clock::now() + kCall);
  v1::CancelRunRequest request;
  request.set_run_id(id());
  request.set_reason(reason);
  v1::CancelRunResponse response;
  const auto status = stub_.CancelRun(&context, request, &response);
  if (status.ok()) return std::nullopt;
  return Fault::from(status, "the orchestrator at " + address_);
}

Client::Client(const std::string& address, const Security& security)
    : address_(address), token_(security.token), stub_(v1::RunService::NewStub(connect(address, security))) {}

std::unique_ptr<OwnedRun> Client::run(const v1::RunSpec& spec, const std::vector<v1::Item>& inputs) {
  std::unique_ptr<OwnedRun> made(new OwnedRun(*stub_, address_, token_));
  made->start(spec, inputs);
  return made;
}

std::unique_ptr<OwnedRun> Client::run(const std::string& pipeline, const std::vector<v1::Item>& inputs) {
  v1::RunSpec spec;
  spec.set_pipeline_json(pipeline);
  return run(spec, inputs);
}

}  // namespace lanemesh
