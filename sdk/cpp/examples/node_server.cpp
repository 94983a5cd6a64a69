// A node server with a few node types:
// node_server [--orchestrator HOST:PORT] [--listen HOST:PORT] [--conformance] [--conformance-as NAME]
//
// It prints where it listens, and ends when its standard input closes. With --conformance it also offers the node types of
// `lanemesh conformance` (docs/protocol.md); with --conformance-as cpp under names such as cpp_echo, so that a mesh can have those of
// several servers.
#include <cctype>
#include <iostream>

#include "node/server.hpp"

using namespace lanemesh;

namespace {

const std::vector<Input> kText{{"text", v1::LANE_TYPE_TEXT}};
const std::vector<Output> kOut{{"out", v1::LANE_TYPE_TEXT}};

std::string integer_schema(const std::string& name, int least, int usual) {
  return R"({"type":"object","properties":{")" + name + R"(":{"type":"integer","minimum":)" + std::to_string(least) + R"(,"default":)" +
         std::to_string(usual) + R"(}},"additionalProperties":false})";
}

NodeType upper() {
  return {"cpp_upper", "Writes texts in capitals, of the letters of ASCII.", kText, kOut, false, without_settings([](Call& call) {
            std::string text = call.item().text();
            for (auto& character : text) character = static_cast<char>(std::toupper(static_cast<unsigned char>(character)));
            call.emit_text("out", text);
          })};
}

NodeType pass() {
  return {"cpp_pass", "Passes texts on.", kText, kOut, true, without_settings([](Call& call) {
            while (auto item = call.next("text")) call.emit("out", std::move(*item));
          })};
}

// A node type with an input and an output of each lane type.
NodeType values() {
  NodeType type{"conformance_values", "Sends every value on.", {}, {}, true, without_settings([](Call& call) {
                  while (auto found = call.next_any()) call.emit("out_" + found->first, std::move(found->second));
                })};
  int lane = 1;
  for (const auto* name : {"text", "questions", "answers", "documents", "table", "tags", "image", "audio", "video", "data"}) {
    type.inputs.push_back({name, static_cast<v1::LaneType>(lane), false});
    type.outputs.push_back({std::string("out_") + name, static_cast<v1::LaneType>(lane)});
    ++lane;
  }
  return type;
}

std::vector<NodeType> conformance_types() {
  return {
      {"conformance_echo", "Sends every text on.", kText, kOut, false,
       without_settings([](Call& call) { call.emit("out", call.item()); })},
      {"conformance_source", "Sends the texts \"0\", \"1\" and so on, then ends.", {}, kOut, true,
       [](const Config& config) -> Body {
         const int count = integer_setting(config, "count", 0, 3);
         return [count](Call& call) {
           for (int number = 0; number < count; ++number) call.emit_text("out", std::to_string(number));
         };
       },
       integer_schema("count", 0, 3)},
      {"conformance_sink", "Takes every text and sends nothing.", kText, {}, false, without_settings([](Call&) {})},
      {"conformance_count", "Sends the number of texts as one text, when its input has ended.", kText, kOut, true,
       without_settings([](Call& call) {
         int count = 0;
         while (call.next("text")) ++count;
         call.emit_text("out", std::to_string(count));
       })},
      {"conformance_slow", "Waits before it sends each text on.", kText, kOut, false,
       [](const Config& config) -> Body {
         const int milliseconds = integer_setting(config, "milliseconds", 0, 50);
         return [milliseconds](Call& call) {
           call.sleep(std::chrono::milliseconds(milliseconds));
           call.emit("out", call.item());
         };
       },
       integer_schema("milliseconds", 0, 50)},
      {"conformance_fail", "Sends every text on, and fails at the text \"fail\".", kText, kOut, false, without_settings([](Call& call) {
         if (call.item().text() == "fail") throw std::runtime_error("conformance_fail got the text that it fails at");
         call.emit("out", call.item());
       })},
      {"conformance_first", "Sends the first texts on and ends, which stops its input.", kText, kOut, true,
       [](const Config& config) -> Body {
         const int count = integer_setting(config, "count", 1, 1);
         return [count](Call& call) {
           for (int left = count; left > 0; --left) {
             auto item = call.next("text");
             if (!item) return;
             call.emit("out", std::move(*item));
           }
         };
       },
       integer_schema("count", 1, 1)},
      values(),
  };
}

}  // namespace

int main(int count, char** arguments) {
  std::string orchestrator, listen = "127.0.0.1:0";
  std::vector<NodeType> types{upper(), pass()};
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--conformance") {
      for (auto& type : conformance_types()) types.push_back(std::move(type));
    } else if (argument == "--conformance-as" && i + 1 < count) {
      const std::string name = arguments[++i];
      for (auto& type : conformance_types()) {
        type.provider.replace(0, std::string("conformance").size(), name);
        types.push_back(std::move(type));
      }
    } else if (argument == "--orchestrator" && i + 1 < count) {
      orchestrator = arguments[++i];
    } else if (argument == "--listen" && i + 1 < count) {
      listen = arguments[++i];
    } else {
      std::cerr << "usage: node_server [--orchestrator HOST:PORT] [--listen HOST:PORT] [--conformance] [--conformance-as NAME]" << std::endl;
      return 2;
    }
  }
  try {
    Server server("cpp", listen, std::move(types));
    if (!orchestrator.empty()) server.join(orchestrator);
    std::cout << "listening on " << server.address() << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
