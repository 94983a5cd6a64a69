// The client in C++ of the benchmark of languages: bench ADDRESS FILE TEXT REQUESTS sends the text so many times, one after the other,
// reads every output, and prints what it measured as JSON.
#include <chrono>
#include <fstream>
#include <iostream>
#include <sstream>

#include "client/client.hpp"

using namespace lanemesh;

int main(int count, char** arguments) {
  if (count != 5) {
    std::cerr << "usage: bench ADDRESS FILE TEXT REQUESTS" << std::endl;
    return 2;
  }
  std::ifstream file(arguments[2]);
  std::stringstream pipeline, milliseconds;
  pipeline << file.rdbuf();
  Client client(arguments[1]);
  long outputs = 0;
  const int requests = std::stoi(arguments[4]);
  for (int number = 0; number < requests; ++number) {
    const auto started = std::chrono::steady_clock::now();
    auto run = client.run(pipeline.str(), {text_item(arguments[3])});
    v1::Update update;
    while (run->next(update)) outputs += update.has_output() ? 1 : 0;
    if (const auto fault = run->fault()) {
      std::cerr << fault->message << std::endl;
      return 1;
    }
    const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - started;
    milliseconds << (number > 0 ? "," : "") << spent.count();
  }
  std::cout << "{\"milliseconds\":[" << milliseconds.str() << "],\"outputs\":" << outputs << "}" << std::endl;
}
