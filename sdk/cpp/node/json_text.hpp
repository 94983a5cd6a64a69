// Whether text is JSON: a check of what peers send, which makes no value of it.
#pragma once

#include <string_view>

namespace lanemesh {

constexpr int kMostJsonLevels = 100;  // brackets that are open at once

// Whether a text is one JSON value (RFC 8259) of at most kMostJsonLevels levels.
bool is_json(std::string_view text);
// Whether it is one, and an object.
bool is_json_object(std::string_view text);

}  // namespace lanemesh
