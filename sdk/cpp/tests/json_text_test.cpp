// Tests which texts count as JSON. Prints those that are judged wrongly, and fails if there are any.
#include <iostream>
#include <string>
#include <string_view>

#include "node/json_text.hpp"

namespace {

using namespace std::literals;

int failures = 0;

void expect(bool wanted, bool got, std::string_view what, std::string_view text) {
  if (wanted == got) return;
  ++failures;
  std::cerr << what << " is " << got << " for: " << text << "\n";
}

std::string repeated(std::string_view text, int times) {
  std::string made;
  while (times-- > 0) made += text;
  return made;
}

std::string arrays(int levels) { return repeated("[", levels) + repeated("]", levels); }

std::string objects(int levels) { return repeated("{\"a\":", levels) + "1" + repeated("}", levels); }

}  // namespace

int main() {
  const int most = lanemesh::kMostJsonLevels;
  for (const auto& text : {"null"s, "true"s, "false"s, "0"s, "-0"s, "-0.5e+10"s, "1E-2"s, "12.0"s, "9223372036854775808"s, "\"\""s,
                           "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00eF\""s, "\"\xc3\xa9 [{\""s, "[]"s, " [ 1 , \"a\" , {} ] "s, "\t{\"a\":\r\n[null]}"s,
                           "{ }"s, "{\"\":1,\"b\" : 2}"s, arrays(most), objects(most), "[" + repeated("[],", 2 * most) + "1]",
                           "\"" + repeated("[", 2 * most) + "\""})
    expect(true, lanemesh::is_json(text), "is_json", text);
  for (const auto& text : {""s, " "s, "{"s, "["s, "]"s, "}"s, "\""s, "\"\\"s, "\"\\\""s, "\"\\x\""s, "\"\\u12\""s, "\"\\u123g\""s, "\"\n\""s,
                           "\"\0\""s, "\0"s, "1\0"s, "NaN"s, "Infinity"s, "-Infinity"s, "nul"s, "nulll"s, "True"s, "01"s, "-"s, "+1"s, ".5"s,
                           "1."s, "1e"s, "1e+"s, "0x1"s, "1 2"s, "1,"s, "[1,]"s, "[,1]"s, "[1 2]"s, "[1}"s, "{1:2}"s, "{\"a\"}"s, "{\"a\":}"s,
                           "{\"a\":1,}"s, "{\"a\" 1}"s, "{,}"s, "'a'"s, "\xef\xbb\xbf" "1"s, "[] // comment"s, "\f1"s, arrays(most + 1),
                           objects(most + 1), repeated("[", 1000000)})
    expect(false, lanemesh::is_json(text), "is_json", std::string_view(text).substr(0, 200));
  for (const auto& text : {"{}"s, " \n{\"a\":1} "s}) expect(true, lanemesh::is_json_object(text), "is_json_object", text);
  for (const auto& text : {""s, " "s, "[1]"s, "null"s, "\"{}\""s, "{"s, "{}{}"s, "{} 1"s})
    expect(false, lanemesh::is_json_object(text), "is_json_object", text);
  return failures == 0 ? 0 : 1;
}
