// What the C++ tests share: a condition that must hold, and what a call throws.
#pragma once

#include <dreamframe.hpp>

#include <cstdlib>
#include <iostream>
#include <string>

inline void expect(bool condition, const char *what) {
  if (!condition) {
    std::cerr << what << '\n';
    std::exit(EXIT_FAILURE);
  }
}

/// The status of the error that `call` throws.
template <class Call> dreamframe_status_t thrown(Call call) {
  try {
    call();
  } catch (const dreamframe::Error &error) {
    expect(std::string(error.what()).size() > 0, "an error has a text");
    expect(error.json().find("\"message\"") != std::string::npos, "and its JSON");
    return error.status();
  }
  return DREAMFRAME_OK;
}
