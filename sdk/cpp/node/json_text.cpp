#include "node/json_text.hpp"

#include <cstddef>

namespace lanemesh {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// Each function moves past what it is named after, and returns false if that is not there.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  bool whole() {
    if (!value(0)) return false;
    blanks();
    return at_ == text_.size();
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  bool skip(char wanted) {
    if (at_ == text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  void blanks() {
    while (skip(' ') || skip('\t') || skip('\n') || skip('\r')) continue;
  }

  bool word(std::string_view wanted) {
    if (text_.substr(at_, wanted.size()) != wanted) return false;
    at_ += wanted.size();
    return true;
  }

  bool value(int open) {
    blanks();
    switch (peek()) {
      case '{': return sequence(open, '}', true);
      case '[': return sequence(open, ']', false);
      case '"': return string();
      case 't': return word("true");
      case 'f': return word("false");
      case 'n': return word("null");
      default: return number();
    }
  }

  // An object or an array, within as many open brackets.
  bool sequence(int open, char close, bool has_keys) {
    if (open == kMostJsonLevels) return false;
    ++at_;
    blanks();
    if (skip(close)) return true;
    do {
      blanks();
      if (has_keys && !key()) return false;
      if (!value(open + 1)) return false;
      blanks();
    } while (skip(','));
    return skip(close);
  }

  bool key() {
    if (!string()) return false;
    blanks();
    return skip(':');
  }

  bool string() {
    if (!skip('"')) return false;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\' && !escaped()) return false;
    }
    return false;
  }

  bool escaped() {
    if (!skip('u')) {
      if (at_ == text_.size()) return false;
      return std::string_view("\"\\/bfnrt").find(text_[at_++]) != std::string_view::npos;
    }
    for (int i = 0; i < 4; ++i, ++at_)
      if (!is_hex(peek())) return false;
    return true;
  }

  bool digits() {
    const size_t before = at_;
    while (is_digit(peek())) ++at_;
    return at_ > before;
  }

  bool number() {
    skip('-');
    if (!skip('0') && !digits()) return false;
    if (skip('.') && !digits()) return false;
    if (skip('e') || skip('E')) {
      if (!skip('+')) skip('-');
      return digits();
    }
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

bool is_json(std::string_view text) { return Reader(text).whole(); }

bool is_json_object(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\n\r");
  return first != std::string_view::npos && text[first] == '{' && is_json(text);
}

}  // namespace lanemesh
