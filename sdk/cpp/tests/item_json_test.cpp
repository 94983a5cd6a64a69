// Tests which fields of items have to be JSON. Prints the items that are judged wrongly, and fails if there are any.
#include <iostream>
#include <string>

#include "node/lanes.hpp"

namespace {

using lanemesh::v1::Item;

int failures = 0;

// Makes an item by a function, and compares the field that is reported with the wanted one; empty: none is.
template <typename Fill>
void expect(const std::string& wanted, Fill fill) {
  Item item;
  fill(item);
  const std::string got = lanemesh::broken_json(item);
  if (got == wanted) return;
  ++failures;
  std::cerr << "the broken field is \"" << got << "\", not \"" << wanted << "\", of: " << item.ShortDebugString() << "\n";
}

}  // namespace

int main() {
  expect("", [](Item& item) { item.mutable_group()->set_last(true); });
  expect("", [](Item& item) { item.set_text("{"); });
  expect("", [](Item& item) { item.set_data_json("[1]"); });
  expect("data_json", [](Item& item) { item.set_data_json(""); });
  expect("", [](Item& item) { item.set_tags_json("{}"); });
  expect("tags_json", [](Item& item) { item.set_tags_json("[1]"); });
  expect("", [](Item& item) { item.mutable_answer()->add_tool_calls()->set_arguments_json("{"); });
  expect("", [](Item& item) { item.mutable_answer()->set_data_json("1"); });
  expect("data_json", [](Item& item) { item.mutable_answer()->set_data_json("{"); });
  expect("", [](Item& item) { item.mutable_document()->set_metadata_json("{}"); });
  expect("metadata_json", [](Item& item) { item.mutable_document()->set_metadata_json("1"); });
  expect("", [](Item& item) {
    item.mutable_question()->set_schema_json("true");
    item.mutable_question()->add_tools()->set_parameters_json("{}");
    item.mutable_question()->add_documents();
  });
  expect("schema_json", [](Item& item) { item.mutable_question()->set_schema_json("{"); });
  expect("parameters_json", [](Item& item) { item.mutable_question()->add_tools()->set_parameters_json("true"); });
  expect("metadata_json", [](Item& item) { item.mutable_question()->add_documents()->set_metadata_json("[]"); });
  expect("", [](Item& item) { item.mutable_table()->add_rows()->add_cells_json("null"); });
  expect("cells_json", [](Item& item) { item.mutable_table()->add_rows()->add_cells_json(""); });
  return failures == 0 ? 0 : 1;
}
