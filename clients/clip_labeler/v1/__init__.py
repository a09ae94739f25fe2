"""Generated from proto/clip_labeler/v1/labeler.proto by tools/generate_stubs.py. Do not edit."""
