"""What strangers do, counted for the whole cluster in windows of time."""
