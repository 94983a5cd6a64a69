// Runs a pipeline with one text and prints what it delivers: client HOST:PORT chat.pipe "Hello"
//
// It owns its run: the orchestrator cancels it if this program ends. It acknowledges the updates that it has printed, and the run waits
// for it if it is slow.
#include <fstream>
#include <iostream>
#include <sstream>

#include "client/client.hpp"

using namespace lanemesh;

namespace {

std::string text_of(const v1::Item& item) {
  switch (item.payload_case()) {
    case v1::Item::kText: return item.text();
    case v1::Item::kAnswer: return item.answer().text();
    case v1::Item::kDataJson: return item.data_json();
    default: return "";
  }
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
  Client client(arguments[1]);
  auto run = client.run(pipeline.str(), {text_item(arguments[3])});
  v1::Update update;
  while (run->next(update))
    if (update.has_output()) std::cout << text_of(update.output().item()) << std::flush;
  std::cout << std::endl;
  if (const auto fault = run->fault()) {
    std::cerr << (fault->code == grpc::StatusCode::CANCELLED ? "cancelled: " : "failed: ") << fault->message << " (" << fault->reason << ")"
              << std::endl;
    return 1;
  }
}
