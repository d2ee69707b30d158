"""What every process is made of: settings, logs, metrics, traces, health, lifecycle."""
