// The client in C++ of the matrix of languages: matrix_client HOST:PORT. tests/matrix/programs.py describes what it reads and prints.
#include <google/protobuf/stubs/strutil.h>

#include <iostream>
#include <sstream>

#include "client/client.hpp"

using namespace lanemesh;

namespace {

std::string encoded(const google::protobuf::Message& message) {
  std::string text;
  google::protobuf::Base64Escape(message.SerializeAsString(), &text);
  return text;
}

void print(const std::string& line) {
  static std::mutex printing;
  std::lock_guard lock(printing);
  std::cout << line << std::endl;
}

// The present run, for the thread that reads commands while the other one reads updates.
struct Present {
  std::mutex mutex;
  std::condition_variable changed;
  OwnedRun* run = nullptr;
  bool going = false;    // a held client may read on
  bool closed = false;   // the standard input has ended
  std::string command;   // the next run
};

void read_commands(Present& present) {
  for (std::string line; std::getline(std::cin, line);) {
    std::lock_guard lock(present.mutex);
    if (line == "go") present.going = true;
    else if (line.rfind("cancel ", 0) == 0 && present.run != nullptr) present.run->cancel(line.substr(7));
    else if (line.rfind("run ", 0) == 0) present.command = line.substr(4);
    present.changed.notify_all();
  }
  std::lock_guard lock(present.mutex);
  present.closed = present.going = true;
  present.changed.notify_all();
}

void execute(Client& client, Present& present, const std::string& command) {
  std::stringstream words(command);
  int hold = 0;
  std::string text, bytes;
  words >> hold >> text;
  v1::StartRunRequest request;
  google::protobuf::Base64Unescape(text, &bytes);
  request.ParseFromString(bytes);
  std::vector<v1::Item> inputs;
  for (const auto& input : request.inputs()) inputs.push_back(input.item());
  auto run = client.run(request.spec(), inputs);
  {
    std::lock_guard lock(present.mutex);
    present.run = run.get();
    present.going = false;
  }
  v1::Update update;
  bool started = false;
  for (int outputs = 0; run->next(update);) {
    if (!started) print("started " + run->id());
    started = true;
    if (!update.has_output()) continue;
    print("output " + encoded(update.output().item()));
    if (++outputs != hold) continue;
    print("held");
    std::unique_lock lock(present.mutex);
    present.changed.wait(lock, [&] { return present.going; });
  }
  {
    std::lock_guard lock(present.mutex);
    present.run = nullptr;
  }
  const auto fault = run->fault();
  print("end " + (fault ? encoded(fault->proto()) : std::string("-")));
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: matrix_client HOST:PORT" << std::endl;
    return 2;
  }
  Client client(arguments[1]);
  Present present;
  std::thread reading([&] { read_commands(present); });
  while (true) {
    std::string command;
    {
      std::unique_lock lock(present.mutex);
      present.changed.wait(lock, [&] { return present.closed || !present.command.empty(); });
      if (present.command.empty()) break;
      command = std::move(present.command);
      present.command.clear();
    }
    execute(client, present, command);
  }
  reading.join();
}
