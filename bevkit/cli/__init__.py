"""What `bevkit <verb>` and tools/<verb>.py both call."""
