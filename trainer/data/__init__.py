"""Data: one file a format, all of which yield the same samples; what turns their images into batches."""
