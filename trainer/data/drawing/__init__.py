"""Drawing of things, places and photographic faults, for the embedded demo's own pictures."""
