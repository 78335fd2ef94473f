// The other one.

#include <dreamframe.h>
#include <dreamframe.hpp>

std::string version_there();

std::string version_there() { return dreamframe::version(); }
