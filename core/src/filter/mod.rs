//! Skips frames that hardly differ from the last one computed.
