// Runs a pipeline with one text and prints what it delivers: client HOST:PORT chat.pipe "Hello"
//
// It owns its run: the orchestrator cancels it if this program ends. It acknowledges the updates that it has printed, and the run waits
// for it if it is slow.
#include <fstream>
#include <iostream>
#include <sstream>

#include "lanemesh/v1/run.grpc.pb.h"
#include "node/server.hpp"

using namespace lanemesh;

namespace {

constexpr int kAcknowledgeAfter = 128;            // updates, of the 256 that are sent without an acknowledgement
constexpr size_t kAcknowledgeBytes = 64 * 1024;  // or so many bytes of them

std::string text_of(const v1::Item& item) {
  switch (item.payload_case()) {
    case v1::Item::kText: return item.text();
    case v1::Item::kAnswer: return item.answer().text();
    case v1::Item::kDataJson: return item.data_json();
    default: return "";
  }
}

// Returns the exit status: 0 if the run completed.
int report(const v1::JobUpdate& job) {
  if (job.state() == v1::RUN_STATE_COMPLETED) return 0;
  std::cerr << (job.state() == v1::RUN_STATE_CANCELLED ? "cancelled: " + job.reason()
                                                       : "failed: " + job.error().message() + " (" + job.error().reason() + ")")
            << std::endl;
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::cerr << "usage: client HOST:PORT FILE TEXT" << std::endl;
    return 2;
  }
  std::ifstream file(arguments[2]);
  std::stringstream pipeline;
  pipeline << file.rdbuf();
  if (!file) {
    std::cerr << arguments[2] << " cannot be read" << std::endl;
    return 2;
  }
  const auto security = Security::from_environment();
  auto stub = v1::RunService::NewStub(connect(arguments[1], security));
  grpc::ClientContext context;
  if (!security.token.empty()) context.AddMetadata("authorization", "Bearer " + security.token);
  auto stream = stub->Run(&context);

  v1::RunRequest first;  // the run, and its only input
  first.mutable_spec()->set_pipeline_json(pipeline.str());
  first.add_inputs()->mutable_item()->set_text(arguments[3]);
  first.set_ends_input(true);
  stream->Write(first);

  int status = 1, taken = 0;
  size_t bytes = 0;
  v1::RunResponse response;
  while (stream->Read(&response)) {
    for (const auto& update : response.updates()) {
      if (update.has_output()) std::cout << text_of(update.output().item()) << std::flush;
      bytes += update.ByteSizeLong();
      if (++taken >= kAcknowledgeAfter || bytes >= kAcknowledgeBytes) {
        v1::RunRequest acknowledgement;
        acknowledgement.mutable_acknowledge()->set_sequence(update.sequence());
        stream->Write(acknowledgement);
        taken = 0;
        bytes = 0;
      }
      if (update.job().state() >= v1::RUN_STATE_COMPLETED) {  // the last update
        status = report(update.job());
        stream->WritesDone();
      }
    }
  }
  std::cout << std::endl;
  const auto end = stream->Finish();
  if (!end.ok()) std::cerr << end.error_message() << std::endl;
  return end.ok() ? status : 1;
}
