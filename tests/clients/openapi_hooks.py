"""What schemathesis does not know by itself: session descriptions and fragments of them are text."""

import schemathesis

for media_type in ("application/sdp", "application/trickle-ice-sdpfrag"):
    schemathesis.serializer.alias(media_type, "text/plain")
