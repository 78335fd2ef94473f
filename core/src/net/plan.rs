//! Who uses each piece of memory when: lifetimes of values packed into one arena.
