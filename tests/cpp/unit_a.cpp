// One of two sources of a program that both have the header, twice: nothing in it is there a second time.

#include <dreamframe.hpp>
#include <dreamframe.hpp>

std::string version_here();
std::string version_there();

std::string version_here() { return dreamframe::version(); }

int main() { return version_here() == version_there() ? 0 : 1; }
