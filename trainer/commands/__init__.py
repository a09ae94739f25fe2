"""The commands of `ccd`, one file a subject; each registers itself with the application."""
